"""The doctor: reads a run of any PyMARL fork, says what its VAE suffers from, why, and which keys help."""

from .examination import DiagnoseConfig, diagnose, examine, format_findings
from .findings import SYMPTOMS, Diagnosis, Finding

__all__ = ["SYMPTOMS", "DiagnoseConfig", "Diagnosis", "Finding", "diagnose", "examine", "format_findings"]
