"""A game with the interface of JaxMARL's environments, which runs with ``jax`` and with ``fake_jax``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

MARCH, WAIT, FALL = 0, 1, 2
GOAL = 4.0  # steps of all agents together that win the game


class State(NamedTuple):
    place: Any  # float32 [3]
    alive: Any  # bool [3]
    mark: Any  # uint32, different in every episode
    noise: Any  # uint32, different in every step
    taken: Any  # int32 [3], the last joint action
    step: Any  # int32


class March:
    """Agents march, wait, or fall. Together they win after ``GOAL`` steps; they lose when all have fallen.

    The scouts see their own place, the heavy one also the mark of the episode. The fallen can only fall.
    """

    enemy_agents = ("nobody",)
    won_battle_bonus = 1.0

    def __init__(self, max_steps: int = 3) -> None:
        self.max_steps = max_steps
        self.agents = ["scout_0", "scout_1", "heavy_0"]

    def action_space(self, agent: str) -> Any:
        return SimpleNamespace(n=3)

    def reset(self, key: Any) -> tuple[dict[str, Any], State]:
        zeros = jnp.zeros(3, jnp.float32)
        state = State(zeros, jnp.ones(3, bool), key[0], key[0] * 0, jnp.zeros(3, jnp.int32) - 1, jnp.int32(0))
        return self.observe(state), state

    def step_env(self, key: Any, state: State, actions: dict[str, Any]) -> Any:
        taken = jnp.stack([actions[agent] for agent in self.agents])
        alive = state.alive & (taken != FALL)
        place = state.place + (alive & (taken == MARCH))
        state = State(place, alive, state.mark, key[0], taken, state.step + 1)
        won = place.sum() >= GOAL
        done = {agent: ~alive[i] for i, agent in enumerate(self.agents)}
        done["__all__"] = won | ~alive.any() | (state.step >= self.max_steps)
        reward = {agent: jnp.where(won, 1.0, 0.0) + 0.1 * i for i, agent in enumerate(self.agents)}
        shaped = {agent: place[i] for i, agent in enumerate(self.agents)}
        return self.observe(state), state, reward, done, {"shaped_reward": shaped}

    def observe(self, state: State) -> dict[str, Any]:
        rows = {agent: state.place[i : i + 1] + 1.0 for i, agent in enumerate(self.agents)}
        rows["heavy_0"] = jnp.stack([state.place[2] + 1.0, (state.mark % 1024).astype(jnp.float32)])
        return rows | {"world_state": jnp.concatenate([state.place, state.taken.astype(jnp.float32)])}

    def get_avail_actions(self, state: State) -> dict[str, Any]:
        return {agent: jnp.stack([state.alive[i], state.alive[i], state.alive[i] | True]) for i, agent in
                enumerate(self.agents)}  # fmt: skip


class Endless(March):
    """A March without a time limit and without a state, masks and a bonus."""

    won_battle_bonus = 0.0
    get_avail_actions = None

    def __init__(self) -> None:
        super().__init__()
        del self.max_steps

    def step_env(self, key: Any, state: State, actions: dict[str, Any]) -> Any:
        self.max_steps = 10**6
        try:
            return super().step_env(key, state, actions)
        finally:
            del self.max_steps

    def observe(self, state: State) -> dict[str, Any]:
        rows = super().observe(state)
        return {agent: rows[agent] for agent in self.agents}


class Sums(March):
    """Ends by its clock only, which its constructor has read, as the coin game does. Agents are numbers in tuples."""

    num_inner_steps, num_outer_steps = 2, 2
    won_battle_bonus = 0.0
    get_avail_actions = None

    def __init__(self) -> None:
        super().__init__(max_steps=4)
        self.steps = self.__dict__.pop("max_steps")
        self.agents = [0, 1]

    def reset(self, key: Any) -> Any:
        state = jnp.zeros(2, jnp.float32)
        return (state[:1], state[1:]), state

    def step_env(self, key: Any, state: Any, actions: Any) -> Any:
        state = state + actions + 1
        done = {"__all__": state[0] >= self.steps}
        return (state[:1], state[1:]), state, (state[0], state[1]), done, {}


def registered() -> Any:
    """A module ``jaxmarl`` with these games."""
    games = {"march": March, "endless": Endless, "sums": Sums}
    return SimpleNamespace(registered_envs=list(games), make=lambda key, **kwargs: games[key](**kwargs))


def expected_draw(seed_words: Any, copy: int, episode: int, t: int) -> Any:
    """The key of step ``t``, or of the reset if it is 0, as docs state it."""
    key = jax.random.fold_in(jax.random.fold_in(seed_words, copy), episode)
    own = jax.random.fold_in(key, t)
    return own if t == 0 else jax.random.split(own)[0]
