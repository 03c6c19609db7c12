"""E copies of a JaxMARL environment (Rutherford et al. 2024), stepped by one compiled call."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..games.game import Batched
from ..types import EnvInfo, Frame
from ..utils.stateful import packed
from .arrays import lay_out
from .jax_interface import Interface


class Carry(NamedTuple):
    """What the next step of a copy depends on.

    Attributes:
        state: the environment's own.
        key: uint32 [2], of the random numbers of the episode.
        t: int32, steps of the episode.
        alive: bool [N].
        forced: int32 [N], the actions of agents that do not act; -1 for those that act.
    """

    state: Any
    key: Any
    t: Any
    alive: Any
    forced: Any


class Result(NamedTuple):
    """What a step returns of a copy, besides the carry; the parts are those of ``types.Step``."""

    frame: Frame
    reward: Any
    terminated: Any
    truncated: Any
    won: Any
    shaped_reward: Any


class JaxCopies(Batched):
    """A backend of ``VectorEnv``. Its last frames are arrays of JAX, which on a CPU are read without a copy.

    JaxMARL's ``done`` says that an episode has ended, by its rules or by a time limit. A step that reaches the limit
    is computed once more in an environment without it: this tells whether the rules ended the episode. JaxMARL's
    ``step`` computes resets in every step; here they are computed, by a second call, when an episode has ended.

    Episode k of copy e has the key ``fold_in(fold_in(seed, e), k)``. Its reset has the key ``fold_in(key, 0)``, its
    step t = 1, 2, ... the key ``fold_in(key, t)``, with which JaxMARL's ``step`` draws the same numbers.

    Args:
        game: the environment.
        n_envs, seed: see ``envs.make.make_vec_env``.
    """

    def __init__(self, game: Interface, n_envs: int, seed: int) -> None:
        self.game, self.info = game, game.info
        self.limit = game.info.episode_limit  # steps after which an episode is truncated
        self._seed = jnp.asarray(np.random.SeedSequence(seed).generate_state(2))
        self._advance = jax.jit(self._next, static_argnums=4)
        self._restart = jax.jit(self._renewed)
        self.episode = np.full(n_envs, -1, np.int32)  # numbers of the running episodes, [E]
        self.won = self.shaped_reward = None  # see ``types.Step``
        blank = jax.eval_shape(jax.vmap(self._first), np.arange(n_envs), self.episode)[0]
        self.carry = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank)  # of all copies
        super().__init__(game, game.info, lay_out(game.info, n_envs), seed)

    def reset(self) -> None:
        """Begins an episode in every copy."""
        ended = np.ones(len(self.episode), np.bool_)
        self.episode += ended
        self.carry, frame = self._restart(self.carry, self.arrays.final, ended, self.episode)
        self.arrays = self.arrays._replace(first=_complete(jax.tree.map(np.asarray, frame)))

    def step(self) -> None:
        """Steps every copy with ``arrays.actions``."""
        at_limit = bool((np.asarray(self.carry.t) + 1 >= self.game.limit).any())
        given = self.carry, self.arrays.actions, self.episode, self.limit, at_limit
        self.carry, *made = self._advance(*given)
        (frame, reward, over, cut, self.won, self.shaped_reward), first = jax.tree.map(np.asarray, made)
        self.arrays = self.arrays._replace(final=_complete(frame), reward=reward, terminated=over, truncated=cut)
        ended = over | cut
        if ended.any():
            self.episode += ended
            self.arrays = self.arrays._replace(first=_complete(first))

    def restart(self, info: EnvInfo) -> None:
        """Starts again with the first episodes, and with the episode limit of ``info``."""
        self.info, self.limit, self.episode[:] = info, info.episode_limit, -1

    def state_dict(self) -> dict[str, Any]:
        """The states of the copies as plain arrays, and the numbers of their episodes."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.carry)]
        return {"carry": packed(leaves), "episode": packed(self.episode)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``; raises ValueError if it is the state of another environment."""
        leaves, tree = jax.tree.flatten(self.carry)
        saved = [array.numpy() for array in state["carry"]]
        if [(leaf.shape, leaf.dtype) for leaf in leaves] != [(array.shape, array.dtype) for array in saved]:
            raise ValueError(f"the state is not one of {len(self.episode)} copies of {self.info.key}")
        self.carry = jax.tree.unflatten(tree, [jnp.asarray(array) for array in saved])
        self.episode[:] = state["episode"].numpy()
        self.arrays = lay_out(self.info, len(self.episode))  # arrays that can be written to

    def _renewed(self, carry: Carry, frame: Frame, ended: Any, episode: Any) -> tuple[Carry, Frame]:
        """``carry`` and ``frame`` with those of new episodes in the copies ``ended``."""
        fresh, first = jax.vmap(self._first)(jnp.arange(len(ended)), episode)
        own_state: Any = None if first.state is None else frame.state
        frame = frame._replace(state=own_state)

        def chosen(new: Any, own: Any) -> Any:
            return jnp.where(ended.reshape(-1, *[1] * (own.ndim - 1)), new, own)

        return jax.tree.map(chosen, (fresh, first), (carry, frame))

    def _first(self, copy: Any, episode: Any) -> tuple[Carry, Frame]:
        """Begins an episode of one copy."""
        key = jax.random.fold_in(jax.random.fold_in(self._seed, copy), episode)
        observed, state = self.game.env.reset(jax.random.fold_in(key, 0))
        alive = jnp.ones(self.info.n_agents, bool)
        frame, forced = self.game.frame(observed, state, alive)
        return _typed(Carry(state, key, jnp.int32(0), alive, forced)), frame

    def _next(
        self, carry: Carry, actions: Any, episode: Any, limit: Any, at_limit: bool
    ) -> tuple[Carry, Result, Frame]:
        """Takes one step in all copies, and begins the next episodes of those that ended.

        ``episode``: the numbers of the running episodes. ``at_limit``: a copy reaches the environment's time limit.
        The last result has the first frames of the copies that ended, and of the others their last.
        """
        game, t = self.game, carry.t + 1
        given = jax.vmap(self._given)(carry, actions)
        observed, state, rewards, flags, info = jax.vmap(game.env.step_env)(*given)
        done = jax.vmap(game.done)(flags)  # [E, 1 + N]
        own = jnp.where((t < game.limit)[:, None], done, self._done_by_rules(given)) if at_limit else done
        over = own[:, 0]
        cut = ~over & (done[:, 0] | (t >= limit))
        alive = carry.alive & (over[:, None] | ~own[:, 1:])  # all that played have a last observation
        frame, forced = jax.vmap(game.frame)(observed, state, alive)
        frame = frame._replace(acting=jnp.where((over | cut)[:, None], 0, frame.acting))
        reward = jax.vmap(game.by_agent)(rewards)
        shaped = jax.vmap(game.by_agent)(info["shaped_reward"]) if "shaped_reward" in info else None
        result = Result(frame, reward, over, cut, game.won(reward, over), shaped)
        after, ended = _typed(Carry(state, carry.key, t, alive, forced)), over | cut
        after, first = jax.lax.cond(
            ended.any(), lambda: self._renewed(after, frame, ended, episode + ended), lambda: (after, frame)
        )
        return after, result, first

    def _given(self, carry: Carry, actions: Any) -> tuple[Any, Any, Any]:
        """The arguments of ``step_env`` in one copy."""
        key, _ = jax.random.split(jax.random.fold_in(carry.key, carry.t + 1))
        return key, carry.state, self.game.joint_action(actions, carry.forced)

    def _done_by_rules(self, given: Any) -> Any:
        """``done`` [E, 1 + N] in the environment without a time limit; False if the limit cannot be lifted."""
        unlimited = self.game.unlimited
        if unlimited is None:
            return jnp.zeros((len(self.episode), 1 + self.info.n_agents), bool)
        return jax.vmap(self.game.done)(jax.vmap(unlimited.step_env)(*given)[3])


def _typed(tree: Any) -> Any:
    """The tree as arrays without weak types, with which the next call would be compiled once more."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), tree)


def _complete(frame: Frame) -> Frame:
    """Adds the state, if there is none of its own: all observations, [E, N, O] -> [E, N*O]."""
    if frame.state is not None:
        return frame
    return frame._replace(state=frame.obs.reshape(len(frame.obs), -1))
