"""The interfaces between the packages, and the legend of shapes.

Shapes, used in every docstring:

====  =====================================================
E     copies of the environment stepped at once
B     episodes in a batch
T     transitions of the longest episode (arrays hold T+1 steps: the last one is the final observation)
N     agents, in the order of ``EnvInfo.agents``
O     observation size, padded to the largest agent's
U     number of actions, padded to the largest agent's
S     state size
Z     latent size
H     hidden size of an agent
====  =====================================================

This module imports only numpy: environment workers load it, and they must start without torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


class OmarlError(Exception):
    """An error that the user can correct: printed as one line without a traceback, with a non-zero exit."""


class ConfigError(OmarlError):
    """A key, a name or a value that cannot run. Keys are checked before a run starts; values that depend on the
    environment, the machine's memory or a checkpoint are checked before the first step."""


class EnvError(OmarlError):
    """An environment that cannot be made, that raises, or that returns invalid values (NaN, no available action)."""


class TrainingError(OmarlError):
    """A training that cannot continue (a loss that is not finite, a disk that is full)."""


@dataclass(frozen=True)
class Block:
    """Adjacent features of one kind, as an observation space declares them.

    Attributes:
        size: number of features.
        kind: ``number`` | ``binary`` (only 0 and 1) | ``one_hot`` (exactly one 1) | ``image`` (pixels in [0, 1]).
        shape: the axes of an array that was flattened; empty for a vector. Three axes are a grid or an image.
    """

    size: int
    kind: str = "number"
    shape: tuple[int, ...] = ()

    @property
    def grid_axes(self) -> tuple[int, int, int] | None:
        """The axes of channels, height and width of a grid or image that is at least 3 high and wide; else None.

        The channels are the axis that differs from the other two, or the shorter one of the first and the last.
        """
        if len(self.shape) != 3:
            return None
        first, middle, last = self.shape
        axes = (2, 0, 1) if first == middle or (middle != last and last <= first) else (0, 1, 2)
        return axes if min(self.shape[axis] for axis in axes[1:]) >= 3 else None


@dataclass(frozen=True)
class ActionKind:
    """The form of an action, the same for all agents. ``modules/action_distributions.py`` has the distributions.

    ==============  ========================  =====================  =======================================
    name            an action                 arrays of actions      U
    ==============  ========================  =====================  =======================================
    ``discrete``    one of U                  int64 [E, N]           number of actions
    ``heads``       one choice for each head  int64 [E, N, K]        sum of the K heads' numbers of choices
    ``continuous``  D numbers                 float32 [E, N, D]      D
    ``mixed``       K choices and D numbers   float32 [E, N, K + D]  the sum of both
    ==============  ========================  =====================  =======================================

    Attributes:
        heads: K numbers of choices.
        limits: D numbers: 1 if the space bounds the number for all agents, whose range is then scaled to [-1, 1];
            otherwise infinity. The environment receives numbers clipped to its space.
    """

    name: str = "discrete"
    heads: tuple[int, ...] = ()
    limits: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one agent's action."""
        size = len(self.heads) + len(self.limits)
        return (size,) if size else ()

    @property
    def dtype(self) -> type[np.int64] | type[np.float32]:
        """The type of actions in arrays."""
        return np.float32 if self.limits else np.int64

    @property
    def has_choices(self) -> bool:
        """Whether a choice is among the parts of an action."""
        return bool(self.heads) or not self.limits

    def of_idle(self, n_actions: int) -> NDArray[np.bool_]:
        """The availability [U] for an agent that cannot act: the first choice of each head, and no number."""
        available = np.zeros(n_actions, np.bool_)
        if self.has_choices:
            available[np.cumsum([0, *self.heads[:-1]])] = True
        return available


DISCRETE = ActionKind()


@dataclass(frozen=True)
class EnvInfo:
    """The properties that all copies and episodes of an environment share.

    Attributes:
        key: the value of ``env_args.key``.
        agents: the N names.
        agent_types: N type names. Agents of one type have the same observation and action sizes, so that
            they may share one network (``adversary_0`` and ``adversary_1`` are of type ``adversary``).
        obs_shape: O. Smaller observations are padded with zeros at their end.
        obs_sizes: each agent's own observation size, N values.
        n_actions: U, see ``ActionKind``. Actions that an agent does not have are never available to it.
        action_sizes: each agent's own U, N values.
        state_shape: S.
        episode_limit: the most steps of an episode; reaching it truncates.
        arguments: the constructor's arguments without the key.
        obs_blocks: for each agent, the blocks that its space declares of its O features; empty if unknown.
        state_blocks: the same for the S features of the state.
        game: the ``games.game.Game`` of the run or of the environment's class; None: the one that declares ``key``.
        interface: how the environment is played: ``ParallelEnv``, ``AECEnv`` or ``Gymnasium``; empty if unknown.
        limit_source: the argument or attribute that states ``episode_limit``; empty if nothing states it.
        actions: the form of an action.
        action_numbers: how many of the D numbers of an action each agent has, N values: the first ones. Empty: all.
        obs_dtype: the type of observations in arrays: float32, or uint8 if all features are pixels. Bytes are 255
            times the features; ``modules.encoder.as_features`` converts them.
        state_dtype: the same for states.
        frames: the number of steps whose observations are joined in one, the newest last.
        notes: lines about what was changed of the environment's observations.
    """

    key: str
    agents: tuple[str, ...]
    agent_types: tuple[str, ...]
    obs_shape: int
    obs_sizes: tuple[int, ...]
    n_actions: int
    action_sizes: tuple[int, ...]
    state_shape: int
    episode_limit: int
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    obs_blocks: tuple[tuple[Block, ...], ...] = ()
    state_blocks: tuple[Block, ...] = ()
    game: Any = None
    interface: str = ""
    limit_source: str = field(default="", compare=False)
    actions: ActionKind = DISCRETE
    action_numbers: tuple[int, ...] = ()
    obs_dtype: type[np.float32] | type[np.uint8] = np.float32
    state_dtype: type[np.float32] | type[np.uint8] = np.float32
    frames: int = 1
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def n_agents(self) -> int:
        """N."""
        return len(self.agents)

    def arguments_of_parts(self) -> dict[str, Any]:
        """The entries that every controller and learner finds in its ``args``, as in PyMARL."""
        return {
            "n_agents": self.n_agents, "n_actions": self.n_actions, "state_shape": self.state_shape,
            "obs_shape": self.obs_shape, "episode_limit": self.episode_limit, "agent_names": self.agents,
            "agent_types": self.agent_types, "env_info": self,
        }  # fmt: skip

    def own_parts(self) -> NDArray[np.bool_]:
        """False for numbers of an action that the agent lacks, else True: [N, U]."""
        own = np.ones((self.n_agents, self.n_actions), np.bool_)
        for row, size in zip(own, self.action_numbers, strict=False):
            row[sum(self.actions.heads) + size :] = False
        return own

    def blocks_of(self, what: str) -> tuple[Block, ...]:
        """The blocks of the ``state``, or of an ``obs`` if they are the same for all agents; empty if unknown."""
        if what == "state":
            return self.state_blocks
        first, *others = self.obs_blocks or ((),)
        return first if all(other == first for other in others) else ()


class Observation(NamedTuple):
    """Observations of E copies before the agents choose actions.

    Attributes:
        obs: ``EnvInfo.obs_dtype`` [E, N, O]; zeros for dead agents.
        state: ``EnvInfo.state_dtype`` [E, S]; the environment's own state, or the concatenation of all observations
            if it has none.
        avail: uint8 [E, N, U]; 1 where the action is available. An agent that cannot act (dead, or out of
            turn) has only action 0 available, so every row has at least one. Of continuous actions, 1 for the
            numbers that the agent has, and 0 for an agent that cannot act.
        agent_mask: uint8 [E, N]; 1 where the agent is alive.
    """

    obs: NDArray[Any]
    state: NDArray[Any]
    avail: NDArray[np.uint8]
    agent_mask: NDArray[np.uint8]


class Step(NamedTuple):
    """One joint step of E copies.

    Attributes:
        final: the observation after the step in every copy; at an episode's end its last observation, to
            bootstrap from.
        observation: the input of the next action: the same as ``final``, but the first observation of the new
            episode in copies whose episode has ended. If none has, it is the same object as ``final``.
        reward: float32 [E, N]; includes an agent's last reward, in the step in which it dies.
        terminated: bool [E]; the episode ended in the environment's own terms.
        truncated: bool [E]; a time limit ended the episode: bootstrap from ``final``. Never both.
        lost: bool [E]; the environment failed, so the episode is dropped: ``truncated`` is true, the reward 0, and
            ``final`` the observation before the step. None: no copy failed.
        won: bool [E]; the agents have won the episode that ended. None: the environment does not say.
        shaped_reward: float32 [E, N]; the environment's own aid to exploration, which ``reward`` does not include.
            None: it has none.
    """

    final: Observation
    observation: Observation
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    lost: NDArray[np.bool_] | None = None
    won: NDArray[np.bool_] | None = None
    shaped_reward: NDArray[np.float32] | None = None


class Frame(NamedTuple):
    """An ``Observation`` of E copies, or of one copy without the leading E, and which agents act on it.

    ``acting`` is uint8 [E, N], 1 where the agent's next action counts.
    """

    obs: NDArray[Any]
    state: NDArray[Any]
    avail: NDArray[np.uint8]
    agent_mask: NDArray[np.uint8]
    acting: NDArray[np.uint8]

    def observation(self) -> Observation:
        """The public part, without a copy."""
        return Observation(self.obs, self.state, self.avail, self.agent_mask)

    def rows(self, index: slice | int) -> Frame:
        """Views of some copies, or of one."""
        return Frame._make(array[index] for array in self)

    def copy_rows(self, source: Frame, where: NDArray[np.bool_]) -> None:
        """Writes the rows of ``source`` for which ``where`` [E] is true."""
        pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(self, source, strict=True)
        for own, other in pairs:
            own[where] = other[where]


class Arrays(NamedTuple):
    """The memory through which copies and the vector environment exchange actions and observations.

    ``actions`` (see ``ActionKind``) are written before a step, the rest after it: as in ``Step``, but ``first`` is
    the first observation of a new episode, valid in copies that have just begun one.
    """

    actions: NDArray[Any]
    final: Frame
    first: Frame
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    def rows(self, index: slice | int) -> Arrays:
        """Views of some copies, or of one."""
        actions, final, first = self.actions[index], self.final.rows(index), self.first.rows(index)
        return Arrays(actions, final, first, self.reward[index], self.terminated[index], self.truncated[index])


class VecEnv(Protocol):
    """E copies of one environment, stepped at once, each starting a new episode when one ends.

    ``reset`` begins a new episode in every copy. ``step`` steps every copy once with actions (see ``ActionKind``);
    those of dead or waiting agents are ignored. The next call overwrites the returned arrays: copy those that are
    needed later. ``close`` frees processes and memory, and is safe to call twice.
    """

    info: EnvInfo
    n_envs: int

    def reset(self) -> Observation: ...
    def step(self, actions: NDArray[Any]) -> Step: ...
    def close(self) -> None: ...


@runtime_checkable
class ResumableEnv(VecEnv, Protocol):
    """A ``VecEnv`` whose episodes a resumed run continues; see ``envs.vector.VectorEnv``."""

    def observation(self) -> Observation: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> NDArray[np.bool_]: ...


@runtime_checkable
class Batch(Protocol):
    """The part of an episode batch that learners read, which every PyMARL host provides.

    ``batch["obs"]`` [B, T+1, N, O], ``state`` [B, T+1, S], ``actions`` [B, T+1, N, 1],
    ``avail_actions`` [B, T+1, N, U], ``reward`` [B, T+1, 1 or N], ``terminated`` [B, T+1, 1],
    ``filled`` [B, T+1, 1]. omarl adds ``truncated`` [B, T+1, 1] and ``agent_mask`` [B, T+1, N].
    """

    batch_size: int
    max_seq_length: int
    device: Any

    def __getitem__(self, item: Any) -> Any: ...


class MetricLogger(Protocol):
    """The part of PyMARL's logger that learners use: ``log_stat`` records one number at environment step ``t``."""

    console_logger: Any

    def log_stat(self, key: str, value: float, t: int) -> None: ...


class Controller(Protocol):
    """PyMARL's "mac", in any host: assigns networks to agents. Learners from episodes need only this interface."""

    def init_hidden(self, batch_size: int) -> None: ...
    def forward(self, ep_batch: Any, t: int, test_mode: bool = False) -> Tensor: ...
    def parameters(self) -> Iterable[Tensor]: ...
    def load_state(self, other_mac: Any) -> None: ...
    def cuda(self) -> Any: ...
    def save_models(self, path: PathLike) -> None: ...
    def load_models(self, path: PathLike) -> None: ...


class Actor(Protocol):
    """The interface of controllers for runners: acts in E copies, each at its own step of an episode."""

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start, [n, N, H]."""

    def act(
        self, observation: Observation, last_actions: Tensor, carry: Tensor, t_env: int, test_mode: bool
    ) -> tuple[Tensor, Tensor]:
        """Actions (see ``ActionKind``) and the next carry, from last actions [E, N, U] and the carry [E, N, H]."""


class RolloutController(Actor, Controller, Protocol):
    """The interface of controllers for learners from rollouts. See ``controllers/basic_controller.py``."""

    def unroll(self, batch: Any) -> Tensor:
        """Outputs [E, T+1, N, U] along a rollout."""

    def evaluate(self, obs: Tensor, last_actions: Tensor, carry: Tensor, condition: Tensor | None) -> Tensor:
        """Outputs [K, N, U] for single observations [K, N, O], under conditions [K, N, D] if any."""


class Learner(Protocol):
    """PyMARL's learner: constructed as ``Learner(mac, scheme, logger, args)``; ``args`` a namespace or a mapping.

    Optional: ``state_dict()`` and ``load_state_dict(state)``, all that a resumed run needs;
    ``evaluate(batches)``, metrics for the logs of tests; ``on_policy = True`` to be trained on rollouts.
    """

    def train(self, batch: Any, t_env: int, episode_num: int) -> None: ...
    def cuda(self) -> Any: ...
    def save_models(self, path: PathLike) -> None: ...
    def load_models(self, path: PathLike) -> None: ...


@runtime_checkable
class Resumable(Protocol):
    """A learner whose state can be saved and restored."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


PathLike = str | os.PathLike[str]


def feature_size(scheme: Any, name: str) -> int:
    """Size of one agent's, or one step's, ``name``, which PyMARL's schemes give as a number or a tuple."""
    vshape = scheme[name]["vshape"]
    return vshape if isinstance(vshape, int) else math.prod(vshape)
