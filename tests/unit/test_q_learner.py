import copy

import pytest
import torch
from fakes import RecordingLogger, args_for, env_info, random_batch
from omarl.components.unroll import unroll
from omarl.controllers.basic_controller import BasicMAC
from omarl.controllers.sharing import sharing_groups
from omarl.learners.q_learner import QLearner
from omarl.modules.td_error import taken_and_next, td_targets
from omarl.types import ConfigError

INFO = env_info()


def learner_of(info=INFO, seed=0, **changes):
    torch.manual_seed(seed)
    args = args_for(info, **changes)
    batch = random_batch(info, [3])
    mac = BasicMAC(batch.scheme, batch.groups, args)
    return QLearner(mac, batch.scheme, RecordingLogger(), args)


def loss_of(learner, batch):
    """The loss of one update, computed by a copy of the learner."""
    twin = learner_of(seed=0)
    twin.load_state_dict(learner.state_dict())
    twin.train(batch, 10, 0)
    return twin.logger.series("loss")[0][1]


def test_td_targets_match_hand_computed_values():
    def one(value):
        return torch.tensor([[[value]]])

    assert td_targets(one(1.0), one(10.0), one(0.0), one(1.0), 0.5).item() == 6.0
    assert td_targets(one(1.0), one(10.0), one(1.0), one(1.0), 0.5).item() == 1.0  # terminated
    assert td_targets(one(1.0), one(10.0), one(0.0), one(0.0), 0.5).item() == 1.0  # the agent died


def test_the_loss_is_the_squared_double_q_error():
    learner = learner_of(gamma=0.9)
    with torch.no_grad():
        for p in learner.target_mac.parameters():
            p.mul_(0.5)  # the two networks must differ
    batch = random_batch(INFO, [2, 4])
    batch["avail_actions"][:, :, 1, 0] = 0
    q, target_q = unroll(learner.mac, batch), unroll(learner.target_mac, batch)
    errors = []
    for b, length in ((0, 2), (1, 4)):
        for t in range(length):
            for n in range(2):
                options = [u for u in range(2) if batch["avail_actions"][b, t + 1, n, u]]
                best = max(options, key=lambda u: q[b, t + 1, n, u].item())
                value = 0.0 if t == length - 1 else target_q[b, t + 1, n, best].item()
                target = batch["reward"][b, t, n].item() + 0.9 * value
                errors.append((q[b, t, n, batch["actions"][b, t, n, 0]].item() - target) ** 2)
    learner.train(batch, 10, 0)
    assert learner.logger.series("loss")[0][1] == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_padding_does_not_change_the_loss():
    learner = learner_of()
    batch = random_batch(INFO, [2, 4])
    dirty = copy.deepcopy(batch)
    for name in ("obs", "state", "reward"):
        dirty.data[name][0, 3:] = 1e3
    dirty.data["reward"][0, 2:] = 1e3  # the reward at the final observation is padding too
    assert loss_of(learner, dirty) == pytest.approx(loss_of(learner, batch), rel=1e-6)


def test_only_truncated_episodes_bootstrap():
    learner = learner_of()
    batch = random_batch(INFO, [3])
    truncated = copy.deepcopy(batch)
    truncated.data["truncated"], truncated.data["terminated"] = batch["terminated"], batch["truncated"]
    assert loss_of(learner, truncated) != pytest.approx(loss_of(learner, batch), rel=1e-3)
    # the final observation matters only for the truncated episode
    for original, matters in ((batch, False), (truncated, True)):
        other = copy.deepcopy(original)
        other.data["obs"][0, 3] += 1.0
        same = loss_of(learner, other) == pytest.approx(loss_of(learner, original), rel=1e-6)
        assert same is not matters


def test_dead_agents_do_not_contribute_to_loss_or_targets():
    learner = learner_of()
    batch = random_batch(INFO, [4])
    batch.data["agent_mask"][0, 2:, 1] = 0  # agent 1 dies on step 1
    dirty = copy.deepcopy(batch)
    dirty.data["reward"][0, 2:, 1] = 1e3
    dirty.data["obs"][0, 2:, 1] = 1e3
    assert loss_of(learner, dirty) == pytest.approx(loss_of(learner, batch), rel=1e-6)
    dirty.data["reward"][0, 1, 1] += 1e3  # the reward of its last step counts
    assert loss_of(learner, dirty) > 10 * loss_of(learner, batch)


def test_with_a_common_reward_a_dead_agent_has_a_part_in_its_teams_return():
    """Agent 1 dies on step 1, whose target is r + gamma * max Q of agent 0, which lives."""
    batch = random_batch(INFO, [3], common_reward=True)
    batch["agent_mask"][0, 2:, 1] = 0
    learner = learner_of()
    gamma = learner.config.gamma
    q = unroll(learner.mac, batch)[0]
    taken = q.gather(2, batch["actions"][0])[..., 0]  # [T+1, N]
    best, reward = q.amax(dim=2), batch["reward"][0, :, 0]
    ahead = gamma * best[1:]
    ahead[1, 1] = gamma * best[2, 0]
    ahead[2] = 0
    errors = (taken[:3] - reward[:3, None] - ahead).square()
    expected = (errors.sum() - errors[2, 1]) / 5  # the dead agent's step does not count
    assert loss_of(learner, batch) == pytest.approx(expected.item(), rel=1e-5)


def test_targets_never_use_unavailable_actions():
    learner = learner_of()
    batch = random_batch(INFO, [3])
    batch["avail_actions"][..., 1] = 0
    q = unroll(learner.mac, batch)
    target_q = unroll(learner.target_mac, batch)
    values = taken_and_next(q, target_q, batch["actions"], batch["avail_actions"], True)[1]
    torch.testing.assert_close(values, target_q[:, 1:, :, 0])


def test_unroll_equals_pymarls_loop_over_steps():
    batch = random_batch(INFO, [5, 2])
    for share in ("all", "type", "none"):
        for use_rnn in (True, False):
            mac = learner_of(share_parameters=share, use_rnn=use_rnn).mac
            fused = mac.unroll(batch)
            mac.init_hidden(batch.batch_size)
            looped = torch.stack([mac.forward(batch, t) for t in range(batch.max_seq_length)], dim=1)
            torch.testing.assert_close(fused, looped)


def test_sharing_groups_follow_the_key():
    kinds = ["hunter", "prey", "hunter"]
    assert sharing_groups("all", kinds) == [[0, 1, 2]]
    assert sharing_groups("type", kinds) == [[0, 2], [1]]
    assert sharing_groups("none", kinds) == [[0], [1], [2]]


def test_agents_in_any_order_use_the_network_of_their_type():
    info = env_info(
        agents=("h_0", "p_0", "h_1"), agent_types=("h", "p", "h"), obs_sizes=(3,) * 3, action_sizes=(2,) * 3
    )
    batch = random_batch(info, [3])
    learner = learner_of(info, share_parameters="type", obs_agent_id=False, obs_last_action=False)
    batch.data["obs"][:] = batch.data["obs"][:, :, :1]  # equal observations for all agents
    q = learner.mac.unroll(batch)
    torch.testing.assert_close(q[:, :, 0], q[:, :, 2])
    assert not torch.allclose(q[:, :, 0], q[:, :, 1])
    mac = learner.mac
    mac.init_hidden(1)
    torch.testing.assert_close(mac.forward(batch, 0), q[:, 0])


def test_duelling_advantages_have_mean_zero():
    mac = learner_of().mac
    agent = mac.agents[0]
    with torch.no_grad():
        agent.value.weight.zero_()
        agent.value.bias.fill_(3.0)
    assert torch.allclose(mac.unroll(random_batch(INFO, [4])).mean(dim=-1), torch.tensor(3.0), atol=1e-5)


@pytest.mark.parametrize(("rate", "expected"), [(3, [False, False, True]), (0.5, None)])
def test_target_is_copied_at_the_interval_or_updated_softly(rate, expected):
    learner = learner_of(target_update_interval_or_tau=rate, lr=0.1)
    batch = random_batch(INFO, [3])
    before = [p.clone() for p in learner.target_mac.parameters()]
    copies = []
    for _ in range(3):
        learner.train(batch, 0, 0)
        pairs = zip(learner.target_mac.parameters(), learner.mac.parameters(), strict=True)
        copies.append(all(torch.equal(a, b) for a, b in pairs))
    if expected is not None:
        assert copies == expected
    else:
        learner.load_state_dict(learner.state_dict())
        assert not any(copies) and any(
            not torch.equal(a, b) for a, b in zip(before, learner.target_mac.parameters(), strict=True)
        )


def test_reward_statistics_ignore_padding():
    """Ten real rewards of 1 in a batch of fifty steps have mean 1, not 0.2; zero variance gives no NaN."""
    learner = learner_of(standardise_rewards=True)
    batch = random_batch(env_info(episode_limit=50), [10, 49])
    batch.data["reward"][:] = 0.0
    batch.data["reward"][0, :10] = 1.0
    learner.train(batch[:1], 0, 0)
    assert learner.reward_stats.mean.item() == pytest.approx(1.0)
    assert all(torch.isfinite(p).all() for p in learner.mac.parameters())


def test_reward_statistics_ignore_dead_agents():
    learner = learner_of(standardise_rewards=True)
    batch = random_batch(env_info(), [4])
    batch.data["reward"][0, :4] = torch.tensor([1.0, 0.0])
    batch.data["agent_mask"][0, :, 1] = 0
    learner.train(batch, 0, 0)
    assert learner.reward_stats.mean.item() == pytest.approx(1.0)


def test_centred_rewards_must_be_standardised():
    with pytest.raises(ConfigError, match="centre_rewards: goes with standardise_rewards=True"):
        learner_of(centre_rewards=True)


def test_centred_rewards_have_mean_zero():
    """Rewards of 4 and 6 have mean 5 and standard deviation 1, so they become -1 and 1."""
    learner = learner_of(standardise_rewards=True, centre_rewards=True)
    batch = random_batch(env_info(), [4])
    batch.data["reward"][0, :4] = torch.tensor([4.0, 6.0, 4.0, 6.0])[:, None]
    rewards = learner._rewards(batch, torch.ones(1, 4, 1))
    torch.testing.assert_close(rewards[0, :, 0], torch.tensor([-1.0, 1.0, -1.0, 1.0]), atol=1e-3, rtol=1e-3)


def test_a_reloaded_learner_continues_identically():
    batches = [random_batch(INFO, [3, 5], seed=s) for s in range(6)]
    one = learner_of(standardise_rewards=True, target_update_interval_or_tau=4)
    for batch in batches[:3]:
        one.train(batch, 0, 0)
    other = learner_of(seed=9, standardise_rewards=True, target_update_interval_or_tau=4)
    other.load_state_dict(one.state_dict())
    for batch in batches[3:]:
        one.train(batch, 0, 0)
        other.train(batch, 0, 0)
    for mine, theirs in ((one.mac, other.mac), (one.target_mac, other.target_mac)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_save_models_and_load_models_restore_the_networks(tmp_path):
    one, other = learner_of(seed=0), learner_of(seed=1)
    one.train(random_batch(INFO, [3]), 0, 0)
    one.save_models(str(tmp_path))
    other.load_models(str(tmp_path))
    batch = random_batch(INFO, [4])
    torch.testing.assert_close(unroll(other.mac, batch), unroll(one.mac, batch))
    torch.testing.assert_close(unroll(other.target_mac, batch), unroll(one.mac, batch))
