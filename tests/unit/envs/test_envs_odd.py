"""Environments that differ in form from PettingZoo's contract, and packages of wrappers."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import odd_envs
import pytest
from odd_envs import Toy, Turns
from omarl.config.schema import read
from omarl.configuration.request import from_keywords
from omarl.envs import make_vec_env
from omarl.run import TEST_STREAM, TRAIN_STREAM, RunConfig, make_env
from omarl.types import ConfigError, EnvError

ZERO = np.zeros((1, 3), np.int64)


@pytest.fixture
def odd(make: Any) -> Any:
    def make_odd(name: str, **kwargs: Any) -> Any:
        return make("gymnasium", key=f"odd_envs:{name}", **kwargs)

    return make_odd


def test_vector_rewards_without_weights_are_an_error_that_names_the_key(odd: Any) -> None:
    env = odd("Vectors")
    env.reset()
    with pytest.raises(EnvError, match=r"reward of ant_0 has shape \(2,\); set reward_weights=\[1.0, 1.0\]"):
        env.step(ZERO)


def test_the_weighted_sum_of_a_vector_is_the_reward(odd: Any) -> None:
    env = odd("Vectors", reward_weights=[0.5, 2], dies_at=1, length=4)
    env.reset()
    assert env.step(ZERO).reward.tolist() == [[0.5, 0.5, 2.5]]
    assert env.step(ZERO).reward.tolist() == [[1, 0, 3]]  # ant_1 is dead


def test_vector_rewards_of_turns_are_weighted(odd: Any) -> None:
    env = odd("VectorTurns", reward_weights=[1, 0.5])
    env.reset()
    assert env.step(np.array([[1, 0, 0]])).reward.tolist() == [[6, 4.75, 4.75]]


@pytest.mark.parametrize(("joint", "expected"), [(False, [[5, 11]]), (True, [[5, 5]])])
def test_vector_rewards_of_gymnasium_are_weighted(odd: Any, joint: bool, expected: list[list[float]]) -> None:
    env = odd("VectorPair", joint=joint, reward_weights=[0, 1, 1])
    env.reset()
    assert env.step(np.array([[0, 1]])).reward.tolist() == expected


@pytest.mark.parametrize("joint", [False, True])
def test_vector_rewards_of_gymnasium_without_weights_name_the_key(odd: Any, joint: bool) -> None:
    env = odd("VectorPair", joint=joint)
    env.reset()
    with pytest.raises(EnvError, match="reward_weights"):
        env.step(np.array([[0, 1]]))


@pytest.mark.parametrize(("name", "weights"), [("Vectors", [1, 2, 3]), ("Vectors", [1]), ("ForAll", [1, 2, 3])])
def test_weights_that_do_not_fit_are_an_error(odd: Any, name: str, weights: list[float]) -> None:
    env = odd(name, reward_weights=weights)
    env.reset()
    with pytest.raises(EnvError, match=rf"reward_weights has {len(weights)} weights for rewards of shape \(3,"):
        env.step(ZERO)


@pytest.mark.parametrize("ending", ["terminate", "truncate"])
def test_a_flag_for_all_ends_the_episode(odd: Any, ending: str) -> None:
    env = odd("ForAll", length=2, ending=ending)
    env.reset()
    assert not env.step(ZERO).terminated[0]
    step = env.step(ZERO)
    assert (step.terminated[0], step.truncated[0]) == (ending == "terminate", ending == "truncate")
    assert step.final.obs[0, 2].tolist() == [23] * 4 and step.observation.obs[0, 2].tolist() == [21] * 4


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("ending", ["terminate", "truncate"])
def test_without_a_last_observation_the_previous_one_remains(odd: Any, ending: str, length: int) -> None:
    env = odd("NothingAtTheEnd", length=length, ending=ending)
    env.reset()
    for _ in range(2):  # episodes
        assert [int(env.step(ZERO).final.obs[0, 0, 0]) for _ in range(length - 1)] == [2, 3][: length - 1]
        step = env.step(ZERO)
        assert (step.terminated[0], step.truncated[0]) == (ending == "terminate", ending == "truncate")
        assert step.final.obs[0, :, 0].tolist() == [length, 10 + length, 20 + length]
        assert step.final.agent_mask.all() and (step.final.state[0] == step.final.obs[0].reshape(-1)).all()
        assert step.observation.obs[0, :, 0].tolist() == [1, 11, 21]


def test_a_missing_observation_before_the_end_is_an_error(odd: Any) -> None:
    env = odd("NothingAtTheEnd", dies_at=1)
    env.reset()
    env.step(ZERO)  # without that of the dead agent
    adapter = env._backend._copies[0]._adapter
    adapter.env.observe = dict
    with pytest.raises(EnvError, match="there is no observation of ant_0"):
        env.step(ZERO)


@pytest.mark.parametrize("name", ["observation", "grid"])
def test_a_mask_beside_a_box_is_used(odd: Any, name: str) -> None:
    env = odd("MaskBesideBox", entry=name)
    assert env.info.obs_shape == 2
    observation = env.reset()
    for t in range(2):
        assert observation.obs[0].tolist() == [[t, 7]] * 3
        assert observation.avail[0].tolist() == [np.eye(3)[t % 3].tolist()] * 3
        observation = env.step(np.full((1, 3), t % 3)).observation


@pytest.mark.parametrize("n_workers", [0, 1])
def test_agents_keep_their_places_in_any_order(n_workers: int) -> None:
    with make_vec_env("odd_envs:AnyOrder", {}, 1, n_workers, 0) as env:
        assert env.info.agents == ("ant_0", "ant_1", "bee")
        env.reset()
        for t in range(1, 4):
            step = env.step(np.array([[0, 1, 2]]))
            assert step.final.obs[0, :, 0].tolist() == [t, 10 + t, 20 + t] and step.reward.tolist() == [[1, 2, 3]]
        assert env.step(ZERO).terminated[0]


def test_actions_reach_their_agents_in_any_order(odd: Any) -> None:
    env = odd("AnyOrder")
    env.reset()
    for actions in ([[0, 1, 2]], [[2, 0, 1]]):
        env.step(np.array(actions))
        received = env._backend._copies[0]._adapter.env.received
        assert received == {"ant_0": actions[0][0], "ant_1": actions[0][1], "bee": 10 + actions[0][2]}


@pytest.mark.parametrize("name", ["OldSpaces", "OldActions", "OldPair"])
def test_spaces_of_the_old_gym_are_named(odd: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=r"spaces of the old package gym \(Box\): replace `import gym`"):
        odd(name)


def test_an_environment_of_one_agent_is_refused(odd: Any) -> None:
    with pytest.raises(ConfigError, match="Tuples of one space for each agent") as error:
        odd("single_agent")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="Tuples of one space for each agent") as error:
        odd("single_agent_with_a_table")  # the text of its space has line breaks, and is long
    assert str(error.value).endswith("not a Box and a Discrete")


def test_gymnasium_dicts_by_agent_are_played(odd: Any) -> None:
    env = odd("ByNumber")
    assert env.info.interface == "Gymnasium, Dicts by agent" and env.info.episode_limit == 3
    assert env.info.agents == ("0", "1") and env.info.action_sizes == (2, 3)
    assert env.reset().obs.tolist() == [[[0, 0, 0], [10, 10, 10]]]
    assert env.step(np.array([[1, 2]])).reward.tolist() == [[1, 12]]
    assert env.step(np.array([[0, 0]])).final.agent_mask.tolist() == [[0, 1]]  # agent 0 is done
    step = env.step(np.array([[0, 1]]))
    assert step.truncated.all() and not step.terminated.any() and step.reward.tolist() == [[0, 11]]


def test_a_turn_of_a_removed_agent_is_named(odd: Any) -> None:
    env = odd("LostTurn")
    env.reset()
    with pytest.raises(EnvError, match="it is the turn of frail, which is not in agents any more"):
        for _ in range(6):
            env.step(np.array([[1, 1, 1]]))


def test_an_environment_that_fails_to_close_can_be_played(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_vec_env("odd_envs:FailsToClose", {"episode_limit": 3}, 1, 0, 0)
    env.reset()
    env.step(ZERO)
    with pytest.raises(EnvError, match=r"raised in close \(copy 0\): SystemExit"):
        env.close()


def test_the_message_of_a_package_that_names_what_is_missing_is_kept(odd: Any) -> None:
    with pytest.raises(ConfigError, match=r"not installed: OpenDrift not installed: pip install DSSE\[coverage\]$"):
        odd("says_what_is_missing")


def test_a_game_of_openspiel_is_played_by_its_key(make: Any, play: Any) -> None:
    pytest.importorskip("pyspiel")
    pytest.importorskip("shimmy")
    env = make("pettingzoo", key="open_spiel/kuhn_poker")
    assert env.info.interface == "AECEnv, one turn a step" and env.info.n_agents == 2
    log = play(env, 40)
    assert sum(row[9].any() for row in log[1:]) > 5  # games that ended
    assert not any(row[10].any() for row in log[1:])  # none was cut off: a game has two or three turns
    with pytest.raises(ConfigError, match="OpenSpiel has no game 'leduc_pocker'; did you mean 'leduc_poker'"):
        make("pettingzoo", key="open_spiel/leduc_pocker")


def test_a_missing_openspiel_is_named(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(ConfigError, match=r"open_spiel/kuhn_poker needs a package .*: pip install open-spiel"):
        make("pettingzoo", key="open_spiel/kuhn_poker")


def test_a_wrapper_that_changes_an_environment_is_not_replaced_by_arrays() -> None:
    pytest.importorskip("mpe2")
    plain = make_vec_env("pettingzoo", {"key": "mpe2.simple_spread"}, 1, 0, 0)
    wrapped = make_vec_env("pettingzoo", {"key": "odd_envs:doubled_spread"}, 1, 0, 0)
    assert plain.how == "as arrays" and wrapped.how == "in this process"
    assert wrapped.reset().obs.shape[-1] == 2 * plain.reset().obs.shape[-1]


def test_episodes_of_one_step_end_in_every_step(make: Any) -> None:
    env = make("Toy", length=1)
    first = env.reset().obs.copy()
    for _ in range(3):
        step = env.step(ZERO)
        assert step.terminated[0] and (step.observation.obs == first).all() and (step.final.obs != first).any()


def test_episodes_of_10_000_steps_are_played_to_their_end(make: Any) -> None:
    env = make("Toy", length=10_000, max_cycles=10_000)
    env.reset()
    ends = [bool(env.step(ZERO).terminated[0]) for _ in range(10_001)]
    assert ends.index(True) == 9_999 and env.info.episode_limit == 10_000


def test_wrappers_of_supersuit_are_played(monkeypatch: pytest.MonkeyPatch) -> None:
    supersuit = pytest.importorskip("supersuit")
    from mpe2 import simple_spread_v3

    def wrapped(**kwargs: Any) -> Any:
        env = supersuit.frame_stack_v1(simple_spread_v3.parallel_env(max_cycles=4), 3)
        return supersuit.pad_action_space_v0(supersuit.agent_indicator_v0(env))

    monkeypatch.setattr(odd_envs, "wrapped", wrapped, raising=False)
    with make_vec_env("odd_envs:wrapped", {}, 2, 0, 0) as env:
        assert env.info.episode_limit == 4 and env.info.obs_shape > 18 * 3
        env.reset()
        steps = [env.step(np.zeros((2, 3), np.int64)) for _ in range(4)]
        assert steps[-1].truncated.all()


@pytest.mark.parametrize("aec", [False, True])
def test_recorded_videos_change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, aec: bool) -> None:
    wrappers = pytest.importorskip("pettingzoo.utils.wrappers.record_video_parallel")
    from pettingzoo.utils.wrappers.record_video import RecordVideo

    monkeypatch.setitem(sys.modules, "moviepy", ModuleType("moviepy"))
    frames: list[Any] = []

    def filmed() -> Any:
        env = Turns() if aec else Toy()
        env.render_mode = "rgb_array"
        env.render = lambda: frames.append(1) or np.zeros((4, 4, 3), np.uint8)  # type: ignore[method-assign]
        record = RecordVideo if aec else wrappers.RecordVideoParallel
        wrapped = record(env, str(tmp_path), episode_trigger=lambda episode: True)
        wrapped.stop_recording = lambda: setattr(wrapped, "recording", False)
        return wrapped

    monkeypatch.setattr(odd_envs, "filmed", filmed, raising=False)
    with (
        make_vec_env("odd_envs:filmed", {}, 1, 0, 0) as env,
        make_vec_env("odd_envs:Turns" if aec else "odd_envs:Toy", {}, 1, 0, 0) as plain,
    ):
        assert env.info.episode_limit == plain.info.episode_limit
        observations = [each.reset() for each in (env, plain)]
        for _ in range(6):
            assert (observations[0].obs == observations[1].obs).all()
            actions = observations[0].avail.argmax(-1)
            steps = [each.step(actions) for each in (env, plain)]
            assert (steps[0].reward == steps[1].reward).all() and (steps[0].terminated == steps[1].terminated).all()
            observations = [step.observation for step in steps]
    assert frames


def test_the_weights_of_a_run_reach_its_environments() -> None:
    keys = {"env": "odd_envs:Vectors", "reward_weights": [1, 0], "seed": 1, "env_workers": 0}
    config = read(RunConfig, from_keywords(keys, "iql").values)
    for stream in (TRAIN_STREAM, TEST_STREAM):
        with make_env(config, 2, stream) as env:
            env.reset()
            assert env.step(np.zeros((2, 3), np.int64)).reward.tolist() == [[1, 1, 1]] * 2
