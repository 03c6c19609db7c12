"""``env: jaxmarl`` beside JaxMARL's own ``step``: equal numbers for equal keys and actions; needs jaxmarl."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omarl.envs.actions import actions_by_score
from omarl.envs.make import make_vec_env

jax = pytest.importorskip("jax")
pytest.importorskip("jaxmarl")

GAMES: dict[str, tuple[dict[str, Any], int]] = {
    "smax": ({"key": "HeuristicEnemySMAX", "map": "3m", "max_steps": 40}, 44),
    "overcooked": ({"key": "overcooked", "layout": "cramped_room", "max_steps": 45}, 48),
    "adversary": ({"key": "MPE_simple_adversary_v3"}, 28),  # observations of two sizes
}
UP, DOWN, RIGHT, LEFT, STAY, INTERACT = range(6)
ONION = [LEFT, INTERACT, RIGHT, UP, INTERACT]  # from the pile at the left into the pot at the top
PLATE = [DOWN, LEFT, DOWN, INTERACT, RIGHT, UP, UP]  # from below on the left, and back to the pot
SERVE = [INTERACT, DOWN, RIGHT, DOWN, INTERACT]  # the soup, below on the right
# Agent 0 in cramped_room. It starts beside the onions; later it has to walk there before it turns to them.
SOUP = [*ONION, LEFT, *ONION, LEFT, *ONION, *PLATE, *[STAY] * 14, *SERVE]
COPY, SEED = 1, 3  # the copy that is compared, and the seed of all


@pytest.mark.parametrize("name", GAMES)
def test_observations_masks_and_returns_equal_those_of_jaxmarl(name: str) -> None:
    from omarl.envs.jaxmarl import make_jaxmarl

    arguments, n_steps = GAMES[name]
    env, original = make_vec_env("jaxmarl", arguments, 2, 0, SEED), make_jaxmarl(**arguments)
    reset, play = jax.jit(original.reset), jax.jit(original.step)
    words, fold = jax.numpy.asarray(np.random.SeedSequence(SEED).generate_state(2)), jax.random.fold_in
    episode, t = 0, 0
    key = fold(fold(words, COPY), episode)
    observed, state = reset(fold(key, 0))
    rng, ours = np.random.default_rng(0), env.reset()
    ended, mine, theirs = [], np.zeros(env.info.n_agents), np.zeros(env.info.n_agents)
    for _ in range(n_steps):
        _compare(ours, observed, original, state)
        actions = actions_by_score(env.info.actions, rng.random(ours.avail.shape) * ours.avail)
        if name == "overcooked":
            actions[:, 0], actions[:, 1] = (SOUP + [STAY] * n_steps)[t], STAY
        forced = np.asarray(env._copies.carry.forced)  # what dead agents do
        taken = np.where(forced < 0, actions, forced)[COPY]
        step, t = env.step(actions), t + 1
        joint = {agent: int(taken[i]) for i, agent in enumerate(original.agents)}
        observed, state, reward, done, info = play(fold(key, t), state, joint)
        mine, theirs = mine + step.reward[COPY], theirs + _by_agent(reward, original)
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
        if name == "overcooked":
            np.testing.assert_allclose(step.shaped_reward[COPY], _by_agent(info["shaped_reward"], original))
        assert bool(done["__all__"]) == bool(step.terminated[COPY] or step.truncated[COPY])
        if done["__all__"]:  # JaxMARL has begun an episode with another key
            ended.append(mine)
            mine, theirs = np.zeros_like(mine), np.zeros_like(mine)
            episode, t = episode + 1, 0
            key = fold(fold(words, COPY), episode)
            observed, state = reset(fold(key, 0))
        ours = step.observation
    assert ended and ended[0].any()  # the returns that were compared are not those of nothing
    assert name != "overcooked" or ended[0].tolist() == [20.0, 20.0]  # a soup


def _by_agent(values: Any, original: Any) -> np.ndarray:
    return np.array([float(values[agent]) for agent in original.agents])


def _compare(ours: Any, observed: Any, original: Any, state: Any) -> None:
    """The observation of copy ``COPY`` beside JaxMARL's: features, the state if there is one, and legal actions."""
    for row, agent in zip(ours.obs[COPY], original.agents, strict=True):
        own = np.ravel(observed[agent])
        np.testing.assert_allclose(row[: len(own)], own, atol=1e-6)
        assert not row[len(own) :].any()
    if "world_state" in observed:
        np.testing.assert_allclose(ours.state[COPY], np.ravel(observed["world_state"]), atol=1e-6)
    if not hasattr(original, "enemy_agents"):  # of these games, only SMAX has illegal actions
        return
    legal = original.get_avail_actions(state)
    for row, agent in zip(ours.avail[COPY], original.agents, strict=True):
        mask = np.asarray(legal[agent]).astype(int)
        only_first = np.arange(len(mask)) == 0
        assert row.tolist() == (mask if mask.sum() > 1 else only_first).tolist()
