"""omarl: opponent modelling for multi-agent RL, in PyMARL's manner."""

__version__ = "0.2.0.dev0"

import warnings as _warnings
from typing import Any

# Sacred's, at every import of it: requirements pin setuptools below 82, where pkg_resources went away.
_warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

_EXPORTED = ("VAEConfig", "VAETrainer")


def __getattr__(name: str) -> Any:
    """The state VAE, imported when it is asked for: the package itself imports without torch."""
    if name in _EXPORTED:
        from .components import vae_trainer

        return getattr(vae_trainer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
