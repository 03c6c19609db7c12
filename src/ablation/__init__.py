"""Compares settings of the VAE on the states of one recorded run."""

from .ablate import AblateConfig, ablate, movement, record, sawtooth, train_on
from .settings import FINAL, FIRST, REFRESH_REMEDIES, REMEDIES, Trial, settings

__all__ = [
    "FINAL",
    "FIRST",
    "REFRESH_REMEDIES",
    "REMEDIES",
    "AblateConfig",
    "Trial",
    "ablate",
    "movement",
    "record",
    "sawtooth",
    "settings",
    "train_on",
]
