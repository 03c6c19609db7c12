"""The learner that trains the agents for another learner."""

from dataclasses import fields, is_dataclass
from typing import Any

from ..registry import resolve
from ..types import ConfigError, Controller, MetricLogger


def make_base_learner(name: str, mac: Controller, scheme: Any, logger: MetricLogger, args: Any) -> Any:
    """The learner that ``base_learner`` names: ours, or any other with PyMARL's interface.

    Raises:
        ConfigError: it has a base learner itself, which the same key would name without end.
    """
    learner = resolve("base_learner", name)
    config = getattr(learner, "Config", None)
    if is_dataclass(config) and "base_learner" in {spec.name for spec in fields(config)}:
        raise ConfigError(f"base_learner: {name} has a base learner itself; take q_learner, ppo_learner or another")
    return learner(mac, scheme, logger, args)
