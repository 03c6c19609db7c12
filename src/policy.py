"""A checkpoint's agents, acting on an environment's own observations."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .components.observed_actions import ObservedActions
from .config.schema import read
from .configuration.request import from_keywords
from .envs.actions import permitted
from .envs.arrays import lay_out
from .envs.make import single_adapter
from .envs.stacking import pushed, repeated
from .modules.action_distributions import distribution
from .opponents.information import as_rows, full_info
from .run import TEST_STREAM, Parts, RunConfig, assemble, make_env
from .types import EnvError, Observation, PathLike
from .utils.checkpoints import find_checkpoint, load_checkpoint
from .utils.isolation import process_state_kept
from .utils.metrics import Logger
from .utils.seeding import rng_state, seed_everything, set_rng_state

GREEDY = {"evaluation_epsilon": 0.0, "test_greedy": True}  # also if the run's tests sample actions
ByAgent = Mapping[Any, Any]  # agent, as the environment calls it -> a value


class Policy:
    """The agents of a checkpoint; ``omarl.load`` returns it.

    The policy keeps the recurrent state of its episodes: call ``reset`` at the start of a new one. Observations are
    prepared as in training: flattened, padded, with last actions and agent ids where the configuration sets them.

    Attributes:
        agents: the N agents that act, as the environment calls them.
        opponents: the M other agents, if the run was against a pool.
        info: names and sizes, see ``omarl.types.EnvInfo``.
        t_env: the checkpoint's environment steps.
        config: every key with its value.
    """

    def __init__(self, parts: Parts, adapter: Any, t_env: int, config: dict[str, Any]) -> None:
        self.info, self.t_env, self.config = parts.info, t_env, config
        self._actor, self._adapter = parts.runner.mac, adapter
        self._actions = distribution(self.info.actions, self.info.n_actions)
        full = full_info(self.info)
        named = dict(zip(full.agents, full.agents if adapter is None else adapter.agents, strict=True))
        self.agents = [named[name] for name in self.info.agents]
        self.opponents = [named[name] for name in getattr(self.info, "opponents", ())]
        self._seats = [full.agents.index(name) for name in self.info.agents]
        self._random = rng_state()
        self._carry: Tensor | None = None  # of E episodes, as ``_last`` and ``_begins``; None before an action
        self._last = torch.zeros(0)
        self._begins = np.zeros(0, bool)
        self._stack: NDArray[Any] | None = None

    def reset(self, ended: Any = None) -> None:
        """Starts new episodes: resets the recurrent state and the last actions.

        Args:
            ended: of a batch, the environments whose episode has ended: indices, or booleans [E]. None: all; their
                number E may change afterwards.
        """
        if ended is None or self._carry is None:
            self._carry = None
            return
        rows = np.arange(len(self._carry))[np.atleast_1d(ended)]
        self._carry, self._last = self._carry.clone(), self._last.clone()
        self._carry[rows], self._last[rows], self._begins[rows] = self._fresh[rows], 0.0, True

    def act(
        self,
        observations: ByAgent,
        infos: ByAgent | None = None,
        *,
        deterministic: bool = True,
        acting: Collection[Any] | None = None,
        opponent_actions: ByAgent | None = None,
    ) -> dict[Any, Any]:
        """Actions for one environment's own observations: agent -> action, for every agent that acts.

        Actions are of the environment's spaces: numbers, or arrays for Box, MultiDiscrete and MultiBinary.

        Args:
            observations: agent -> observation, as PettingZoo's ``reset`` and ``step`` return them. Agents without an
                observation count as dead: after deaths give ``{a: observations[a] for a in env.agents}``.
            infos: agent -> info, for action masks in ``info["action_mask"]``. Masks in ``observation["action_mask"]``
                are read as well.
            deterministic: the action of highest value or probability. False draws as in training at the checkpoint's
                step: from the policy, or epsilon-greedily.
            acting: the agents on turn, if agents take turns. The others observe and do not act.
            opponent_actions: opponent -> its last action, of its own space, if the agents observe these; without
                opponents that did not act (dead, or not on turn). None at an episode's start.

        Raises:
            EnvError: the observations are not those of the environment that the agents were trained in.
        """
        return self.act_batch([observations], [infos or {}], deterministic=deterministic, acting=[acting],
                              opponent_actions=[opponent_actions])[0]  # fmt: skip

    def act_batch(
        self,
        observations: Sequence[ByAgent],
        infos: Sequence[ByAgent] | None = None,
        *,
        deterministic: bool = True,
        acting: Sequence[Collection[Any] | None] | None = None,
        opponent_actions: Sequence[ByAgent | None] | None = None,
    ) -> list[dict[Any, Any]]:
        """Actions for E environments: arguments and results as in ``act``, in lists of E."""
        n_envs = len(observations)
        adapter = self._adapter
        if adapter is None:
            raise EnvError(f"policy: {self.info.key} has only the array form; use act_arrays")
        frame = lay_out(adapter.info, n_envs).first
        given = zip(observations, infos or [{}] * n_envs, acting or [None] * n_envs, strict=True)
        for e, (observed, own_infos, turn) in enumerate(given):
            if unknown := [agent for agent in observed if agent not in adapter.index]:
                raise EnvError(f"policy: {unknown[0]!r} is none of {', '.join(map(str, adapter.agents))}")
            alive = [agent in observed for agent in adapter.agents]
            acts = [agent in observed and (turn is None or agent in turn) for agent in adapter.agents]
            try:
                adapter.write(frame.rows(e), observed, own_infos, alive, acts)
            except EnvError as error:
                raise EnvError(f"policy: {self.info.key}: {error}") from error
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise EnvError(f"policy: an observation does not fit {self.info.key} ({error})") from error
        obs = self._stacked(frame.obs)[:, self._seats]
        known = as_rows(self._of_opponents(opponent_actions, n_envs), self.info.obs_dtype)
        obs = np.concatenate([as_rows(obs, self.info.obs_dtype), known], axis=2)
        parts = [array[:, self._seats] for array in (frame.avail, frame.agent_mask, frame.acting)]
        actions = self._act(Observation(obs, frame.state, parts[0], parts[1]), deterministic)
        convert = [adapter.convert[seat] for seat in self._seats]
        return [{a: convert[i](own[i]) for i, a in enumerate(self.agents) if acts[i]}
                for own, acts in zip(actions.tolist(), parts[2], strict=True)]  # fmt: skip

    def act_arrays(
        self, obs: NDArray[Any], avail: NDArray[Any] | None = None, *, deterministic: bool = True
    ) -> NDArray[Any]:
        """Actions (see ``types.ActionKind``), counted from 0, for arrays from a ``VecEnv`` of ``omarl.make_env``.

        Args:
            obs: [E, N, O], zeros for dead agents; float32, or bytes if the environment has pixels.
            avail: [E, N, U], not 0 where an action is available; None: all actions that the agent has.
            deterministic: see ``act``.

        Raises:
            EnvError: a shape differs from these.
        """
        info, obs = self.info, np.asarray(obs)
        obs = obs if obs.dtype == np.uint8 else obs.astype(np.float32)
        if avail is None:
            every = np.arange(info.n_actions) < np.array(info.action_sizes)[:, None]  # [N, U]
            if self._adapter is not None:
                every = self._adapter.every_action[self._seats]
            avail = every[None].repeat(len(obs), axis=0)
        shapes = (len(obs), info.n_agents, info.obs_shape), (len(obs), info.n_agents, info.n_actions)
        for name, array, shape in zip(("obs", "avail"), (obs, avail), shapes, strict=True):
            if np.shape(array) != shape:
                raise EnvError(f"policy: {name} has shape {np.shape(array)}, not [E, N, ...] = {shape}")
        state, alive = np.zeros((len(obs), info.state_shape), np.float32), np.ones(obs.shape[:2], np.uint8)
        return self._act(Observation(obs, state, (np.asarray(avail) != 0).astype(np.uint8), alive), deterministic)

    def _act(self, observation: Observation, deterministic: bool) -> NDArray[Any]:
        n_envs, info = len(observation.obs), self.info
        if not np.isfinite(observation.obs).all():
            raise EnvError("policy: an observation is not finite (NaN or infinity)")
        if self._carry is None:
            self._carry = self._fresh = self._actor.initial_carry(n_envs)
            self._last = torch.zeros(n_envs, info.n_agents, info.n_actions, device=self._fresh.device)
            self._begins = np.ones(n_envs, bool)
        if n_envs != len(self._carry):
            raise EnvError(f"policy: {n_envs} environments, but {len(self._carry)} before; call reset() first")
        callers = rng_state()
        set_rng_state(self._random)  # the policy draws from its own generators
        try:
            actions, carry = self._actor.act(observation, self._last, self._carry, self.t_env, deterministic)
        finally:
            self._random = rng_state()
            set_rng_state(callers)
        self._carry = carry
        if getattr(self._actor, "sees_last_actions", True):
            self._last = self._actions.encode(actions.reshape(n_envs, info.n_agents, -1))
        self._begins[:] = False
        return actions.cpu().numpy()

    def _stacked(self, obs: NDArray[Any]) -> NDArray[Any]:
        """The last observations of all agents, joined as in training (``env_args.frame_stack``)."""
        frames = self.info.frames
        if frames == 1:
            return obs
        first = repeated(obs, frames)
        if self._carry is None or self._stack is None or len(self._stack) != len(obs):
            self._stack = first
        else:
            begins = self._begins[:, None, None]
            self._stack = np.where(begins, first, pushed(self._stack, obs))
        return self._stack

    def _of_opponents(self, actions: Sequence[ByAgent | None] | None, n_envs: int) -> NDArray[np.float32]:
        """The features about opponents, [E, N, ...]: last actions (``ObservedActions``), zeros at the start."""
        kinds = [name for name, _ in getattr(self.info, "information", ())]
        if others := [name for name in kinds if name != "actions"]:
            raise EnvError(f"policy: observations lack the opponents' {others[0]}; use act_arrays")
        if not kinds:
            return np.zeros((n_envs, len(self.agents), 0), np.float32)
        kind, names = self.info.actions, self._adapter.agents
        stored = np.zeros((n_envs, len(names), *kind.shape), kind.dtype)
        acted = np.zeros((n_envs, len(names)), np.bool_)
        for e, known in enumerate(actions or [None] * n_envs):
            if known is None and self._carry is not None and not self._begins[e]:
                raise EnvError("policy: it observes the opponents' last actions: give opponent_actions")
            for name in self.opponents:
                if known is not None and name in known:
                    i = self._adapter.index[name]
                    stored[e, i], acted[e, i] = self._stored(name, known[name]), True
        if not permitted(kind, stored, np.repeat(self._adapter.every_action[None], n_envs, axis=0)).all():
            raise EnvError(f"policy: opponent_actions: an action is not of its space: {actions}")
        features = ObservedActions(full_info(self.info)).features(stored, acted)
        own = features[:, [self._adapter.index[name] for name in self.opponents]]
        return own.reshape(n_envs, 1, -1).repeat(len(self.agents), axis=1)

    def _stored(self, name: Any, action: Any) -> Any:
        """An opponent's action of its space in the form of arrays."""
        space = self._adapter.action_spaces[self._adapter.index[name]]
        try:
            return self._adapter.store[self._adapter.index[name]](action)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise EnvError(f"policy: opponent_actions: {action!r} of {name} is not of {space} ({error})") from error


def load(path: PathLike, step: int = 0, *, seed: int = 0, **keys: Any) -> Policy:
    """The agents of a checkpoint.

    Args:
        path: a run's folder (or the ``Run``), its ``checkpoints`` folder, or one checkpoint.
        step: which checkpoint, by environment steps (the nearest); 0: the last.
        seed: of the actions that are drawn if ``deterministic=False``.
        keys: replace the checkpoint's configuration: ``use_cuda=True``, or ``pool=FOLDER`` if a pool has moved.
            Classes outside omarl that the checkpoint names are imported if they are given here, too
            (``env="my_pkg:MyEnv"``), or with ``trust=True``.

    Raises:
        ConfigError: there is no checkpoint, or it cannot be loaded.
    """
    with process_state_kept():
        folder = find_checkpoint(path, step, "path")
        values = from_keywords({**keys, "checkpoint_path": folder, "seed": seed}, command="evaluate").values
        values |= {name: value for name, value in GREEDY.items() if name in values}
        config = read(RunConfig, {**values, "env_workers": 0})
        seed_everything(seed)
        env = make_env(config, 1, TEST_STREAM)
        parts = assemble(values, env, env, Logger(logging.getLogger("omarl")))
        try:
            state = load_checkpoint(folder, parts.learner)
        finally:
            parts.close()
        return Policy(parts, single_adapter(config.env, config.env_args), state["t_env"], values)
