"""Features about opponents that are appended to the learners' observations."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..components.observed_actions import ObservedActions
from ..games.game import Floats, Ints, Observer
from ..games.lookup import game_of, part_of
from ..types import ConfigError, EnvInfo, Observation
from ..utils.stateful import Stateful
from .lineup import Lineup
from .pool import Pool

KINDS = ("actions", "goal", "belief", "next_actions", "offsets")


@dataclass(frozen=True)
class PoolInfo(EnvInfo):
    """``EnvInfo`` of the learners, with the opponents and the features about them in observations."""

    opponents: tuple[str, ...] = ()  # M names
    full: EnvInfo | None = None  # the environment's own info, with all agents
    # name and size of each feature that is appended to a learner's observation, in order
    information: tuple[tuple[str, int], ...] = ()
    members: tuple[str, ...] = ()  # names of the pool's members for training, as ``PoolEnv.playing`` numbers them

    def information_slice(self, name: str) -> slice:
        """The indices of the feature ``name`` in a learner's observation; ConfigError if it is not observed."""
        at = self.obs_shape - sum(size for _, size in self.information)
        for other, size in self.information:
            if other == name:
                return slice(at, at + size)
            at += size
        present = [other for other, _ in self.information]
        raise ConfigError(f"opponent_information: {name} is needed; learners observe {present}")


def as_rows(values: NDArray[Any], dtype: type) -> NDArray[Any]:
    """Features as ``EnvInfo.obs_dtype``, from float32 or from bytes, which are 255 times the features."""
    if values.dtype == dtype:
        return values
    return (values * 255).astype(np.uint8) if dtype is np.uint8 else values.astype(np.float32) / np.float32(255)


def full_info(info: EnvInfo) -> EnvInfo:
    """The ``EnvInfo`` with all agents, of an environment with or without a pool."""
    return getattr(info, "full", None) or info


def information_sizes(full: EnvInfo, n_opponents: int, names: list[str]) -> tuple[tuple[str, int], ...]:
    """Name and size of each feature; ``offsets`` come first, right after the learner's own observation.

    Raises:
        ConfigError: an unknown feature, or one that the environment's game does not have.
    """
    sizes = []
    for name in sorted(names, key=lambda name: name != "offsets"):
        if name not in KINDS:
            raise ConfigError(f"opponent_information: {name!r} is none of {', '.join(KINDS)}")
        if name.endswith("actions"):
            sizes.append((name, n_opponents * ObservedActions(full).width))
            continue
        game = game_of(full)
        known = {} if game is None else game.sizes(full)
        if name not in known:
            raise ConfigError(f"opponent_information: {name} is unknown for the opponents of {full.key}")
        sizes.append((name, known[name] * (1 if name == "offsets" else n_opponents)))
    return tuple(sizes)


class Information(Stateful):
    """Computes the features of all copies; ``values`` has all but ``offsets``, float32 [E, size] each.

    ``learners`` and ``seats`` are the indices of the L learners and of the M opponents among all agents. The
    hypotheses of ``belief`` are the scripted training members of ``pool``.
    """

    changing = ("observer", "values")

    def __init__(self, info: PoolInfo, learners: list[int], seats: list[int], pool: Pool, n_envs: int) -> None:
        assert info.full is not None
        self.learners, self.seats, sizes = learners, seats, dict(info.information)
        self.dtype = info.obs_dtype
        self.actions = ObservedActions(info.full)
        self.observer: Observer | None = None
        if "belief" in sizes:
            scripts = [m.script for m in pool.members if m.split == "train" and m.kind == "scripted"]
            self.observer = part_of(info.full, "observer")(scripts, info.full, seats, n_envs)
        self.offsets: Any = None
        if sizes.pop("offsets", 0):
            self.offsets = partial(part_of(info.full, "offsets"), agents=learners, info=info.full)
        # float32 [E, size] of each feature but ``offsets``
        self.values = {name: np.zeros((n_envs, size), np.float32) for name, size in sizes.items()}

    def begin(self, rows: Ints) -> None:
        """Starts new episodes in copies ``rows``."""
        for values in self.values.values():
            values[rows] = 0.0
        if self.observer is not None:
            self.observer.begin(rows)

    def forget_goals(self, rows: Ints) -> None:
        """Removes the goals in copies ``rows``, where other opponents, whose goals may be unknown, take over."""
        if "goal" in self.values:
            self.values["goal"][rows] = 0.0

    @property
    def shows_choices(self) -> bool:
        """Whether features depend on what opponents have chosen at an observation."""
        return "goal" in self.values or "next_actions" in self.values

    def before_step(
        self, observation: Observation, actions: NDArray[Any], lineup: Lineup, rows: Ints | None = None
    ) -> None:
        """Belief, goals and next actions, once opponents have chosen ``actions`` [E, N, ...] but before the step.

        If ``rows`` are given, the features are valid only in these copies.
        """
        if self.observer is not None:
            self.values["belief"][...] = self.observer.beliefs(observation.obs).reshape(len(actions), -1)
        if "goal" in self.values:
            lineup.write_goals(observation.obs, self.values["goal"], rows)
        if "next_actions" in self.values:
            self._write("next_actions", actions, self.actions.can_act(observation))

    def observe(self, obs: Floats, actions: NDArray[Any]) -> None:
        """Updates the belief with the actions [E, N, ...] that are about to be played."""
        if self.observer is not None:
            self.observer.update(obs, actions[:, self.seats])

    def after_step(self, actions: NDArray[Any], acted: NDArray[np.bool_]) -> None:
        """Stores the actions [E, N, ...] of the agents that ``acted`` [E, N] as last actions."""
        if "actions" in self.values:
            self._write("actions", actions, acted)

    def _write(self, name: str, actions: NDArray[Any], acting: NDArray[np.bool_]) -> None:
        """Zeros for opponents that do not act: the action of a dead or waiting agent is no choice."""
        self.values[name][...] = self.actions.features(actions, acting)[:, self.seats].reshape(len(actions), -1)

    def append(self, observation: Observation) -> Observation:
        """The learners' part of an observation of all agents, with the features behind each ``obs`` row."""
        parts = [observation.obs[:, self.learners]]
        if self.offsets is not None:
            parts.append(self.offsets(observation.obs))
        parts += [values[:, None].repeat(len(self.learners), axis=1) for values in self.values.values()]
        parts = [as_rows(part, self.dtype) for part in parts]
        avail, alive = observation.avail[:, self.learners], observation.agent_mask[:, self.learners]
        return Observation(np.concatenate(parts, axis=2), observation.state, avail, alive)
