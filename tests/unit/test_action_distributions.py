"""Distributions of actions against ``torch.distributions``, their masks, and the parts of a run that use them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fakes import ClockEnv, RecordingLogger, args_for, env_info
from omarl.components.episode_batch import make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.learners.ppo_learner import PPOLearner
from omarl.modules.action_distributions import distribution
from omarl.modules.agents.feature_agent import ConditionedHead
from omarl.modules.agents.rnn_agent import RNNAgent
from omarl.registry import resolve
from omarl.runners.episode_runner import EpisodeRunner
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import ActionKind, ConfigError
from torch import distributions

INFINITY = float("inf")
NUMBERS = ActionKind("continuous", limits=(1.0, INFINITY, 1.0))
HEADS = ActionKind("heads", heads=(3, 2))
BOTH = ActionKind("mixed", heads=(3, 2), limits=(1.0, INFINITY))
BOX = env_info(actions=NUMBERS, n_actions=3, action_sizes=(3, 3))
SWITCHES = env_info(actions=HEADS, n_actions=5, action_sizes=(5, 5))
MIXED = env_info(actions=BOTH, n_actions=7, action_sizes=(7, 7))


def test_gaussian_log_density_and_entropy_equal_those_of_torch():
    torch.manual_seed(0)
    mean, log_std, actions = torch.randn(7, 3), torch.randn(7, 3), 3 * torch.randn(7, 3)
    outputs = torch.cat([mean, log_std], dim=-1)
    normal = distributions.Independent(distributions.Normal(mean, log_std.exp()), 1)
    log_prob, entropy = distribution(NUMBERS, 3).log_prob_and_entropy(outputs, actions, torch.ones(7, 3))
    assert torch.allclose(log_prob, normal.log_prob(actions), atol=1e-4)
    assert torch.allclose(entropy, normal.entropy(), atol=1e-5)


def test_numbers_that_an_agent_lacks_do_not_count():
    torch.manual_seed(0)
    outputs, actions = torch.randn(2, 6), torch.randn(2, 3)
    avail = torch.tensor([[1, 0, 1], [0, 0, 0]])
    log_prob, entropy = distribution(NUMBERS, 3).log_prob_and_entropy(outputs, actions, avail)
    normal = distributions.Normal(outputs[0, [0, 2]], outputs[0, [3, 5]].exp())
    assert log_prob[0].item() == pytest.approx(normal.log_prob(actions[0, [0, 2]]).sum().item(), rel=1e-5)
    assert entropy[0].item() == pytest.approx(normal.entropy().sum().item(), rel=1e-5)
    assert log_prob[1] == entropy[1] == 0


def test_gaussian_samples_have_the_mean_and_deviation_and_the_mode_is_the_mean():
    torch.manual_seed(0)
    mean, std = torch.tensor([3.0, -1.0, 0.0]), torch.tensor([0.5, 2.0, 1.0])
    outputs = torch.cat([mean, std.log()]).expand(40_000, 6)
    actions = distribution(NUMBERS, 3).sample(outputs, torch.ones(40_000, 3))
    assert torch.allclose(actions.mean(dim=0), mean, atol=0.03)
    assert torch.allclose(actions.std(dim=0), std, rtol=0.03)
    assert torch.equal(distribution(NUMBERS, 3).mode(outputs, torch.ones(40_000, 3))[0], mean)


def test_features_of_numbers_are_clipped_only_where_the_space_is_bounded():
    encoded = distribution(NUMBERS, 3).encode(torch.tensor([[7.0, 7.0, -0.5]]))
    assert encoded.tolist() == [[1.0, 7.0, -0.5]]


def test_log_probability_and_entropy_of_heads_are_sums_over_the_heads():
    torch.manual_seed(0)
    logits, actions = torch.randn(6, 5), torch.tensor([[a, b] for a in range(3) for b in range(2)])
    heads = [distributions.Categorical(logits=part) for part in logits.split((3, 2), dim=-1)]
    log_prob, entropy = distribution(HEADS, 5).log_prob_and_entropy(logits, actions, torch.ones(6, 5))
    expected = sum(head.log_prob(actions[:, k]) for k, head in enumerate(heads))
    assert torch.allclose(log_prob, expected, atol=1e-6)
    assert torch.allclose(entropy, sum(head.entropy() for head in heads), atol=1e-6)


def test_heads_respect_masks_and_a_head_with_one_choice_adds_nothing():
    torch.manual_seed(0)
    logits, avail = torch.randn(500, 5), torch.tensor([0, 1, 1, 1, 0]).expand(500, 5)
    heads = distribution(HEADS, 5)
    actions = heads.sample(logits, avail)
    assert set(actions[:, 0].tolist()) == {1, 2} and set(actions[:, 1].tolist()) == {0}
    log_prob, entropy = heads.log_prob_and_entropy(logits, actions, avail)
    first = distributions.Categorical(logits=logits[:, 1:3])
    assert torch.allclose(log_prob, first.log_prob(actions[:, 0] - 1), atol=1e-5)
    assert torch.allclose(entropy, first.entropy(), atol=1e-5)


def test_features_of_heads_are_one_hot_in_each_head():
    assert distribution(HEADS, 5).encode(torch.tensor([[2, 0], [0, 1]])).tolist() == [
        [0, 0, 1, 1, 0],
        [1, 0, 0, 0, 1],
    ]


def test_choices_and_numbers_are_independent():
    torch.manual_seed(0)
    outputs, avail = torch.randn(6, 9), torch.ones(6, 7)  # 5 logits, 2 means, 2 log standard deviations
    avail[0, 6] = 0
    mixed = distribution(BOTH, 7)
    actions = mixed.sample(outputs, avail)
    log_prob, entropy = mixed.log_prob_and_entropy(outputs, actions, avail)
    heads = [distributions.Categorical(logits=part) for part in outputs[:, :5].split((3, 2), dim=-1)]
    normal = distributions.Normal(outputs[:, 5:7], outputs[:, 7:].exp())
    expected = sum(head.log_prob(actions[:, k]) for k, head in enumerate(heads))
    expected += (normal.log_prob(actions[:, 2:]) * avail[:, 5:]).sum(dim=-1)
    assert torch.allclose(log_prob, expected, atol=1e-5)
    entropies = sum(head.entropy() for head in heads) + (normal.entropy() * avail[:, 5:]).sum(dim=-1)
    assert torch.allclose(entropy, entropies, atol=1e-5)
    best = mixed.mode(outputs, avail)
    assert torch.equal(best[:, :2], torch.stack([head.logits.argmax(dim=-1) for head in heads], dim=1).float())
    assert torch.equal(best[:, 2:], outputs[:, 5:7])
    assert mixed.encode(torch.tensor([[2.0, 0.0, 7.0, -7.0]])).tolist() == [[0, 0, 1, 1, 0, 1, -7]]


def made(info, lengths=([4], [3]), runner=RolloutRunner, **changes):
    env = ClockEnv(list(lengths), info=info)
    values = {"action_selector": "softmax", "duelling": False, "rollout_steps": 8, "lr_anneal": False,
              "use_rnn": True, "env_info": info, **changes}  # fmt: skip
    args = args_for(info, **values)
    scheme, groups = make_scheme(info, False)
    torch.manual_seed(0)
    mac = BasicMAC(scheme, groups, args)
    return runner(env, mac, scheme, groups, args), PPOLearner(mac, scheme, RecordingLogger(), args)


@pytest.mark.parametrize("info", [BOX, SWITCHES, MIXED], ids=["box", "switches", "mixed"])
@pytest.mark.parametrize("agent", ["rnn", "mingru"])
def test_the_ratio_is_one_before_the_first_update(info, agent):
    """Acting step by step and unrolling give the same log-probabilities, over episode boundaries, too."""
    runner, learner = made(info, agent=agent)
    rollout = runner.run()
    assert rollout["actions"].shape == (2, 9, 2, *info.actions.shape)
    carry, last, logs = rollout.carry, rollout.previous_actions(), []
    avail = rollout["avail_actions"]
    for t in range(8):
        fresh = rollout["begins"][:, t, :, None].float()
        carry = carry * (1 - fresh) + runner.mac.initial_carry(2) * fresh
        out, carry = runner.mac._step(runner.mac.inputs(rollout["obs"][:, t], last[:, t]), carry)
        logs.append(learner.actions.log_prob_and_entropy(out, rollout["actions"][:, t], avail[:, t])[0])
    taken = learner._log_taken(rollout)[0]
    assert torch.allclose(taken, torch.stack(logs, dim=1), atol=1e-5)


@pytest.mark.parametrize("info", [BOX, SWITCHES, MIXED], ids=["box", "switches", "mixed"])
def test_state_dict_restores_the_learner_with_the_deviations(info, tmp_path):
    runner, learner = made(info, lr=1e-2)
    learner.train(runner.run(), 8, 1)
    learner.save_models(tmp_path)
    _, loaded = made(info, lr=1e-2)
    loaded.load_models(tmp_path)
    for a, b in zip(learner.parameters, loaded.parameters, strict=True):
        assert torch.equal(a, b)
    names = [name for name in learner.mac.kept.state_dict() if name.endswith("log_std")]
    assert len(names) == (info is not SWITCHES)
    if names:
        assert learner.mac.kept.state_dict()[names[0]].abs().min() > 0  # it has been trained


@pytest.mark.parametrize("info", [BOX, SWITCHES, MIXED], ids=["box", "switches", "mixed"])
def test_episodes_store_actions_and_the_features_of_the_last_ones(info):
    runner, _ = made(info, lengths=[[3], [3]], runner=EpisodeRunner)
    batch = runner.run()
    features = distribution(info.actions, info.n_actions).encode(batch["actions"])
    assert torch.equal(batch["actions_onehot"], features * batch["filled"][..., None])
    assert batch["actions"].dtype == (torch.long if info is SWITCHES else torch.float32)
    assert not batch["actions_onehot"][batch["filled"].squeeze(-1) == 0].any()


@pytest.mark.parametrize("info, keys, lines", [
    (BOX, {}, 1), (BOX, {"entropy_coef": 0.0}, 0), (BOX, {"user_keys": {"entropy_coef"}}, 0), (SWITCHES, {}, 0),
])  # fmt: skip
def test_the_default_entropy_bonus_of_a_gaussian_is_reported(info, keys, lines, caplog):
    with caplog.at_level("INFO"):
        made(info, **keys)
    assert caplog.text.count("entropy_coef: 0.01 rewards a wide policy") == lines


@pytest.mark.parametrize("steps, keys, lines", [
    (25, {}, 1), (49, {}, 1), (50, {}, 0), (25, {"gamma": 0.95}, 0), (25, {"user_keys": {"gamma"}}, 0),
])  # fmt: skip
def test_a_discount_that_looks_far_beyond_short_episodes_is_reported(steps, keys, lines, caplog):
    info = env_info(episode_limit=steps)
    with caplog.at_level("INFO"):
        made(info, env_info=info, **{"gamma": 0.99, **keys})
    assert caplog.text.count(f"gamma: 0.99 looks 100 steps ahead, and episodes have at most {steps}") == lines


@pytest.mark.parametrize("learner", ["q_learner", "pqn_learner"])
def test_q_learners_and_epsilon_greedy_refuse_numbers_and_name_ippo(learner):
    runner, _ = made(BOX)
    for make in (
        lambda: resolve("learner", learner)(
            runner.mac, runner.scheme, RecordingLogger(), args_for(BOX, env_info=BOX)
        ),
        lambda: resolve("action_selector", "epsilon_greedy")(args_for(BOX, env_info=BOX)),
    ):
        with pytest.raises(ConfigError, match=r"Discrete actions, .* Box actions; use --config=ippo or mappo"):
            make()


def test_the_first_policy_of_numbers_hardly_depends_on_the_observation():
    """With the agent's own head and with that of a conditioned policy, means are far below the deviation, 1."""
    args = SimpleNamespace(hidden_dim=8, n_actions=3, use_rnn=False, duelling=False, layer_norm=False)
    heads = [distribution(NUMBERS, 3).policy(RNNAgent(4, args)).agent, ConditionedHead(8, 4, 0, 3, args, n_numbers=3)]
    for head in heads:
        assert 0 < head.fc2.weight.abs().max() < 0.01 and head.fc2.bias.abs().max() < 0.01
    assert distribution(HEADS, 5).policy(RNNAgent(4, args)).fc2.weight.abs().max() > 0.1
