"""Rollouts: the contents of every key, and episodes that span several rollouts."""

import pytest
import torch
from fakes import ClockEnv, args_for
from omarl.components.episode_batch import make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.runners.rollout_runner import RolloutRunner
from test_runner import CarryCounter


def runner_of(env, steps, **changes):
    args = args_for(env.info, rollout_steps=steps, **changes)
    scheme, groups = make_scheme(env.info, args.common_reward)
    mac = CarryCounter()
    return RolloutRunner(env, mac, scheme, groups, args), mac


def test_episodes_continue_from_one_rollout_to_the_next():
    runner, _ = runner_of(ClockEnv([[2, 4], [3]]), steps=3)
    first = runner.run()
    assert first["state"][:, :, 0].tolist() == [[0, 1, 10, 11], [100, 101, 102, 110]]
    assert first["begins"][..., 0].tolist() == [[1, 0, 1, 0], [1, 0, 0, 1]]
    assert first["terminated"][:, :3, 0].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert first["reward"][0, :3].tolist() == [[0, 1], [1, 2], [0, 1]]
    assert first["actions"][:, :3, 0, 0].tolist() == [[0, 1, 0], [0, 1, 0]]
    assert first["filled"].all()
    second = runner.run()
    assert second["state"][:, :, 0].tolist() == [[11, 12, 13, 20], [110, 111, 112, 120]]
    assert second["begins"][..., 0].tolist() == [[0, 0, 0, 1], [1, 0, 0, 1]]
    assert second.carry[:, 0, 0].tolist() == [1, 0]
    assert runner.t_env == 12 and runner.episodes == 4
    assert runner.stats.lengths == [2, 3, 4, 3]


def test_final_observations_of_episodes_are_stored_in_ends():
    runner, _ = runner_of(ClockEnv([[2, 4], [3]], truncates=True), steps=3)
    ends = runner.run().ends
    assert ends.copy.tolist() == [0, 1] and ends.step.tolist() == [1, 2]
    assert ends.state[:, 0].tolist() == [2, 103]
    assert ends.carry[:, 0, 0].tolist() == [2, 3]  # the recurrent state at these observations
    assert ends.last_actions[0].argmax(-1).tolist() == [1, 1]
    runner, _ = runner_of(ClockEnv([[4]]), steps=3)
    assert runner.run().ends is None


def test_last_actions_are_zero_at_the_start_of_an_episode():
    runner, _ = runner_of(ClockEnv([[2, 4], [3]]), steps=3)
    runner.run()
    second = runner.run()
    previous = second.previous_actions()
    assert previous[0, 0].argmax(-1).tolist() == [0, 0] and previous[0, 0].sum() == 2  # from the previous rollout
    assert not previous[0, 3].any() and not previous[1, 0].any()


@pytest.mark.parametrize("share", ["all", "none"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_unrolling_a_rollout_reproduces_the_outputs_of_acting(share, layer_norm):
    """This includes the recurrent state at the start and its resets."""
    env = ClockEnv([[2, 4, 1], [3], [7, 2]])
    args = args_for(env.info, rollout_steps=5, share_parameters=share, epsilon_start=0.0, epsilon_finish=0.0,
                    layer_norm=layer_norm, obs_last_action=True)  # fmt: skip
    scheme, groups = make_scheme(env.info, False)
    torch.manual_seed(0)
    mac = BasicMAC(scheme, groups, args)
    for agent in mac.agents:
        agent.fc1.weight.data /= 100  # observations are large, and would saturate the gates
    seen, selector = [], mac.action_selector
    for name in ("select_action", "choose"):  # for tensors and for arrays
        select = getattr(selector, name)
        setattr(selector, name, lambda outputs, *a, select=select, **k: (
            seen.append(torch.as_tensor(outputs)) or select(outputs, *a, **k)))  # fmt: skip
    runner = RolloutRunner(env, mac, scheme, groups, args)
    for _ in range(3):
        seen.clear()
        rollout = runner.run()
        acted = torch.stack(seen, dim=1)  # [E, T, N, U]
        torch.testing.assert_close(mac.unroll(rollout)[:, :-1], acted, atol=1e-5, rtol=1e-5)


def test_a_failed_step_is_a_truncation_that_is_not_counted_as_an_episode():
    runner, _ = runner_of(ClockEnv([[9], [9]], fails={1: 0}), steps=4)
    rollout = runner.run()
    assert rollout["state"][:, :, 0].tolist() == [[0, 1, 10, 11, 12], [100, 101, 102, 103, 104]]
    assert rollout["truncated"][0, :4, 0].tolist() == [0, 1, 0, 0] and not rollout["terminated"].any()
    assert rollout["reward"][0, 1].tolist() == [0, 0] and rollout["begins"][0, :, 0].tolist() == [1, 0, 1, 0, 0]
    assert rollout.ends.copy.tolist() == [0] and rollout.ends.state[:, 0].tolist() == [1]
    assert (runner.dropped, runner.episodes, runner.stats.lengths) == (1, 0, [])
    assert runner.t.tolist() == [2, 4]
