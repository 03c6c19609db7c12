"""One copy of a JaxMARL environment in array form. All functions can be compiled."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from ..types import Block, ConfigError, EnvInfo, Frame
from ..utils.space_blocks import padded
from .actions import actions_of, bounds
from .adapter import agent_types

MASKS = ("get_avail_actions", "get_legal_moves")
WORLD = "world_state"
NEVER = np.iinfo(np.int32).max


class Interface:
    """The parts of a JaxMARL environment that differ between environments.

    Most environments return dictionaries by agent; some (storm) return arrays or tuples in the order of the agents.

    Args:
        env: a ``jaxmarl.environments.MultiAgentEnv``.
        unlimited: the same without its time limit; None: it has none, or one that cannot be lifted.
        limit: steps from which on ``done`` may stand for the time limit; NEVER: there is none.
        key: ``env_args.key``.
        episode_limit: the most steps of an episode.
        arguments: of the constructor.
    """

    def __init__(
        self, env: Any, unlimited: Any, limit: int, key: str, episode_limit: int, arguments: Mapping[str, Any]
    ) -> None:
        self.env, self.unlimited, self.limit = env, unlimited, limit
        observed, state = jax.eval_shape(env.reset, jnp.zeros(2, jnp.uint32))
        self._is_named = isinstance(observed, Mapping) and all(agent in observed for agent in env.agents)
        self._world: Callable[[Any, Any], Any] | None = None
        if isinstance(observed, Mapping) and WORLD in observed:
            self._world = lambda observed, state: observed[WORLD]
        elif hasattr(env, "get_world_state"):
            self._world = lambda observed, state: env.get_world_state(state)
        names = [str(agent) for agent in env.agents]
        self._spaces = [_gymnasium_space(env.action_space(agent), key) for agent in env.agents]
        self._actions = actions_of(self._spaces, names)
        if self._actions.kind.name not in ("discrete", "continuous"):
            raise ConfigError(f"environment {key}: actions of different kinds are not supported")
        self._masks = _masks(env, state) if self._actions.kind.name == "discrete" else None
        own = jax.eval_shape(lambda observed: [self._of(observed, i) for i in range(len(names))], observed)
        self.info = self._describe(key, names, own, (observed, state), episode_limit, arguments)

    def _describe(
        self, key: str, names: list[str], own: list[Any], shapes: Any, limit: int, arguments: Mapping[str, Any]
    ) -> EnvInfo:
        blocks = [tuple(_block(leaf) for leaf in jax.tree.leaves(each)) for each in own]
        obs_sizes = tuple(sum(block.size for block in each) for each in blocks)
        obs_shape, action_sizes = max(obs_sizes), tuple(map(len, self._actions.own))
        filled = tuple(padded(each, obs_shape) for each in blocks)
        state_shape = len(names) * obs_shape
        if self._world is not None:
            state_shape = jax.eval_shape(lambda *given: _flat(self._world(*given)), *shapes).size
        return EnvInfo(
            key=key,
            agents=tuple(names),
            agent_types=agent_types(names, obs_sizes, action_sizes),
            obs_shape=obs_shape,
            obs_sizes=obs_sizes,
            n_actions=len(self._actions.none),
            action_sizes=action_sizes,
            state_shape=state_shape,
            episode_limit=limit,
            arguments=arguments,
            obs_blocks=filled,
            state_blocks=() if self._world else tuple(block for each in filled for block in each),
            interface="JaxMARL",
            limit_source="episode_limit",
            actions=self._actions.kind,
            action_numbers=self._actions.numbers,
        )

    def frame(self, observed: Any, state: Any, alive: Any) -> tuple[Frame, Any]:
        """The frame of an observation, without a state if that is the concatenation of the observations.

        An agent with a single legal action has no choice. It counts as waiting, and the environment gets that action.

        Returns:
            The frame, and the actions [N] of agents that do not act, -1 for those that act.
        """
        info = self.info
        rows = [_flat(self._of(observed, i)) for i in range(info.n_agents)]
        obs = jnp.stack([jnp.pad(row, (0, info.obs_shape - row.size)) for row in rows])
        legal = jnp.asarray(self._actions.available)
        acts, forced = alive, jnp.zeros(info.n_agents, jnp.int32)
        if self._masks is not None:
            masks = [jnp.asarray(self._of(self._masks(state), i)) > 0 for i in range(info.n_agents)]
            legal = jnp.stack([jnp.pad(mask, (0, info.n_actions - mask.size)) for mask in masks])
            acts, forced = alive & (legal.sum(-1) > 1), legal.argmax(-1).astype(jnp.int32)
        avail = jnp.where(acts[:, None], legal, self._actions.none)
        own: Any = None if self._world is None else _flat(self._world(observed, state))
        bytes_ = [array.astype(jnp.uint8) for array in (avail, alive, acts)]
        return Frame(jnp.where(alive[:, None], obs, 0.0), own, *bytes_), jnp.where(acts, -1, forced)

    def joint_action(self, actions: Any, forced: Any) -> Any:
        """The environment's joint action, from actions [N] or [N, D] (see ``types.ActionKind``)."""
        if self._actions.kind.name == "discrete":
            own = list(jnp.where(forced < 0, actions, forced).astype(jnp.int32))
        else:
            own = [_scaled(action, space) for action, space in zip(actions, self._spaces, strict=True)]
        return dict(zip(self.env.agents, own, strict=True)) if self._is_named else jnp.stack(own)

    def by_agent(self, values: Any) -> Any:
        """Numbers of the agents, float32 [N]."""
        own = [self._of(values, i) for i in range(self.info.n_agents)]
        return jnp.stack([jnp.asarray(value, jnp.float32) for value in own])

    def done(self, flags: Any) -> Any:
        """Whether the episode has ended, and whether each agent is done, bool [1 + N]."""
        return jnp.stack([flags["__all__"], *(flags.get(agent, flags["__all__"]) for agent in self.env.agents)])

    def won(self, reward: Any, over: Any) -> Any:
        """Whether the agents have won, bool [E], by the bonus in SMAX's reward [E, N]; None: there is no bonus."""
        bonus = getattr(self.env, "won_battle_bonus", 0.0) if hasattr(self.env, "enemy_agents") else 0.0
        return over & (reward >= bonus).any(axis=-1) if bonus else None

    def _of(self, values: Any, i: int) -> Any:
        """The part of agent ``i``."""
        if isinstance(values, Mapping) and self.env.agents[i] in values:
            return values[self.env.agents[i]]
        if isinstance(values, Mapping):
            return {name: value[i] for name, value in values.items()}
        return values[i]


def _masks(env: Any, state: Any) -> Callable[[Any], Any] | None:
    """The method that gives the legal actions in a state; None if there is none."""
    for name in MASKS:
        method = getattr(env, name, None)
        try:
            if method is not None and jax.eval_shape(method, state) is not None:
                return method
        except NotImplementedError:  # the base class declares it
            continue
    return None


def _gymnasium_space(space: Any, key: str) -> spaces.Space:
    """Gymnasium's form of a space of JaxMARL."""
    if hasattr(space, "n"):
        return spaces.Discrete(int(space.n))
    if hasattr(space, "low"):
        low, high = (np.broadcast_to(np.asarray(bound, np.float32), space.shape) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=np.float32)
    raise ConfigError(f"environment {key}: actions of the space {type(space).__name__} are not supported")


def _block(leaf: Any) -> Block:
    return Block(math.prod(leaf.shape), shape=tuple(leaf.shape))


def _flat(tree: Any) -> Any:
    """All numbers of a tree in a row, float32."""
    leaves = [jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(tree)]
    return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves)


def _scaled(action: Any, space: Any) -> Any:
    """The numbers of the space for numbers scaled to [-1, 1] where it is bounded."""
    low, high, centre, half, _ = bounds(space)
    return jnp.clip(centre + half * action[: len(low)], low, high).reshape(space.shape).astype(jnp.float32)
