"""omarl: opponent modelling for multi-agent RL, in PyMARL's manner."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings as _catch_warnings

if TYPE_CHECKING:
    from .analysis.comparison import Comparison
    from .analysis.doctor import Diagnosis
    from .api import Metric, Run, compare, diagnose, evaluate, make_env, make_raw_env, resume, train
    from .components.vae_trainer import VAEConfig, VAETrainer
    from .evaluation import Evaluation
    from .policy import Policy, load
    from .types import ConfigError, EnvError, OmarlError, TrainingError
    from .utils.allocator import keep_freed_memory

__version__ = "0.2.0"

__all__ = ["Comparison", "ConfigError", "Diagnosis", "EnvError", "Evaluation", "Metric", "OmarlError", "Policy",
           "Run", "TrainingError", "VAEConfig", "VAETrainer", "compare", "diagnose", "evaluate", "keep_freed_memory",
           "load", "make_env", "make_raw_env", "resume", "train"]  # fmt: skip

_MODULES = {  # where a name is found, if not in api
    **dict.fromkeys(("VAEConfig", "VAETrainer"), "components.vae_trainer"),
    **dict.fromkeys(("ConfigError", "EnvError", "OmarlError", "TrainingError"), "types"),
    "keep_freed_memory": "utils.allocator",
}


def __getattr__(name: str) -> Any:
    """Imports a name when it is asked for: ``import omarl`` alone imports neither torch nor NumPy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _catch_warnings():  # gymnasium and scipy add filters when they are imported
        return getattr(_import_module(f".{_MODULES.get(name, 'api')}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
