"""Adapters: padding, masks, deaths, turns, endings and errors, on toys with known numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omarl.types import ConfigError, EnvError

ZERO = np.zeros((1, 3), np.int64)


def test_unequal_agents_are_padded_and_padded_actions_are_masked(make: Any) -> None:
    env = make("Toy")
    info = env.info
    assert info.agents == ("ant_0", "ant_1", "bee") and info.agent_types == ("ant", "ant", "bee")
    assert (info.obs_sizes, info.action_sizes) == ((2, 2, 4), (3, 3, 5))
    assert (info.obs_shape, info.n_actions, info.state_shape, info.episode_limit) == (4, 5, 12, 10)
    first = env.reset()
    assert first.obs.dtype == first.state.dtype == np.float32
    assert first.obs[0].tolist() == [[1, 1, 0, 0], [11, 11, 0, 0], [21] * 4]
    assert first.avail[0].tolist() == [[1, 1, 1, 0, 0]] * 2 + [[1] * 5]
    assert first.agent_mask.tolist() == [[1, 1, 1]]
    assert first.state[0].tolist() == first.obs[0].reshape(-1).tolist()


def test_actions_are_converted_to_the_numbers_of_the_space(make: Any) -> None:
    env = make("Toy")
    env.reset()
    env.step(np.array([[1, 2, 4]]))
    assert env._backend._copies[0]._adapter.env.received == {"ant_0": 1, "ant_1": 2, "bee": 14}


@pytest.mark.parametrize("name", ["Stateful", "BrokenState"])
def test_the_state_is_that_of_the_environment_or_else_all_observations(make: Any, name: str) -> None:
    observation = make(name).reset()
    expected = [51] * 12 if name == "Stateful" else observation.obs.reshape(-1)  # bytes stay bytes
    assert np.allclose(observation.state[0], expected)


def test_a_state_that_ends_with_the_episode_stays_that_of_the_step_before(make: Any) -> None:
    env = make("StateUntilTheEnd")
    env.reset()
    states = [float(env.step(ZERO).final.state[0, 0]) for _ in range(6)]
    assert states == [1, 2, 2, 1, 2, 2]


def test_a_dying_agent_gets_its_last_reward_and_then_observes_zeros(make: Any) -> None:
    env = make("Toy", length=4, dies_at=2)
    env.reset()
    env.step(ZERO)
    step = env.step(ZERO)
    assert step.reward.tolist() == [[2.5, 5, 2.5]]
    assert step.final is not None and step.observation.obs is step.final.obs
    assert step.final.agent_mask.tolist() == [[1, 0, 1]]
    assert not step.final.obs[0, 1].any() and step.final.avail[0, 1].tolist() == [1, 0, 0, 0, 0]
    step = env.step(np.array([[0, 4, 0]]))  # the dead agent's action is ignored; the toy would refuse it
    assert step.reward.tolist() == [[3.5, 0, 3.5]]
    step = env.step(ZERO)
    assert step.terminated.tolist() == [True] and step.reward.tolist() == [[4.5, 0, 4.5]]
    assert step.final.agent_mask.tolist() == [[1, 0, 1]]
    assert step.observation.agent_mask.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("ending", ["terminate", "truncate", "mixed"])
def test_termination_truncation_and_the_last_observation(make: Any, ending: str) -> None:
    env = make("Toy", n_envs=2, length=3, ending=ending)
    env.reset()
    for _ in range(2):
        step = env.step(ZERO.repeat(2, 0))
        assert step.observation is step.final
        assert not step.terminated.any() and not step.truncated.any()
    step = env.step(ZERO.repeat(2, 0))
    cut_off = ending != "terminate"
    assert step.terminated.tolist() == [not cut_off] * 2 and step.truncated.tolist() == [cut_off] * 2
    assert step.reward.tolist() == [[3.5] * 3] * 2
    # An agent that terminated has no future value in a truncated episode.
    assert step.final.agent_mask[0].tolist() == ([0, 0, 1] if ending == "mixed" else [1, 1, 1])
    assert step.final.obs[0, 2].tolist() == [24] * 4
    assert step.observation.obs[0].tolist() == [[1, 1, 0, 0], [11, 11, 0, 0], [21] * 4]
    step = env.step(ZERO.repeat(2, 0))
    assert step.final.obs[0, 2].tolist() == [22] * 4


def test_copies_in_the_middle_of_an_episode_keep_their_observation_when_another_is_reset(make: Any) -> None:
    env = make("Gambler", n_envs=5)
    env.reset()
    partial_ends = 0
    for _ in range(12):
        step = env.step(np.zeros((5, 3), np.int64))
        ended = step.terminated | step.truncated
        for final, now in zip(step.final, step.observation, strict=True):
            assert (final[~ended] == now[~ended]).all()
        if ended.any():
            assert (step.final.obs[ended] != step.observation.obs[ended]).any()
            partial_ends += not ended.all()
    assert partial_ends


def test_episode_limit_truncates(make: Any) -> None:
    env = make("Endless", episode_limit=4)
    env.reset()
    ends = [bool(env.step(ZERO).truncated[0]) for _ in range(8)]
    assert ends == [False, False, False, True] * 2 and env.info.episode_limit == 4


def test_a_termination_at_the_limit_is_no_truncation(make: Any) -> None:
    env = make("Toy", length=3, episode_limit=3)
    env.reset()
    step = [env.step(ZERO) for _ in range(3)][-1]
    assert step.terminated[0] and not step.truncated[0]


def test_the_episode_limit_is_the_smaller_of_two_limits(make: Any) -> None:
    assert make("Toy", max_cycles=7, episode_limit=9).info.episode_limit == 7


@pytest.mark.parametrize("name", ["MaskedInObs", "MaskedInInfo"])
def test_action_masks_become_avail_and_not_observation(make: Any, name: str) -> None:
    env = make(name)
    assert env.info.obs_shape == 20
    observation = env.reset()
    for t in range(2):
        assert observation.avail[0].tolist() == [np.eye(3)[t % 3].tolist()] * 3
        assert observation.obs[0, 0].tolist() == np.eye(20)[t].tolist()
        observation = env.step(np.full((1, 3), t % 3)).observation
    with pytest.raises(EnvError, match=r"copy 0\): action 1 is not available to ant_0"):
        env.step(np.ones((1, 3), np.int64))


@pytest.mark.parametrize(("agent", "action"), [(1, -1), (1, 3), (1, 99), (2, -1), (2, 5)])
def test_actions_out_of_range_are_refused(make: Any, agent: int, action: int) -> None:
    env = make("Toy")
    env.reset()
    with pytest.raises(EnvError, match=rf"action {action} is not available to {env.info.agents[agent]}"):
        env.step(np.where(np.arange(3) == agent, action, 0)[None])


def test_an_agent_without_any_action_is_an_error_that_names_it(make: Any) -> None:
    env = make("NothingAvailable", length=9)
    env.reset()
    with pytest.raises(EnvError, match=r"\(copy 0\): no action is available to ant_0"):
        env.step(ZERO)


def test_turn_based_games_mask_waiting_agents_and_add_up_rewards(make: Any) -> None:
    """frail plays 1, then 1 again, and dies on its second turn; tough_0 and tough_1 continue to the end."""
    env = make("Turns")
    assert env.info.episode_limit == 4 * 3  # the environment's limit counts rounds
    observation = env.reset()
    assert observation.avail[0].tolist() == [[0, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert observation.agent_mask.tolist() == [[1, 1, 1]]
    # Actions of waiting agents are ignored.
    step = env.step(np.array([[1, 3, 99]]))
    assert step.reward.tolist() == [[1, -0.25, -0.25]]
    assert step.final.obs[0].tolist() == [[1, 1], [0, 1], [0, 1]]
    assert step.final.avail[0].tolist() == [[1, 0, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]]
    env.step(np.array([[0, 2, 0]]))
    env.step(np.array([[0, 0, 3]]))
    step = env.step(np.array([[1, 0, 0]]))
    assert step.reward.tolist() == [[1, -0.25, -0.25]]  # including the reward of the dying agent
    assert step.final.agent_mask.tolist() == [[0, 1, 1]] and not step.final.obs[0, 0].any()
    assert step.final.avail[0].tolist() == [[1, 0, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]]
    for actor in (1, 2, 1):
        step = env.step(np.where(np.arange(3) == actor, 2, 0)[None])
        assert step.reward[0, 0] == 0 and step.reward[0, actor] == 2
    step = env.step(np.array([[0, 0, 1]]))
    assert step.terminated[0] and not step.truncated[0]
    assert step.reward.tolist() == [[0, -0.25, 1]]
    assert step.final.obs[0].tolist() == [[0, 0], [6, 8], [6, 8]]
    assert step.observation.avail[0].tolist() == [[0, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]]


def test_a_truncated_turn_based_game_has_the_mask_of_the_next_turn(make: Any) -> None:
    env = make("Turns", rounds=1, ending="truncate")
    env.reset()
    env.step(np.array([[1, 0, 0]]))
    step = env.step(np.array([[0, 1, 0]]))
    assert step.truncated[0] and not step.terminated[0]
    assert step.final.agent_mask.tolist() == [[1, 1, 1]]
    assert step.final.avail[0].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]]


@pytest.mark.parametrize("ending", ["terminate", "truncate"])
def test_gymnasium_tuples_become_one_entry_per_agent(make: Any, ending: str) -> None:
    env = make("Pair", ending=ending, episode_limit=9)
    observation = env.reset()
    assert env.info.agents == ("agent_0", "agent_1") and env.info.agent_types == ("agent_0", "agent_1")
    assert observation.obs[0].tolist() == [[1, 0, 0, 1, 0]] * 2
    assert observation.avail[0].tolist() == [[1, 1, 0, 0], [0, 1, 0, 1]]
    env.step(np.array([[1, 3]]))
    step = env.step(np.array([[0, 1]]))
    assert step.reward.tolist() == [[2.5, 2.5]]
    assert (step.terminated[0], step.truncated[0]) == (ending == "terminate", ending == "truncate")
    assert step.final.obs[0, 0].tolist() == [0, 0, 1, 1, 0]


@pytest.mark.parametrize("limit", [0, -3, 2.5, True, "many"])
def test_limits_other_than_positive_integers_are_refused(make: Any, limit: Any) -> None:
    with pytest.raises(ConfigError, match=r"env_args\.episode_limit"):
        make("Toy", episode_limit=limit)


def test_unknown_and_missing_arguments_are_named(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"env_args\.lenght is unknown .*dies_at.*length"):
        make("Toy", lenght=3)
    with pytest.raises(ConfigError, match=r"missing.*'what'"):
        make("NotANumber")


def test_objects_other_than_environments_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError, match="object is neither"):
        make("not_an_environment")


def test_an_environment_without_spaces_is_refused_with_the_cause(make: Any) -> None:
    with pytest.raises(
        EnvError, match=r"agents and spaces of environment .*Spaceless cannot be read: KeyError: 'ant_0'"
    ):
        make("Spaceless")


def test_a_vectorised_environment_is_constructed_directly(make: Any) -> None:
    env = make("Arrays", n_envs=4, n_workers=2, seed=3, size=7)
    assert (env.n_envs, env.seed, env.size) == (4, 3, 7)


@pytest.mark.parametrize(("n_envs", "n_workers", "seed"), [(0, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_negative_counts_and_seeds_and_zero_copies_are_refused(
    make: Any, n_envs: int, n_workers: int, seed: int
) -> None:
    with pytest.raises(ConfigError, match="less than"):
        make("Toy", n_envs=n_envs, n_workers=n_workers, seed=seed)


def test_calls_before_reset_or_after_close_and_wrong_shapes_are_errors(make: Any) -> None:
    env = make("Toy")
    with pytest.raises(EnvError, match="before reset"):
        env.step(ZERO)
    env.reset()
    with pytest.raises(EnvError, match=r"\(1, 2\).*\(1, 3\)"):
        env.step(ZERO[:, :2])
    env.close()
    env.close()
    with pytest.raises(EnvError, match="closed"):
        env.reset()
