"""The doctor: diagnoses training runs of any VAE, with the cause of each symptom and a remedy."""

from .examination import DiagnoseConfig, diagnose, diagnose_arrays, examine
from .findings import SYMPTOMS, Diagnosis, Finding

__all__ = [
    "SYMPTOMS",
    "DiagnoseConfig",
    "Diagnosis",
    "Finding",
    "diagnose",
    "diagnose_arrays",
    "examine",
]
