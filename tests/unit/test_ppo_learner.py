"""PPO: objective, targets and losses by hand, inputs of its critics, and its saved state."""

import math

import pytest
import torch
from fakes import ClockEnv, args_for, rollouts_for
from omarl.components.action_selectors import Softmax
from omarl.components.episode_batch import make_scheme
from omarl.learners.ppo_learner import PPOLearner, clipped_objective
from omarl.modules.action_distributions import log_probabilities
from omarl.modules.critics.value_critic import ValueCritic


def made(lengths, truncates=False, steps=4, **changes):
    values = {"duelling": False, "action_selector": "softmax", "normalise_values": False,
              "normalise_advantages": False, **changes}  # fmt: skip
    return rollouts_for(PPOLearner, lengths, truncates, steps, **values)


def values_are(learner, value):
    """Replaces the critic's output by ``value(stamp)`` for every agent; ClockEnv stamps observations."""
    learner.critic.forward = lambda obs, state, condition=None: value(obs[..., 0])


def test_the_clipped_objective_equals_the_hand_computation():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    assert clipped_objective(ratio, advantage, 0.2).tolist() == pytest.approx([1.2, -1.5, 0.5, -0.8, 2.2])


def test_ratios_beyond_the_clip_have_no_gradient():
    ratio = torch.tensor([1.5, 0.5], requires_grad=True)
    clipped_objective(ratio, torch.tensor([1.0, -1.0]), 0.2).sum().backward()
    assert ratio.grad.tolist() == [0, 0]


def test_unavailable_actions_have_no_probability():
    logs = log_probabilities(torch.tensor([0.0, 0.0, 9.0]), torch.tensor([1, 1, 0]))
    assert logs[:2].exp().tolist() == pytest.approx([0.5, 0.5]) and logs[2].exp() == 0
    entropy = -(logs.exp() * logs).sum()
    assert entropy.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("truncates", [False, True])
def test_advantages_equal_the_hand_computation(truncates):
    """One copy, episodes of 3 steps, a rollout of 4; V(s) = s; rewards t + agent; lambda 0."""
    runner, learner = made([[3]], truncates, gae_lambda=0.0)
    rollout = runner.run()
    values_are(learner, lambda stamp: stamp)
    advantage, returns = learner._advantages(rollout)
    last = 3.0 if truncates else 0.0
    expected = [0 + 0.5 * 1 - 0, 1 + 0.5 * 2 - 1, 2 + 0.5 * last - 2, 0 + 0.5 * 11 - 10]
    assert advantage[0, :, 0].tolist() == expected
    assert returns[0, :, 0].tolist() == [e + v for e, v in zip(expected, (0, 1, 2, 10), strict=True)]
    rms = returns.square().mean().sqrt().item()
    assert learner.stats.values["value_target_rms"][0].item() == pytest.approx(rms)


def test_dead_agents_do_not_affect_the_loss():
    runner, learner = made([[4]], normalise_advantages=True, normalise_values=True, epochs=1, minibatches=1)
    rollout = runner.run()
    rollout["agent_mask"][:, 2:, 1] = 0
    rollout["reward"][:, 2:, 1] = 1e6
    advantage, _ = learner._advantages(rollout)
    alive = rollout["agent_mask"][:, :-1] > 0
    assert advantage[alive].mean().item() == pytest.approx(0, abs=1e-5)
    assert advantage[alive].std(unbiased=False).item() == pytest.approx(1, rel=1e-4)
    assert learner.return_stats.count.item() == 6 and learner.return_stats.mean.item() < 1e5


@pytest.mark.parametrize("gae_lambda", [0.0, 1.0])
def test_with_a_common_reward_a_dead_agent_has_a_part_in_its_teams_return(gae_lambda):
    """Agent 1 dies on step 1. V(s) = s; the common reward is 2t + 1; the episode ends at step 4."""
    runner, learner = made([[4]], gae_lambda=gae_lambda, common_reward=True)
    rollout = runner.run()
    rollout["agent_mask"][:, 2:, 1] = 0
    values_are(learner, lambda stamp: stamp)
    advantage = learner._advantages(rollout)[0][0]
    step = 3 + 0.5 * 2 - 1 if gae_lambda == 0 else 3 + 0.5 * 5 + 0.25 * 7 - 1  # the action on step 1
    assert advantage[1].tolist() == [step, step]


def test_without_a_common_reward_a_dead_agent_gets_nothing():
    runner, learner = made([[4]], gae_lambda=1.0)
    rollout = runner.run()
    rollout["agent_mask"][:, 2:, 1] = 0
    values_are(learner, lambda stamp: stamp)
    assert learner._advantages(rollout)[0][0, 1, 1].item() == 2 - 1  # the reward of its last step, minus V


def test_values_are_fitted_to_normalised_returns_and_used_in_raw_units():
    runner, learner = made([[4]], normalise_values=True, gae_lambda=0.0)
    learner.return_stats.update(torch.tensor([[5.0], [15.0]]))  # mean 10, deviation 5
    values_are(learner, lambda stamp: torch.ones_like(stamp))
    rollout = runner.run()
    mean, std = 10.0, 5.0
    advantage, returns = learner._advantages(rollout)
    value = mean + std
    expected = [t + 0.5 * value * (t < 3) - value for t in range(4)]
    assert advantage[0, :, 0].tolist() == pytest.approx(expected)
    new_mean, new_std = learner.return_stats.mean.item(), learner.return_stats.std.item()
    assert returns[0, 0, 0].item() == pytest.approx((expected[0] + value - new_mean) / new_std, rel=1e-4)


def test_an_update_raises_the_probability_of_the_rewarded_action():
    """Action 1 is rewarded, 0 is not. In one pass the probability rises within the clip."""
    runner, learner = made([[9]], steps=64, epochs=1, minibatches=1, lr=1e-2, gamma=0.0, normalise_advantages=True)
    rollout = runner.run()
    rollout["reward"][:, :-1] = rollout["actions"][:, :-1, :, 0].float()
    before = log_probabilities(learner.mac.unroll(rollout), rollout["avail_actions"])[..., 1].exp().mean()
    learner.train(rollout, 64, 1)
    after = log_probabilities(learner.mac.unroll(rollout), rollout["avail_actions"])[..., 1].exp().mean()
    assert after > before + 0.01


def test_the_ratio_is_one_before_the_first_update():
    runner, learner = made([[4], [3]], epochs=1, minibatches=1, lr=1e-9)
    learner.train(runner.run(), 10, 1)
    logged = {k: v for k, v, _ in learner.logger.rows}
    assert logged["ratio_clipped_share"] == 0 and abs(logged["approximate_kl"]) < 1e-6
    assert 0 < logged["entropy"] <= math.log(2) + 1e-6


def test_critics_observe_the_configured_inputs():
    env = ClockEnv([[4]])
    scheme, _ = make_scheme(env.info, False)
    torch.manual_seed(0)
    obs, state = torch.randn(5, 2, 3), torch.randn(5, 4)
    own = ValueCritic(scheme, args_for(env.info))
    central = ValueCritic(scheme, args_for(env.info, critic="central"))
    assert own(obs, state).shape == central(obs, state).shape == (5, 2)
    assert torch.equal(own(obs, state), own(obs, state + 1))
    assert not torch.equal(central(obs, state), central(obs, state + 1))
    same = obs[:, :1].expand(-1, 2, -1)
    assert not torch.equal(own(same, state)[:, 0], own(same, state)[:, 1])  # the values of agents differ


def test_softmax_samples_in_training_and_is_greedy_in_tests():
    selector = Softmax(args_for(ClockEnv([[4]]).info))
    torch.manual_seed(0)
    logits = torch.tensor([0.7, 0.2, 0.1]).log().expand(1, 40_000, 3)
    avail = torch.tensor([1, 1, 1]).expand(1, 40_000, 3)
    shares = torch.bincount(selector.select_action(logits, avail, 0)[0], minlength=3) / 40_000
    assert shares.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    masked = torch.tensor([0, 1, 1]).expand(1, 40_000, 3)
    shares = torch.bincount(selector.select_action(logits, masked, 0)[0], minlength=3) / 40_000
    assert shares.tolist() == pytest.approx([0, 2 / 3, 1 / 3], abs=0.01)
    assert (selector.select_action(logits, masked, 0, test_mode=True) == 1).all()


def test_state_dict_and_files_restore_the_learner(tmp_path):
    runner, learner = made([[4], [3]], normalise_values=True, minibatches=2)
    learner.train(runner.run(), 4, 1)
    learner.save_models(tmp_path)
    _, loaded = made([[4], [3]], normalise_values=True, minibatches=2)
    loaded.load_models(tmp_path)
    _, taken = made([[4], [3]], normalise_values=True, minibatches=2)
    taken.load_state_dict(learner.state_dict())
    rollout = runner.run()
    for other in (loaded, taken):
        torch.manual_seed(1)
        copy_of = {k: v.clone() for k, v in learner.state_dict()["returns"].items()}
        assert torch.equal(other.return_stats.mean, copy_of["mean"])
        other.train(rollout, 8, 1)
    torch.manual_seed(1)
    learner.train(rollout, 8, 1)
    for other in (loaded, taken):
        for a, b in zip(learner.parameters, other.parameters, strict=True):
            assert torch.equal(a, b)


def test_the_three_parts_of_the_loss_equal_the_hand_computation():
    """Values V(s) = s before any update: errors against returns, and the three parts with their signs."""
    runner, learner = made([[9]], steps=4, gae_lambda=0.0, epochs=1, minibatches=1, value_coef=0.7, entropy_coef=0.3)
    rollout = runner.run()
    values_are(learner, lambda stamp: stamp + 0 * learner.critic.out.bias)
    learner.train(rollout, 10, 1)
    logged = {k: v for k, v, _ in learner.logger.rows}
    errors = [t + agent + 0.5 * (t + 1) - t for t in range(4) for agent in range(2)]
    assert logged["value_loss"] == pytest.approx(sum(e * e for e in errors) / 8, rel=1e-5)
    assert logged["policy_loss"] == pytest.approx(-sum(errors) / 8, rel=1e-4)  # the ratio is 1
    parts = logged["policy_loss"] + 0.7 * logged["value_loss"] - 0.3 * logged["entropy"]
    assert logged["loss"] == pytest.approx(parts, rel=1e-5)


def test_a_recurrent_critic_is_reset_at_the_start_of_episodes():
    """Over two rollouts with episode boundaries, each value equals that of its episode processed step by step."""
    runner, learner = made([[3, 2, 9], [4, 4]], truncates=True, critic_use_rnn=True, gae_lambda=0.0)
    memory = learner.critic.init_hidden().expand(2, 2, -1)
    for _ in range(2):
        rollout = runner.run()
        advantage, _ = learner._advantages(rollout)
        obs, state = rollout["obs"], rollout["state"].flatten(2)
        ends = {
            (int(c), int(t)): k for k, (c, t) in enumerate(zip(rollout.ends.copy, rollout.ends.step, strict=True))
        }
        for t in range(4):
            memory = memory * (1 - rollout["begins"][:, t : t + 1].float())
            value = learner.critic(obs[:, t], state[:, t], None, memory)
            hidden = learner.critic._first_layer(obs[:, t], state[:, t], None)
            memory = learner.critic.fc2.step(hidden.flatten(0, 1), memory.flatten(0, 1)).view(2, 2, -1)
            for c in range(2):
                place = obs[c, t + 1], state[c, t + 1]
                if (c, t) in ends:
                    k = ends[c, t]
                    place = rollout.ends.obs[k], rollout.ends.state[k].flatten()
                ahead = learner.critic(*place, None, memory[c])
                expected = rollout["reward"][c, t] + 0.5 * ahead - value[c]
                assert torch.allclose(advantage[c, t], expected, atol=1e-5), (c, t)
        memory = memory.detach()


def test_minibatches_use_the_recurrent_state_of_their_copies():
    runner, learner = made([[3], [5]], critic_use_rnn=True)
    runner.run()
    learner.memory = torch.randn(2, 2, 64)
    rollout = runner.run()
    learner._advantages(rollout)
    all_values, _ = learner._values(rollout)
    part, _ = learner._values(rollout.copies(torch.tensor([1])))
    assert torch.allclose(part[0], all_values[1], atol=1e-6)


def policy_gradient(log_ratio, advantage):
    """The gradient of the agents' networks if the policy before the updates differs by ``log_ratio``."""
    runner, learner = made([[4], [3]], entropy_coef=0.0, grad_norm_clip=1e9)
    rollout = runner.run()
    _, returns, now = learner.targets(rollout)
    learner.update(rollout, torch.full_like(returns, advantage), returns, now - log_ratio)
    size = sum(p.grad.abs().sum() for p in learner.mac.parameters() if p.grad is not None)
    return float(size), {k: v[-1].item() for k, v in learner.stats.values.items()}


def test_an_update_compares_the_policy_with_that_before_the_updates():
    """Beyond the clip the policy has no gradient in the direction of the advantage; else it grows with the ratio."""
    size, logged = policy_gradient(0.0, 1.0)
    assert size > 1e-3 and logged["policy_loss"] == pytest.approx(-1.0, rel=1e-4)
    clipped, logged = policy_gradient(0.5, 1.0)
    assert clipped < 1e-6 * size and logged["policy_loss"] == pytest.approx(-1.2, rel=1e-4)
    assert logged["ratio_clipped_share"] == 1.0
    assert logged["approximate_kl"] == pytest.approx(math.exp(0.5) - 1.5, rel=1e-3)
    assert policy_gradient(0.1, 1.0)[0] == pytest.approx(math.exp(0.1) * size, rel=1e-3)
    assert policy_gradient(0.5, -1.0)[0] == pytest.approx(math.exp(0.5) * size, rel=1e-3)
    assert policy_gradient(-0.5, -1.0)[0] < 1e-6 * size


@pytest.mark.parametrize("truncates", [False, True])
def test_advantages_with_lambda_one_end_with_the_episode(truncates):
    """Two episodes of 2 steps in a rollout of 4: the rewards of the second never reach the first."""
    runner, learner = made([[2]], truncates, gae_lambda=1.0)
    rollout = runner.run()
    values_are(learner, lambda stamp: stamp)
    advantage, _ = learner._advantages(rollout)
    first, second = (2.0, 12.0) if truncates else (0.0, 0.0)  # the values of the last observations
    expected = [
        0 + 0.5 * (1 + 0.5 * first) - 0, 1 + 0.5 * first - 1, 0 + 0.5 * (1 + 0.5 * second) - 10, 1 + 0.5 * second - 11
    ]  # fmt: skip
    assert advantage[0, :, 0].tolist() == expected


def test_steps_of_dead_agents_are_left_out_of_every_part_of_the_loss():
    """Agent 1 is dead from step 2 on: its advantages and returns there have no effect."""
    losses = []
    for value in (0.0, 1e6):
        runner, learner = made([[9]])
        rollout = runner.run()
        rollout["agent_mask"][:, 2:, 1] = 0
        advantage, returns, old = (target.clone() for target in learner.targets(rollout))
        advantage[:, 2:, 1], returns[:, 2:, 1] = value, value
        learner.update(rollout, advantage, returns, old)
        losses.append({name: float(values[-1]) for name, values in learner.stats.values.items()})
    assert losses[0] == losses[1] and losses[0]["policy_loss"] != 0.0
    real = [advantage[0, t, agent] for t in range(4) for agent in range(2) if agent == 0 or t < 2]
    assert losses[0]["policy_loss"] == pytest.approx(-float(sum(real)) / 6, rel=1e-4)
