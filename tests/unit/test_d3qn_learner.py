"""D3QN: double one-step targets, replayed rollouts and the target network."""

import pytest
import torch
from fakes import rollouts_for
from omarl.components.rollout import Condition
from omarl.learners.d3qn_learner import D3QNLearner
from omarl.modules.agents.feature_agent import ConditionedHead
from omarl.types import ConfigError


def made(lengths, truncates=False, steps=4, **changes):
    return rollouts_for(D3QNLearner, lengths, truncates, steps, **changes)


def values_are(mac, first, second):
    """The two actions are worth these multiples of the state, which is the stamp on observations."""
    worth = torch.tensor([first, second])
    mac.inputs = lambda obs, last: obs
    mac._step = lambda obs, carry: (obs[..., :1] * worth, carry)
    mac.unroll = lambda batch: batch["obs"][..., :1] * worth


@pytest.mark.parametrize(("double_q", "factor"), [(True, 5.0), (False, 7.0)])
@pytest.mark.parametrize("truncates", [False, True])
def test_the_target_network_values_the_online_networks_action(double_q, factor, truncates):
    """Online values prefer the first action, which the target network finds worth 5; it prefers the second, 7."""
    runner, learner = made([[3]], truncates, double_q=double_q)
    rollout = runner.run()
    values_are(learner.mac, 2.0, 1.0)
    values_are(learner.target_mac, 5.0, 7.0)
    last = 3.0 * factor if truncates else 0.0
    expected = [0 + 0.5 * factor, 1 + 0.5 * 2 * factor, 2 + 0.5 * last, 0 + 0.5 * 11 * factor]
    assert learner.targets(rollout)[0][0, :, 0].tolist() == expected


def test_unavailable_actions_are_no_targets():
    runner, learner = made([[9]])
    rollout = runner.run()
    values_are(learner.mac, 1.0, 9.0)
    values_are(learner.target_mac, 1.0, 9.0)
    rollout["avail_actions"][..., 1] = 0
    assert learner.targets(rollout)[0][0, :, 0].tolist() == [t + 0.5 * (t + 1) for t in range(4)]


def test_values_converge_to_those_of_the_game():
    """Two steps with the rewards 0, 1 (first agent) and 1, 2 (second); discount 1/2."""
    runner, learner = made([[2]], lr=1e-2, target_update_interval_or_tau=0.1, replay_rollouts=3)

    def played():
        """The stamps on observations count episodes in tens; here all episodes look alike."""
        rollout = runner.run()
        rollout["obs"].remainder_(10)
        rollout.ends.obs.remainder_(10)
        return rollout

    for step in range(150):
        learner.train(played(), 4 * (step + 1), 1)
    rollout = played()
    with torch.no_grad():
        values = learner.mac.unroll(rollout)[0, :2].gather(2, rollout["actions"][0, :2]).squeeze(-1)
    torch.testing.assert_close(values, torch.tensor([[0.5, 2.0], [1.0, 2.0]]), atol=0.1, rtol=0)


def test_updates_draw_stored_rollouts_and_infer_their_condition_anew():
    runner, learner = made([[3]], replay_rollouts=3, epochs=2, lr=1e-9)
    asked, marks = [], []

    def infer(drawn, t_env):
        asked.append((t_env, float(drawn["reward"].sum())))
        return Condition()

    learner.condition_by(infer)
    for step in range(1, 31):
        rollout = runner.run()
        rollout["reward"][:] = step  # marks the rollout
        marks.append(float(rollout["reward"].sum()))
        learner.train(rollout, step, 1)
    assert [t for t, _ in asked] == [step for step in range(1, 31) for _ in range(2)]
    ages = [marks[:t][::-1].index(mark) for t, mark in asked]
    assert set(ages) == {0, 1, 2} and len(learner.memory.rollouts) == 3


@pytest.mark.parametrize(("rate", "moved"), [(0.25, [0.25, 0.4375]), (2, [0.0, 1.0])])
def test_the_target_network_follows(rate, moved):
    _, learner = made([[3]], target_update_interval_or_tau=rate)
    (mine, *_), (theirs, *_) = learner._pairs()
    with torch.no_grad():
        theirs.zero_()
        mine.fill_(1.0)
    for share in moved:
        learner.updates += 1
        learner._update_target()
        assert theirs.flatten()[0].item() == pytest.approx(share)


def test_state_goes_round(tmp_path):
    runner, learner = made([[4]], replay_rollouts=2)
    for step in (4, 8):
        learner.train(runner.run(), step, 1)
    learner.save_models(tmp_path)
    _, other = made([[4]], replay_rollouts=2)
    other.load_models(tmp_path)
    other.load_state_dict(learner.state_dict())
    rollout = runner.run()
    for each in (learner, other):
        torch.manual_seed(1)
        each.train(rollout, 12, 1)
    for a, b in zip(
        (*learner._pairs()[0], *learner._pairs()[1]), (*other._pairs()[0], *other._pairs()[1]), strict=True
    ):
        assert torch.equal(a, b)


def test_a_duelling_head_adds_a_value_to_advantages_of_mean_zero():
    head = ConditionedHead(4, 3, 2, 5, {}, duelling=True)
    inputs = torch.randn(7, 9)
    outputs, hidden = head(inputs), torch.relu(head.fc1(inputs))
    torch.testing.assert_close(outputs.mean(dim=-1, keepdim=True), head.value(hidden))
    plain = head.fc2(hidden)
    torch.testing.assert_close(outputs - outputs[:, :1], plain - plain[:, :1])


def test_it_refuses_qmix():
    with pytest.raises(ConfigError, match="mixer: d3qn_learner knows vdn alone, not qmix"):
        made([[3]], mixer="qmix")
