"""Mixers: VDN's sum, QMIX's monotonic mixing, and the Q learner's targets with a mixer."""

import pytest
import torch
from fakes import RecordingLogger, args_for, env_info, random_batch
from omarl.components.episode_batch import make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.learners.q_learner import QLearner
from omarl.modules import compiled
from omarl.modules.mixers.qmix import QMixer
from omarl.modules.mixers.vdn import VDNMixer
from omarl.types import ConfigError


def test_vdn_is_the_sum_of_agent_values():
    values = torch.tensor([[[1.0, 2.0, -4.0]]])
    assert VDNMixer(4, {})(values, torch.zeros(1, 1, 4)).tolist() == [[[-1.0]]]


def qmixer(n_agents=3):
    torch.manual_seed(0)
    return QMixer(4, {"n_agents": n_agents, "mixing_embed_dim": 8, "hypernet_embed": 16})


def test_qmix_increases_with_every_agents_value():
    mixer, values, state = qmixer(), torch.randn(50, 7, 3, requires_grad=True), 3 * torch.randn(50, 7, 4)
    mixer(values, state).sum().backward()
    assert (values.grad >= 0).all() and (values.grad > 0).any()


def test_qmix_matches_its_formula():
    """Computed layer by layer with plain tensors."""
    mixer, values, state = qmixer(2), torch.randn(1, 2), torch.randn(1, 4)
    w1 = mixer.weight1(state).abs().view(2, 8)
    hidden = values[0, 0] * w1[0] + values[0, 1] * w1[1] + mixer.bias1(state)[0]
    hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
    expected = (hidden * mixer.weight2(state)[0].abs()).sum() + mixer.bias2(state)[0, 0]
    torch.testing.assert_close(mixer(values, state)[0, 0], expected)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["values", "state", "grad", "weight1.2.weight", "weight2.0.bias"])
@pytest.mark.parametrize("rows", [(3,), (40, 7), (50, 21)])
def test_compiled_mixing_equals_torchs(rows, where, value, monkeypatch):
    mixer, values, state = qmixer(), 3 * torch.randn(*rows, 3), 3 * torch.randn(*rows, 4)
    grad, leaves = torch.randn(*rows, 1), list(mixer.parameters())
    if value is not None:
        {"values": values, "state": state, "grad": grad, **dict(mixer.named_parameters())}[where].data[1] = value
    values.requires_grad_()
    assert compiled.kernels("mixers.qmix_kernels") is not None
    found = []
    for _ in range(2):
        total = mixer(values, state)
        found.append([total.detach(), *torch.autograd.grad(total, [values, *leaves], grad)])
        monkeypatch.setattr(compiled, "kernels", lambda name: None)
    for mine, theirs in zip(*found, strict=True):
        if value is None:
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max().clamp(min=1)))
        else:
            # torch's elu drops the NaN of some rows in the gradient, of others not
            assert not (torch.isfinite(mine) & ~torch.isfinite(theirs)).any()


def test_mixing_gives_the_same_numbers_with_any_number_of_threads():
    mixer, values, state = qmixer(), torch.randn(1250, 3), torch.randn(1250, 4)
    found = []
    for n in (1, 3):
        with compiled.threads_set(n):
            total = mixer(values, state)
            found.append([total, *torch.autograd.grad(total.square().sum(), list(mixer.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_qmix_weights_depend_on_the_state():
    mixer, values = qmixer(), torch.randn(1, 3)
    assert not torch.equal(mixer(values, torch.zeros(1, 4)), mixer(values, torch.ones(1, 4)))


def learner_of(mixer, **changes):
    info = env_info()
    args = args_for(info, common_reward=True, mixer=mixer, gamma=0.5, **changes)
    scheme, groups = make_scheme(info, args.common_reward)
    torch.manual_seed(0)
    mac = BasicMAC(scheme, groups, args)
    return QLearner(mac, scheme, RecordingLogger(), args), info


def test_the_teams_target_matches_hand_computed_values():
    learner, info = learner_of("vdn", double_q=False, learner_log_interval=1)
    batch = random_batch(info, [3, 2], common_reward=True)
    q = learner.mac.unroll(batch)
    taken = q[:, :-1].gather(3, batch["actions"][:, :-1]).squeeze(3).sum(2)
    best = q[:, 1:].amax(3).sum(2)
    errors = []
    for b, length in enumerate((3, 2)):
        for t in range(length):
            target = batch["reward"][b, t, 0] + (0.5 * best[b, t] if t < length - 1 else 0.0)
            errors.append(float((taken[b, t] - target) ** 2))
    learner.train(batch, 5, 2)
    logged = {k: v for k, v, _ in learner.logger.rows}
    assert logged["loss"] == pytest.approx(sum(errors) / 5, rel=1e-4)


def test_the_team_has_a_future_as_long_as_one_agent_lives():
    """Agent 1 is dead from step 2 on; targets still contain the value of agent 0."""
    learner, info = learner_of("vdn", double_q=False, learner_log_interval=1)
    batch = random_batch(info, [4], common_reward=True)
    batch["agent_mask"][:, 2:, 1] = 0
    alive = batch["agent_mask"].float()
    q = learner.mac.unroll(batch)
    taken = (q[:, :-1].gather(3, batch["actions"][:, :-1]).squeeze(3) * alive[:, :-1]).sum(2)
    ahead = (q[:, 1:].amax(3) * alive[:, 1:]).sum(2) * (1 - batch["terminated"][:, :-1, 0].float())
    wanted = (taken - batch["reward"][:, :-1, 0] - 0.5 * ahead).square().mean()
    learner.train(batch, 1, 1)
    assert {k: v for k, v, _ in learner.logger.rows}["loss"] == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("mixer", ["vdn", "qmix"])
def test_dead_agents_contribute_zero_to_the_team_value(mixer):
    learner, info = learner_of(mixer, learner_log_interval=1)
    batch = random_batch(info, [4], common_reward=True)
    batch["agent_mask"][:, 2:, 1] = 0
    learner.train(batch, 1, 1)
    first = {k: v for k, v, _ in learner.logger.rows}["loss"]
    learner, info = learner_of(mixer, learner_log_interval=1)
    batch["obs"][:, 2:, 1] = 99.0  # a dead agent's value is masked, so its observation has no effect
    learner.train(batch, 1, 1)
    assert {k: v for k, v, _ in learner.logger.rows}["loss"] == pytest.approx(first, rel=1e-5)


def test_a_mixer_with_individual_rewards_is_refused():
    info = env_info()
    args = args_for(info, mixer="qmix")
    scheme, groups = make_scheme(info, False)
    with pytest.raises(ConfigError, match=r"common_reward: mixer qmix .*set common_reward=True"):
        QLearner(BasicMAC(scheme, groups, args), scheme, RecordingLogger(), args)


@pytest.mark.parametrize("rate", [0.3, 2])
def test_the_target_mixer_is_updated_and_saved(rate, tmp_path):
    learner, info = learner_of("qmix", target_update_interval_or_tau=rate, lr=0.05)
    batch = random_batch(info, [4, 3], common_reward=True)
    before = [p.clone() for p in learner.target_mixer.parameters()]
    learner.train(batch, 1, 1)
    after = list(learner.target_mixer.parameters())
    online = list(learner.mixer.parameters())
    if rate < 1:
        for old, new, now in zip(before, after, online, strict=True):
            torch.testing.assert_close(new, old + 0.3 * (now - old))
    else:
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        learner.train(batch, 2, 2)
        assert all(torch.equal(a, b) for a, b in zip(learner.target_mixer.parameters(), online, strict=True))
    learner.save_models(tmp_path)
    other, _ = learner_of("qmix")
    other.load_models(tmp_path)
    other.load_state_dict(learner.state_dict())
    for a, b in zip(learner._target_parameters(), other._target_parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(learner.parameters, other.parameters, strict=True):
        assert torch.equal(a, b)


class WeightedMixer(torch.nn.Module):
    """``a * sum + b * state[0]``: the result shows which values were mixed with which state."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = torch.nn.Parameter(torch.tensor(a)), b

    def forward(self, values, state):
        return self.a * values.sum(-1, keepdim=True) + self.b * state[..., :1]


def test_online_and_target_mixers_receive_the_states_of_their_steps():
    learner, info = learner_of("vdn", double_q=False, learner_log_interval=1)
    learner.mixer, learner.target_mixer = WeightedMixer(2.0, 3.0), WeightedMixer(5.0, 7.0)
    batch = random_batch(info, [3], common_reward=True)
    q = learner.mac.unroll(batch)
    taken = q[:, :-1].gather(3, batch["actions"][:, :-1]).squeeze(3).sum(2)[0]
    best, state = q[:, 1:].amax(3).sum(2)[0], batch["state"][0, :, 0]
    errors = []
    for t in range(3):
        ahead = 0.5 * (5 * best[t] + 7 * state[t + 1]) if t < 2 else 0.0
        errors.append(float((2 * taken[t] + 3 * state[t] - batch["reward"][0, t, 0] - ahead) ** 2))
    learner.train(batch, 5, 2)
    assert {k: v for k, v, _ in learner.logger.rows}["loss"] == pytest.approx(sum(errors) / 3, rel=1e-4)
