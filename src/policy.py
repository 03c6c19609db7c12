"""A checkpoint's agents, acting on an environment's own observations."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from .config.schema import read
from .configuration import from_keywords
from .envs.arrays import Frame, lay_out
from .envs.make import single_adapter
from .run import TEST_STREAM, RunConfig, assemble, make_env
from .types import EnvError, EnvInfo, Observation, PathLike
from .utils.checkpoints import find_checkpoint, load_checkpoint
from .utils.isolation import process_state_kept
from .utils.metrics import Logger
from .utils.seeding import seed_everything

GREEDY = {"evaluation_epsilon": 0.0, "test_greedy": True}  # whatever the run's own tests do
Actions = dict[Any, int]


class Policy:
    """The agents of a checkpoint, as ``omarl.load`` gives them.

    Recurrent networks remember the episode: call ``reset`` where a new one begins. Observations are prepared as in
    training: flattened, padded, with the last action and the agent's identity where the configuration has them.

    Attributes:
        agents: the N agents that act, as the environment calls them.
        opponents: the M other agents, where the run was against a pool.
        info: names and sizes, see ``omarl.types.EnvInfo``.
        t_env: the checkpoint's environment steps.
        config: the configuration.
    """

    def __init__(self, actor: Any, info: EnvInfo, adapter: Any, t_env: int, config: dict[str, Any]) -> None:
        self.info, self.t_env, self.config = info, t_env, config
        self._actor, self._adapter = actor, adapter
        whole: EnvInfo = getattr(info, "whole", None) or info
        named = dict(zip(whole.agents, whole.agents if adapter is None else adapter.agents, strict=True))
        self.agents = [named[name] for name in info.agents]
        self.opponents = [named[name] for name in getattr(info, "opponents", ())]
        self._seats = [whole.agents.index(name) for name in info.agents]
        self._random = torch.get_rng_state()
        self.reset()

    def reset(self, ended: Any = None) -> None:
        """Forgets the episode.

        Args:
            ended: of a batch, the environments whose episode has ended: indices, or booleans [E]. None: all, whose
                number may be another from then on.
        """
        if ended is None:
            self._carry: torch.Tensor | None = None
            return
        if self._carry is None:
            return
        rows = torch.as_tensor(np.atleast_1d(ended))
        rows = rows.nonzero().flatten() if rows.dtype == torch.bool else rows.long()
        self._carry = self._carry.index_copy(0, rows.to(self._carry.device), self._fresh[rows])
        self._last[rows] = 0.0
        self._begins[rows.numpy()] = True

    @overload
    def act(
        self,
        observations: Mapping[Any, Any],
        infos: Mapping[Any, Any] | None = None,
        *,
        deterministic: bool = True,
        acting: Collection[Any] | None = None,
        opponent_actions: Mapping[Any, int] | None = None,
    ) -> Actions: ...
    @overload
    def act(
        self,
        observations: Sequence[Mapping[Any, Any]],
        infos: Sequence[Mapping[Any, Any]] | None = None,
        *,
        deterministic: bool = True,
        acting: Sequence[Collection[Any]] | None = None,
        opponent_actions: Sequence[Mapping[Any, int] | None] | None = None,
    ) -> list[Actions]: ...
    def act(
        self,
        observations: Any,
        infos: Any = None,
        *,
        deterministic: bool = True,
        acting: Any = None,
        opponent_actions: Any = None,
    ) -> Any:
        """Actions for the environment's own observations, of one environment or of a list of E environments.

        Args:
            observations: agent -> observation, as PettingZoo's ``reset`` and ``step`` return them; of a list of
                environments, a list of these. An agent that is left out counts as dead: after deaths give
                ``{agent: observations[agent] for agent in env.agents}``.
            infos: agent -> info, for action masks in ``info["action_mask"]``. Masks in ``observation["action_mask"]``
                are read as well.
            deterministic: the action of highest value or probability. False draws as in training at the checkpoint's
                step: from the policy, or epsilon-greedily.
            acting: who is on turn, where agents take turns; the others observe alone.
            opponent_actions: opponent -> its last action, where ``opponents_told`` has ``actions``; None at an
                episode's start.

        Returns:
            agent -> action, for every acting agent; of a list of environments, a list of these.

        Raises:
            EnvError: the observations are not those of the environment that the agents were trained in.
        """
        if isinstance(observations, Mapping):
            rows = [None if given is None else [given] for given in (infos, acting, opponent_actions)]
            options: dict[str, Any] = dict(zip(("infos", "acting", "opponent_actions"), rows, strict=True))
            return self.act([observations], deterministic=deterministic, **options)[0]
        nothing = [None] * len(observations)
        given = zip(observations, infos or nothing, acting or nothing, strict=True)
        frame = self._frame([(seen, {} if info is None else info, who) for seen, info, who in given])
        chosen = self._act(self._shown(frame, opponent_actions), deterministic)
        acts = frame.acting[:, self._seats].astype(bool)
        starts = [self._adapter.starts[seat] for seat in self._seats]
        return [
            {agent: int(row[i]) + starts[i] for i, agent in enumerate(self.agents) if on_turn[i]}
            for row, on_turn in zip(chosen, acts, strict=True)
        ]

    def act_arrays(
        self, obs: NDArray[np.float32], avail: NDArray[Any] | None = None, *, deterministic: bool = True
    ) -> NDArray[np.int64]:
        """Actions for arrays as a ``VecEnv`` of ``omarl.make_env`` gives them.

        Args:
            obs: [E, N, O], zeros for dead agents.
            avail: [E, N, U], not 0 where an action is available; None: wherever the agent has the action.
            deterministic: see ``act``.

        Returns:
            Actions [E, N], counted from 0.

        Raises:
            EnvError: the shapes are others.
        """
        info = self.info
        has = np.arange(info.n_actions) < np.array(info.action_sizes)[:, None]  # [N, U]
        obs = np.asarray(obs, np.float32)
        if obs.shape[1:] != (info.n_agents, info.obs_shape):
            raise EnvError(f"policy: obs has shape {obs.shape}, not [E, {info.n_agents}, {info.obs_shape}]")
        given = np.broadcast_to(has, (len(obs), *has.shape)) if avail is None else np.asarray(avail)
        if given.shape != (*obs.shape[:2], info.n_actions):
            raise EnvError(f"policy: avail has shape {given.shape}, not [E, {info.n_agents}, {info.n_actions}]")
        state = np.zeros((len(obs), info.state_shape), np.float32)
        alive = np.ones(obs.shape[:2], np.uint8)
        return self._act(Observation(obs, state, (given != 0).astype(np.uint8), alive), deterministic)

    def _act(self, observation: Observation, deterministic: bool) -> NDArray[np.int64]:
        if not np.isfinite(observation.obs).all():
            raise EnvError("policy: an observation is not finite (NaN or infinity)")
        n_envs = len(observation.obs)
        if self._carry is None:
            self._carry = self._actor.initial_carry(n_envs)
            self._fresh = self._carry.clone()
            self._last = torch.zeros(n_envs, self.info.n_agents, self.info.n_actions, device=self._carry.device)
            self._begins = np.ones(n_envs, bool)
        if n_envs != len(self._carry):
            raise EnvError(f"policy: {n_envs} environments act, {len(self._carry)} did before; call reset() first")
        with self._own_random():
            actions, self._carry = self._actor.act(observation, self._last, self._carry, self.t_env, deterministic)
        if getattr(self._actor, "sees_last_actions", True):
            self._last = F.one_hot(actions, self.info.n_actions).float()
        self._begins[:] = False
        return actions.cpu().numpy()

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """Draws come from the policy's own generator, not from torch's global one."""
        kept = torch.get_rng_state()
        torch.set_rng_state(self._random)
        try:
            yield
        finally:
            self._random = torch.get_rng_state()
            torch.set_rng_state(kept)

    def _frame(self, rows: list[tuple[Mapping[Any, Any], Mapping[Any, Any], Collection[Any] | None]]) -> Frame:
        """Arrays of all agents, written as training writes them."""
        if self._adapter is None:
            raise EnvError(f"policy: {self.info.key} is made of arrays; use act_arrays")
        agents = self._adapter.agents
        frame = lay_out(self._adapter.info, len(rows)).first
        for e, (seen, infos, acting) in enumerate(rows):
            if unknown := [agent for agent in seen if agent not in self._adapter.index]:
                raise EnvError(f"policy: {unknown[0]!r} is none of its agents {', '.join(map(str, agents))}")
            alive = [agent in seen for agent in agents]
            on_turn = alive if acting is None else [agent in seen and agent in acting for agent in agents]
            try:
                self._adapter.write(frame.rows(e), seen, infos, alive, on_turn)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise EnvError(f"policy: an observation does not fit {self.info.key} ({error})") from error
        return frame

    def _shown(self, frame: Frame, opponent_actions: Sequence[Mapping[Any, int] | None] | None) -> Observation:
        """The learners' part, with what they observe of opponents behind their own observation."""
        obs = frame.obs[:, self._seats]
        kinds = [name for name, _ in getattr(self.info, "told", ())]
        if others := [name for name in kinds if name != "actions"]:
            raise EnvError(
                f"policy: it observes the opponents' {others[0]}, which no observation holds; use act_arrays"
            )
        if kinds:
            last = self._last_of_opponents(len(obs), opponent_actions)
            obs = np.concatenate([obs, last[:, None].repeat(len(self._seats), axis=1)], axis=2)
        return Observation(obs, frame.state, frame.avail[:, self._seats], frame.agent_mask[:, self._seats])

    def _last_of_opponents(self, n_envs: int, given: Sequence[Mapping[Any, int] | None] | None) -> NDArray[Any]:
        """One-hot [E, M * U]; zeros at an episode's start."""
        table = np.zeros((n_envs, len(self.opponents), self.info.n_actions), np.float32)
        for e, actions in enumerate([None] * n_envs if given is None else given):
            if actions is None:
                if self._carry is not None and not self._begins[e]:
                    raise EnvError("policy: it observes the opponents' last actions: give opponent_actions")
                continue
            for m, name in enumerate(self.opponents):
                table[e, m, int(actions.get(name, 0)) - self._adapter.starts[self._adapter.index[name]]] = 1.0
        return table.reshape(n_envs, -1)


def load(path: PathLike, step: int = 0, *, seed: int = 0, **keys: Any) -> Policy:
    """The agents of a checkpoint.

    Args:
        path: a run's folder (or the ``Run``), its ``checkpoints`` folder, or one checkpoint.
        step: which checkpoint, by environment steps (the nearest); 0: the last.
        seed: of the actions that are drawn, where ``deterministic=False``.
        keys: over the checkpoint's configuration: ``use_cuda=True``, or ``pool=FOLDER`` where a pool has moved.

    Raises:
        ConfigError: there is no checkpoint, or it cannot be loaded here.
    """
    with process_state_kept():
        folder = find_checkpoint(path, step, "path")
        updates = {**keys, "checkpoint_path": folder, "seed": seed}
        values = from_keywords(updates, command="evaluate").values
        values |= {name: value for name, value in GREEDY.items() if name in values}
        config = read(RunConfig, {**values, "env_workers": 0})
        seed_everything(seed)
        env = make_env(config, 1, TEST_STREAM)
        parts = assemble(values, env, env, Logger(logging.getLogger("omarl")))
        try:
            state = load_checkpoint(folder, parts.learner)
        finally:
            parts.close()
        return Policy(
            parts.runner.mac, parts.info, single_adapter(config.env, config.env_args), state["t_env"], values
        )
