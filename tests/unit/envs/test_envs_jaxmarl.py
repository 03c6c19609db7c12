"""``env: jaxmarl``: JaxMARL's interface as E copies. Without jax, ``fake_jax`` takes its place."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import fake_jax
import numpy as np
import pytest
import torch
from omarl import registry
from omarl.envs.make import described, make_vec_env
from omarl.types import ConfigError, EnvError

REBOUND = ("omarl.envs.jaxmarl", "omarl.envs.jax_copies", "omarl.envs.jax_interface", "jax_games")
MARCH, WAIT, FALL = 0, 1, 2


@pytest.fixture(params=["fake", "jax"])
def games(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module ``jax_games`` with jax or its substitute, and ``jaxmarl.make`` for its games."""
    if request.param == "jax" and find_spec("jax") is None:
        pytest.skip("jax is not installed")
    for name in REBOUND:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, module in (fake_jax.modules() if request.param == "fake" else {}).items():
        monkeypatch.setitem(sys.modules, name, module)
    found = importlib.import_module("jax_games")
    monkeypatch.setitem(sys.modules, "jaxmarl", found.registered())
    yield found
    for name in REBOUND:
        sys.modules.pop(name, None)


def march(n_envs: int = 3, seed: int = 5, key: str = "march", **arguments: Any) -> Any:
    return make_vec_env("jaxmarl", {"key": key, **arguments}, n_envs, 0, seed)


def joint(n_envs: int, *actions: int) -> np.ndarray:
    return np.tile(np.array(actions), (n_envs, 1))


def test_sizes_names_and_types_are_read_from_the_environment(games: Any) -> None:
    info = march().info
    assert info.agents == ("scout_0", "scout_1", "heavy_0") and info.agent_types == ("scout", "scout", "heavy")
    assert (info.obs_sizes, info.obs_shape, info.action_sizes, info.n_actions) == ((1, 1, 2), 2, (3, 3, 3), 3)
    assert (info.state_shape, info.episode_limit, info.interface) == (6, 3, "JaxMARL")
    assert info.obs_blocks[0] == (info.obs_blocks[2][0].__class__(1, shape=(1,)), info.obs_blocks[0][1])
    assert described("jaxmarl", {"key": "march"}, 0.0).actions.name == "discrete"


def test_smaller_observations_are_padded_and_the_own_state_is_used(games: Any) -> None:
    env = march()
    first = env.reset()
    assert first.obs.shape == (3, 3, 2) and not first.obs[:, :2, 1].any() and (first.obs[:, :, 0] == 1).all()
    assert first.state.tolist() == [[0, 0, 0, -1, -1, -1]] * 3
    step = env.step(joint(3, MARCH, WAIT, MARCH))
    assert step.final.state[0].tolist() == [1, 0, 1, MARCH, WAIT, MARCH]
    np.testing.assert_allclose(step.reward[1], [0.0, 0.1, 0.2], rtol=1e-6)


def test_an_ended_episode_keeps_its_last_observation_and_the_next_one_begins(games: Any) -> None:
    env = march()
    marks = env.reset().obs[:, 2, 1].copy()
    env.step(np.array([[MARCH] * 3, [WAIT] * 3, [WAIT] * 3]))
    step = env.step(np.array([[MARCH] * 3, [WAIT] * 3, [WAIT] * 3]))
    assert step.terminated.tolist() == [True, False, False] and not step.truncated.any()
    assert step.final.obs[0, :, 0].tolist() == [3, 3, 3] and step.observation.obs[0, :, 0].tolist() == [1, 1, 1]
    assert step.final.obs[0, 2, 1] == marks[0] and step.observation.obs[0, 2, 1] != marks[0]
    np.testing.assert_array_equal(step.final.obs[1:], step.observation.obs[1:])
    step = env.step(joint(3, WAIT, WAIT, WAIT))  # t = 1 in the first copy, 3 in the others
    assert step.truncated.tolist() == [False, True, True] and step.observation is not step.final


def test_a_time_limit_truncates_and_the_living_can_be_valued(games: Any) -> None:
    env = march(2)
    env.reset()
    env.step(joint(2, WAIT, WAIT, FALL))
    env.step(joint(2, WAIT, WAIT, 0))
    step = env.step(joint(2, WAIT, WAIT, 0))
    assert step.truncated.all() and not step.terminated.any()
    assert step.final.agent_mask.tolist() == [[1, 1, 0]] * 2
    assert step.final.avail[0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]


def test_rules_that_end_an_episode_at_the_time_limit_terminate_it(games: Any) -> None:
    env = march(3)
    env.reset()
    for _ in range(2):
        env.step(np.array([[MARCH, WAIT, WAIT], [WAIT, WAIT, WAIT], [WAIT, WAIT, WAIT]]))
    step = env.step(np.array([[MARCH] * 3, [FALL] * 3, [WAIT] * 3]))  # won, lost, out of time
    assert step.terminated.tolist() == [True, True, False] and step.truncated.tolist() == [False, False, True]
    assert step.won.tolist() == [True, False, False]
    assert step.final.agent_mask.all()  # those that fell in the last step have a last observation


def test_a_shorter_limit_of_the_user_truncates(games: Any) -> None:
    env = march(2, episode_limit=2)
    env.reset()
    assert not env.step(joint(2, WAIT, WAIT, WAIT)).truncated.any()
    assert env.step(joint(2, WAIT, WAIT, WAIT)).truncated.all() and env.info.episode_limit == 2


def test_the_dead_observe_nothing_and_take_the_only_legal_action(games: Any) -> None:
    env = march(2)
    env.reset()
    step = env.step(joint(2, WAIT, FALL, WAIT))
    assert step.observation.agent_mask.tolist() == [[1, 0, 1]] * 2
    assert not step.observation.obs[:, 1].any() and step.observation.avail[0, 1].tolist() == [1, 0, 0]
    step = env.step(joint(2, MARCH, MARCH, MARCH))
    assert step.final.state[0].tolist() == [1, 0, 1, MARCH, FALL, MARCH]


def test_an_unavailable_action_is_refused(games: Any) -> None:
    env = march(2)
    env.reset()
    with pytest.raises(EnvError, match=r"march \(copy 0\): action 3 is not available to scout_0"):
        env.step(joint(2, 3, 0, 0))


def test_the_shaped_reward_is_returned_beside_the_reward(games: Any) -> None:
    env = march(2)
    env.reset()
    step = env.step(joint(2, MARCH, WAIT, MARCH))
    assert step.shaped_reward.tolist() == [[1, 0, 1]] * 2


def test_numbers_are_drawn_as_stated(games: Any) -> None:
    import jax.numpy as jnp

    env = march(2, seed=7)
    words = jnp.asarray(np.random.SeedSequence(7).generate_state(2))
    state = env._copies
    env.reset()
    for episode in (0, 1):
        assert [int(n) for n in state.carry.state.mark] == [
            int(games.expected_draw(words, copy, episode, 0)[0]) for copy in (0, 1)
        ]
        for t in (1, 2, 3):
            if t < 3 or episode == 0:
                env.step(joint(2, WAIT, WAIT, WAIT))
            if t < 3:
                assert int(state.carry.state.noise[1]) == int(games.expected_draw(words, 1, episode, t)[0])


def test_a_copys_episodes_do_not_depend_on_the_number_of_copies(games: Any) -> None:
    few, many = march(2), march(19)
    for _ in range(2):
        a, b = few.reset(), many.reset()
        np.testing.assert_array_equal(a.obs, b.obs[:2])
    assert len(np.unique(b.obs[:, 2, 1])) > 10
    assert not np.array_equal(march(2, seed=6).reset().obs, march(2, seed=5).reset().obs)


def test_a_saved_state_continues_exactly(games: Any) -> None:
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 2, (12, 3, 3))
    env = march()
    env.reset()
    for each in actions[:4]:
        env.step(each)
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    file.seek(0)
    other = march(seed=5)
    assert other.load_state_dict(torch.load(file, weights_only=True)).all()
    np.testing.assert_array_equal(other.observation().obs, env.observation().obs)
    for each in actions[4:]:
        a, b = env.step(each), other.step(each)
        for one, two in zip((*a.final, *a.observation, a.reward, a.truncated),
                            (*b.final, *b.observation, b.reward, b.truncated), strict=True):  # fmt: skip
            np.testing.assert_array_equal(one, two)


def test_the_state_of_another_environment_is_refused(games: Any) -> None:
    env, other = march(3), march(4)
    env.reset()
    with pytest.raises(ValueError, match="not one of 4 copies of march"):
        other._copies.load_state_dict(env._copies.state_dict())


def test_a_limit_that_cannot_be_lifted_truncates(games: Any) -> None:
    env = march(2, key="sums")
    assert (env.info.agents, env.info.episode_limit, env.info.state_shape) == (("0", "1"), 4, 2)
    env.reset()
    steps = [env.step(joint(2, 0, 1)) for _ in range(4)]
    assert steps[2].reward.tolist() == [[3, 6]] * 2
    assert steps[3].truncated.all() and not steps[3].terminated.any() and steps[3].final.agent_mask.all()
    assert steps[3].won is None and steps[3].shaped_reward is None


def test_an_unknown_limit_is_estimated_and_the_observations_are_the_state(
    games: Any, caplog: pytest.LogCaptureFixture
) -> None:
    env = march(4, key="endless")
    assert "states no limit" in caplog.text and env.info.episode_limit % 4 == 0 and env.info.episode_limit < 100
    assert env.info.state_shape == 6
    first = env.reset()
    np.testing.assert_array_equal(first.state, first.obs.reshape(4, -1))
    for _ in range(env.info.episode_limit - 1):
        assert not env.step(joint(4, WAIT, WAIT, WAIT)).truncated.any()
    assert env.step(joint(4, WAIT, WAIT, WAIT)).truncated.all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"key": "mach"}, "JaxMARL has no environment 'mach'; did you mean 'march'"),
        ({"key": ""}, "env_args.key is missing"),
        ({"key": "march", "episode_limit": 0}, "episode_limit: 0 is not a positive number"),
        ({"key": "march", "speed": 2}, "env_args.speed is unknown to environment march"),
    ],
)
def test_mistakes_give_one_line(games: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_vec_env("jaxmarl", arguments, 2, 0, 0)


def test_an_environment_that_raises_is_named(games: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = march(2)
    env.reset()
    monkeypatch.setattr(env._copies, "_advance", lambda *_: 1 / 0)
    with pytest.raises(EnvError, match="environment march raised ZeroDivisionError"):
        env.step(joint(2, 0, 0, 0))


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REBOUND:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ConfigError, match=r"jax.*; pip install 'omarl\[jax\]'"):
        registry.resolve("env", "jaxmarl")
