"""``env: jaxmarl`` beside JaxMARL's own ``step``: equal numbers for equal keys and actions; needs jaxmarl."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omarl.envs.actions import actions_by_score
from omarl.envs.make import make_vec_env

jax = pytest.importorskip("jax")
pytest.importorskip("jaxmarl")

GAMES = {
    "smax": ({"key": "HeuristicEnemySMAX", "map": "3m", "max_steps": 12}, 14),
    "overcooked": ({"key": "overcooked", "layout": "cramped_room", "max_steps": 12}, 14),
    "tag": ({"key": "MPE_simple_tag_v3"}, 28),
}


@pytest.mark.parametrize("name", GAMES)
def test_returns_and_observations_equal_those_of_jaxmarl(name: str) -> None:
    from omarl.envs.jaxmarl import make_jaxmarl

    arguments, n_steps = GAMES[name]
    env, original = make_vec_env("jaxmarl", arguments, 2, 0, 3), make_jaxmarl(**arguments)
    reset, play = jax.jit(original.reset), jax.jit(original.step)
    words, fold = jax.numpy.asarray(np.random.SeedSequence(3).generate_state(2)), jax.random.fold_in
    copy, episode, t, ended = 1, 0, 0, 0
    key = fold(fold(words, copy), episode)
    observed, state = reset(fold(key, 0))
    rng, ours = np.random.default_rng(0), env.reset()
    for _ in range(n_steps):
        _compare(ours.obs[copy], observed, original.agents)
        actions = actions_by_score(env.info.actions, rng.random(ours.avail.shape) * ours.avail)
        forced = np.asarray(env._copies.carry.forced)  # what dead agents do
        taken = np.where(forced < 0, actions, forced)[copy]
        step, t = env.step(actions), t + 1
        joint = {agent: int(taken[i]) for i, agent in enumerate(original.agents)}
        observed, state, reward, done, _ = play(fold(key, t), state, joint)
        np.testing.assert_allclose(step.reward[copy], [float(reward[a]) for a in original.agents], atol=1e-6)
        assert bool(done["__all__"]) == bool(step.terminated[copy] or step.truncated[copy])
        if done["__all__"]:  # JaxMARL has begun an episode with another key
            episode, t, ended = episode + 1, 0, ended + 1
            key = fold(fold(words, copy), episode)
            observed, state = reset(fold(key, 0))
        ours = step.observation
    assert ended


def _compare(rows: Any, observed: Any, agents: list[str]) -> None:
    for row, agent in zip(rows, agents, strict=True):
        own = np.ravel(observed[agent])
        np.testing.assert_allclose(row[: len(own)], own, atol=1e-6)
        assert not row[len(own) :].any()
