"""The layout of observations of simple_tag.

An agent observes its velocity and position, the offsets of the landmarks and of the other agents, and the velocities
of the prey (not its own).
"""

from ...types import DISCRETE, ConfigError, EnvInfo
from ..layout import Layout, particle_layout

PREY = "agent_0"


def prey_names(info: EnvInfo) -> list[str]:
    """The agents that are prey."""
    return [name for name in info.agents if not name.startswith("adversary")]


def layout(info: EnvInfo) -> Layout | None:
    """See ``Game.layout``."""
    n_velocities = len(prey_names(info))
    return particle_layout(info, (info.obs_sizes[0] - 4 - 2 * (info.n_agents - 1) - 2 * n_velocities) // 2)


def check_settings(info: EnvInfo) -> None:
    """Raises ConfigError unless there are one prey and two obstacles, and every agent observes them."""
    size = 4 + 2 * 2 + 2 * (info.n_agents - 1) + 2  # own state, obstacles, other agents, velocity of the prey
    if info.actions != DISCRETE:
        raise ConfigError(f"script: the scripts of {info.key} play Discrete actions")
    if prey_names(info) != [PREY] or info.obs_sizes[0] != size:
        raise ConfigError(f"script: {info.key} needs one prey and two obstacles, observed by all agents, for scripts")
