import numpy as np
import pytest
import torch
from fakes import ClockEnv, RecordingLogger, args_for
from omarl.components.episode_batch import make_scheme
from omarl.components.masks import transition_mask
from omarl.runners.episode_runner import EpisodeRunner
from omarl.types import ConfigError


class CarryCounter:
    """A controller whose carry counts the steps of the episode and whose action is the parity of this count."""

    def __init__(self):
        self.last_seen = []

    def initial_carry(self, n):
        return torch.zeros(n, 2, 1)

    def act(self, observation, last_actions, carry, t_env, test_mode):
        self.last_seen.append((carry[:, 0, 0].clone(), last_actions.clone()))
        return (carry[..., 0].long() % 2), carry + 1


def runner_of(env, **changes):
    args = args_for(env.info, **changes)
    scheme, groups = make_scheme(env.info, args.common_reward)
    mac = CarryCounter()
    return EpisodeRunner(env, mac, scheme, groups, args, test_mode=changes.get("test_mode", False)), mac


def test_the_runner_returns_complete_episodes_with_correct_steps():
    runner, _ = runner_of(ClockEnv([[2, 4], [3]]))
    first = runner.run()
    assert first.batch_size == 1 and first.max_seq_length == 3
    assert first["state"][0, :, 0].tolist() == [0, 1, 2]  # the final observation included
    assert first["reward"][0].tolist() == [[0, 1], [1, 2], [0, 0]]
    assert first["actions"][0, :, 0, 0].tolist() == [0, 1, 0]
    assert first["terminated"].flatten().tolist() == [0, 1, 0]
    second = runner.run()
    assert second["state"][0, :, 0].tolist() == [100, 101, 102, 103]
    third = runner.run()  # copy 0's second episode: 4 steps, and copy 1's of 3 ended at the same time
    assert third["state"][:, :, 0].tolist() == [[10, 11, 12, 13, 14], [110, 111, 112, 113, 0]]
    assert transition_mask(third).tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert runner.t_env == 12 and runner.episodes == 4


def test_truncation_and_termination_are_stored_separately():
    runner, _ = runner_of(ClockEnv([[3]], truncates=True))
    batch = runner.run()
    assert batch["terminated"].sum() == 0
    assert batch["truncated"].flatten().tolist() == [0, 0, 1, 0]


def test_a_short_episode_contains_no_data_of_a_longer_one_before():
    runner, _ = runner_of(ClockEnv([[5, 1], [4, 2]]))
    runner.run()
    runner.run()
    both = runner.run()  # episodes of one and two steps that end together, after episodes of five and four
    assert both["filled"][:, :, 0].tolist() == [[1, 1, 0], [1, 1, 1]]
    for name in ("obs", "state", "reward", "actions", "terminated", "avail_actions"):
        assert both[name][0, 2].abs().sum() == 0, name


def test_recurrent_state_and_last_action_are_reset_at_each_copys_new_episode():
    runner, mac = runner_of(ClockEnv([[2], [3]]))
    for _ in range(4):
        runner.run()
    counts = np.array([carry.tolist() for carry, _ in mac.last_seen])
    assert counts[:6, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert counts[:6, 1].tolist() == [0, 1, 2, 0, 1, 2]
    assert mac.last_seen[2][1][0].sum() == 0 and mac.last_seen[2][1][1].sum() == 2


def test_returns_are_recorded_for_each_agent_and_summed_in_a_common_reward():
    runner, _ = runner_of(ClockEnv([[3]]), common_reward=True)
    batch = runner.run()
    assert batch["reward"][0, :, 0].tolist() == [1, 3, 5, 0]  # the sum over agents
    assert runner.stats.returns[0].tolist() == [3, 6]


def test_collect_takes_the_same_number_of_episodes_from_every_copy():
    """Taking the first finished episodes would count the copy with short episodes three times as often."""
    runner, _ = runner_of(ClockEnv([[1], [5]]), test_mode=True)
    batches = runner.collect(4)
    lengths = [int(n) for b in batches for n in transition_mask(b).sum(dim=1)]
    assert sorted(lengths) == [1, 1, 5, 5]
    assert sorted(runner.stats.lengths) == [1, 1, 5, 5]
    assert runner.t_env == 0


def test_a_second_collect_starts_new_episodes():
    runner, _ = runner_of(ClockEnv([[2], [3]]), test_mode=True)
    runner.collect(2)
    states = [b["state"][i, 0, 0].item() % 10 for b in runner.collect(2) for i in range(b.batch_size)]
    assert states == [0, 0]


@pytest.mark.parametrize("share", ["sum", "mean"])
def test_reward_scalarisation_is_sum_or_mean(share):
    runner, _ = runner_of(ClockEnv([[2]]), common_reward=True, reward_scalarisation=share)
    assert runner.run()["reward"][0, 1, 0].item() == (3 if share == "sum" else 1.5)


def test_the_episode_of_a_copy_that_fails_is_dropped():
    runner, mac = runner_of(ClockEnv([[5, 3], [4]], fails={2: 0}))
    runner.run()  # copy 1's first episode; copy 0 failed in its third step and has begun its second episode
    assert (runner.episodes, runner.dropped, runner.stats.lengths) == (1, 1, [4])
    batch = runner.run()
    assert batch["state"][0, :, 0].tolist() == [10, 11, 12, 13]
    assert batch["reward"][0].tolist() == [[0, 1], [1, 2], [2, 3], [0, 0]]
    assert not mac.last_seen[3][0][0] and not mac.last_seen[3][1][0].any()  # recurrent state and last action
    assert runner.t_env == 12 and not batch["truncated"].any()


def test_a_test_without_its_failed_episodes_is_complete():
    runner, _ = runner_of(ClockEnv([[3], [2]], fails={1: 0}), test_mode=True)
    batches = runner.collect(4)
    assert sum(batch.batch_size for batch in batches) == 4
    assert sorted(runner.stats.lengths) == [2, 2, 3, 3] and runner.dropped == 1


class ShapedEnv(ClockEnv):
    """Wins every second episode, with a shaped reward of 10 for each agent."""

    def step(self, actions):
        step = super().step(actions)
        won = step.terminated & (self.episode % 2 == 1)  # ``episode`` is that of the next one
        return step._replace(won=won, shaped_reward=np.full_like(step.reward, 10.0))


def test_the_win_rate_counts_the_episodes_that_were_won():
    runner, _ = runner_of(ShapedEnv([[2], [2]]))
    for _ in range(3):
        runner.run()
    assert runner.stats.wins == [True, True, False, False, True, True]
    saved = runner.stats.state_dict()
    runner.stats.load_state_dict(saved)
    logger = RecordingLogger()
    runner.stats.log(logger, runner.env.info.agents, 0, prefix="test_")
    assert logger.series("test_win_rate") == [(0, pytest.approx(4 / 6))] and not runner.stats.wins
    runner.collect(2)
    assert len(runner.stats.wins) == len(runner.stats.lengths) == 2


def test_shaped_rewards_fall_to_zero_and_are_no_part_of_returns():
    runner, _ = runner_of(ShapedEnv([[4]]), shaped_reward_steps=2)
    assert runner.run()["reward"][0, :4].tolist() == [[5, 6], [1, 2], [2, 3], [3, 4]]
    assert runner.stats.returns[0].tolist() == [6, 10]


def test_tests_have_no_shaped_reward():
    runner, _ = runner_of(ShapedEnv([[2]]), shaped_reward_steps=100, test_mode=True)
    assert runner.run()["reward"][0, :2].tolist() == [[0, 1], [1, 2]]


def test_an_environment_without_shaped_reward_refuses_the_key():
    runner, _ = runner_of(ClockEnv([[2]]), shaped_reward_steps=100)
    with pytest.raises(ConfigError, match=r"shaped_reward_steps: .* has no shaped reward"):
        runner.run()


@pytest.mark.parametrize("common", [False, True])
def test_rewards_after_an_agents_death_are_reported_once_unless_they_are_common(common, caplog):
    env = ClockEnv([[4]])
    runner, _ = runner_of(env, common_reward=common)
    observe = env._observe

    def without_agent_1():
        observation = observe()
        observation.agent_mask[:, 1] = env.t < 2
        return observation

    env._observe = without_agent_1
    runner.run()
    runner.run()
    said = [line for line in caplog.messages if "set common_reward=True" in line]
    assert len(said) == (0 if common else 1)
