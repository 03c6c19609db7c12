"""The doctor: reads a run of any VAE, says what it suffers from, why, and what helps."""

from .examination import DiagnoseConfig, diagnose, diagnose_arrays, examine, format_findings
from .findings import SYMPTOMS, Diagnosis, Finding

__all__ = [
    "SYMPTOMS",
    "DiagnoseConfig",
    "Diagnosis",
    "Finding",
    "diagnose",
    "diagnose_arrays",
    "examine",
    "format_findings",
]
