"""PQN: its targets by hand, who learns from what, and what is refused."""

import pytest
import torch
from fakes import rollouts_for
from omarl.learners.pqn_learner import PQNLearner


def made(lengths, truncates=False, steps=4, **changes):
    return rollouts_for(PQNLearner, lengths, truncates, steps, **changes)


def values_are(learner, value):
    """Every action of every agent is worth ``value(state)``: state is what ClockEnv stamps on observations."""
    learner.mac.inputs = lambda obs, last: obs
    learner.mac._step = lambda obs, carry: (value(obs[..., :1]).expand(-1, -1, 2), carry)
    learner.mac.unroll = lambda batch: value(batch["obs"][..., :1]).expand(-1, -1, -1, 2)


@pytest.mark.parametrize("truncates", [False, True])
def test_targets_by_hand(truncates):
    """One copy, episodes of 3 steps, a rollout of 4; V(s) = s; rewards t + agent."""
    runner, learner = made([[3]], truncates, td_lambda=0.0)
    rollout = runner.run()
    values_are(learner, lambda stamp: stamp)
    target = learner.targets(rollout)[0][0]
    last = 3.0 if truncates else 0.0  # the final observation's stamp, or nothing
    assert target[:, 0].tolist() == [0 + 0.5 * 1, 1 + 0.5 * 2, 2 + 0.5 * last, 0 + 0.5 * 11]
    assert target[:, 1].tolist() == [1 + 0.5 * 1, 2 + 0.5 * 2, 3 + 0.5 * last, 1 + 0.5 * 11]


def test_vdn_sums_values_and_rewards():
    runner, learner = made([[3]], True, td_lambda=0.0, mixer="vdn")
    rollout = runner.run()
    values_are(learner, lambda stamp: stamp)
    target = learner.targets(rollout)[0][0]
    assert target.shape == (4, 1)
    assert target[:, 0].tolist() == [1 + 0.5 * 2, 3 + 0.5 * 4, 5 + 0.5 * 6, 1 + 0.5 * 22]


def test_a_shared_reward_is_not_counted_once_an_agent():
    runner, learner = made([[3]], True, td_lambda=0.0, mixer="vdn", common_reward=True)
    rollout = runner.run()
    values_are(learner, torch.zeros_like)
    assert learner.targets(rollout)[0][0, :, 0].tolist() == [1, 3, 5, 1]


def test_the_dead_are_worth_nothing_and_teach_nothing():
    runner, learner = made([[4]], td_lambda=0.0)
    rollout = runner.run()
    rollout["agent_mask"][:, 2:, 1] = 0
    values_are(learner, lambda stamp: stamp)
    assert learner.targets(rollout)[0][0, 1].tolist() == [1 + 0.5 * 2, 2 + 0.0]  # agent 1 is gone at step 2
    runner, learner = made([[4]], epochs=1, minibatches=1)
    rollout = runner.run()
    rollout["agent_mask"][:, 2:, 1] = 0
    rollout["reward"][:, 2:, 1] = 1e6
    learner.train(rollout, 10, 1)
    (_, loss, _) = next(row for row in learner.logger.rows if row[0] == "loss")
    assert loss < 1e3


def test_a_common_reward_goes_on_after_an_agents_death():
    """Agent 1 is gone at step 2. V(s) = s; the common reward is 2t + 1; the episode ends at step 4."""
    runner, learner = made([[4]], td_lambda=0.0, common_reward=True)
    rollout = runner.run()
    rollout["agent_mask"][:, 2:, 1] = 0
    values_are(learner, lambda stamp: stamp)
    target = learner.targets(rollout)[0][0]
    assert target[:, 1].tolist() == target[:, 0].tolist() == [1 + 0.5 * 1, 3 + 0.5 * 2, 5 + 0.5 * 3, 7]


def test_unavailable_actions_are_no_targets():
    runner, learner = made([[9]], td_lambda=0.0)
    rollout = runner.run()
    learner.mac.unroll = lambda batch: torch.tensor([5.0, 7.0]).expand(1, 5, 2, 2)
    rollout["avail_actions"][..., 1] = 0
    assert learner.targets(rollout)[0][0, 0, 0].item() == 2.5


def test_the_learning_rate_falls_in_a_line():
    runner, learner = made([[4]], epochs=1, minibatches=1)
    learner.config = learner.config.__class__(**{**vars(learner.config), "lr_anneal": True, "t_max": 100, "lr": 0.5})
    learner.train(runner.run(), 25, 1)
    assert learner.optimiser.param_groups[0]["lr"] == pytest.approx(0.375)


def test_state_goes_round(tmp_path):
    runner, learner = made([[4]])
    learner.train(runner.run(), 4, 1)
    learner.save_models(tmp_path)
    _, other = made([[4]])
    other.load_models(tmp_path)
    other.load_state_dict(learner.state_dict())
    for a, b in zip(learner.mac.parameters(), other.mac.parameters(), strict=True):
        assert torch.equal(a, b)
    torch.manual_seed(1)
    learner.train(rollout := runner.run(), 8, 1)
    torch.manual_seed(1)
    other.train(rollout, 8, 1)
    for a, b in zip(learner.mac.parameters(), other.mac.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("truncates", [False, True])
def test_returns_with_lambda_one_end_with_the_episode(truncates):
    """Two episodes of 2 steps in a rollout of 4: the rewards of the second never reach the first."""
    runner, learner = made([[2]], truncates, td_lambda=1.0)
    rollout = runner.run()
    values_are(learner, lambda stamp: stamp)
    first, second = (2.0, 12.0) if truncates else (0.0, 0.0)  # the values of the last observations
    expected = [0 + 0.5 * (1 + 0.5 * first), 1 + 0.5 * first, 0 + 0.5 * (1 + 0.5 * second), 1 + 0.5 * second]
    assert learner.targets(rollout)[0][0, :, 0].tolist() == expected
