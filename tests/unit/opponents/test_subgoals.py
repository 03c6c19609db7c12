"""OMG's hindsight, its mixture and its losses, by hand."""

import pytest
import torch
from model_parts import believed, parts
from omarl.components.rollout import Ends, Rollout
from omarl.learners.subgoals import horizon_shown, select, selected, states_ahead, states_reached, steps_to_come


def stamped(terminated_at=()):
    """One copy, five steps; the state at step t is t, the last state of an episode that ends at t is 100 + t."""
    state = torch.arange(6.0).view(1, 6, 1)
    over = torch.zeros(1, 6, 1)
    for t in terminated_at:
        over[0, t] = 1
    ends = None
    if terminated_at:
        at = torch.tensor(terminated_at)
        last = (100.0 + at).view(-1, 1).float()
        empty = torch.zeros(len(at), 1, 1)
        ends = Ends(torch.zeros_like(at), at, empty, last, empty, empty, empty, empty)
    data = {"state": state, "terminated": over, "truncated": torch.zeros(1, 6, 1), "filled": torch.ones(1, 6, 1)}
    return Rollout({"truncated": {}}, {}, data, torch.zeros(1), torch.zeros(1), ends)


def candidates(batch, horizon=3):
    """All states to come [E, T, K, S], and which of them there are [E, T, K]."""
    reached = states_reached(batch)
    return states_ahead(reached, torch.arange(horizon).expand(*reached.shape[:2], -1)), steps_to_come(batch, horizon)


def test_candidates_are_the_states_to_come():
    states, valid = candidates(stamped())
    assert states[0, 1, :, 0].tolist() == [2, 3, 4]
    assert valid[0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0]]


def test_candidates_stay_inside_the_episode():
    states, valid = candidates(stamped([2]))
    assert valid[0].tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert states[0, 0, :, 0].tolist() == [1, 2, 102]  # the last state of the episode, not the next one's first
    assert states[0, 2, 0, 0] == 102
    assert states[0, 3, :2, 0].tolist() == [4, 5]


def test_a_horizon_beyond_the_rollout_adds_nothing():
    states, valid = candidates(stamped(), 7)
    assert valid[0].sum(dim=1).tolist() == [5, 4, 3, 2, 1]
    assert states[valid > 0].flatten().tolist() == [1, 2, 3, 4, 5, 2, 3, 4, 5, 3, 4, 5, 4, 5, 5]


def test_where_the_whole_horizon_is_shown():
    """Five steps: all three states to come, or the episode's end among them, must be in sight."""
    for ends, shown in (
        ((), [1, 1, 1, 0, 0]),
        ((2,), [1, 1, 1, 0, 0]),
        ((4,), [1, 1, 1, 1, 1]),
        ((1,), [1, 1, 1, 0, 0]),
    ):
        batch = stamped(list(ends))
        _, valid = candidates(batch)
        assert horizon_shown(batch, valid)[0].tolist() == shown, ends


def test_the_selector():
    values = torch.tensor([[[[1.0, 5.0, 3.0]], [[2.0, 9.0, 9.0]]]])  # [E=1, T=2, N=1, K=3]
    valid = torch.tensor([[[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]])

    def chosen(rule, optimistic=True):
        return select(rule, optimistic, valid, lambda: values, 1)[0, :, 0].tolist()

    assert chosen("value") == [1, 0]  # the best, and the only one there is
    assert chosen("value", optimistic=False) == [0, 0]
    assert chosen("next") == [0, 0]
    assert chosen("third") == [2, 0]
    drawn = {chosen("random")[0] for _ in range(60)}
    assert drawn == {0, 1, 2}
    assert {chosen("random")[1] for _ in range(20)} == {0}


def test_how_often_each_step_ahead_was_selected():
    shares = selected(torch.tensor([[0, 0, 2, 1]]), 4)
    assert shares.pop("omg_selected_k") == 1.75
    assert [share.item() for share in shares.values()] == [0.5, 0.25, 0.25, 0.0]
    assert list(shares) == [f"omg_selected_k/{k}" for k in range(1, 5)]


def test_the_mixture_falls_from_what_is_selected_to_what_is_inferred(prior):
    runner, learner = parts(prior, omg_anneal_time=100)
    batch, states = believed(learner, runner, 0)
    selected, _ = learner.prior.encode(states)
    torch.testing.assert_close(batch["condition"][:, :-1], selected)
    batch, states = believed(learner, runner, 50)
    selected, _ = learner.prior.encode(states)
    share = (batch["condition"][:, :-1] == selected).all(dim=-1).float().mean()
    assert 0.3 < share < 0.7
    batch, _ = believed(learner, runner, 100)
    torch.testing.assert_close(batch["condition"], batch["critic_condition"])


def test_the_next_state_keeps_the_goal_in_q_targets_alone(prior):
    runner, learner = parts(prior, base="pqn_learner", action_selector="epsilon_greedy", omg_input="prior")
    batch, _ = believed(learner, runner)
    assert torch.equal(batch.next_condition, batch["condition"][:, :-1])
    e = batch.ends
    assert torch.equal(batch.ends_condition, batch["condition"][e.copy, e.step])
    with torch.no_grad():
        ahead = learner.mac.unroll_ahead(batch)
        here = learner.mac.unroll(batch)
        batch.data["condition"] = torch.cat([batch["condition"][:, :1], batch.next_condition], dim=1)
        shifted = learner.mac.unroll(batch)
    torch.testing.assert_close(ahead, shifted[:, 1:])
    assert not torch.allclose(ahead, here[:, 1:])
    runner, learner = parts(prior, omg_input="prior")
    batch, _ = believed(learner, runner)
    assert batch.next_condition is None  # a critic's baseline must not know what hindsight selects
    assert not torch.allclose(batch["critic_condition"], batch["condition"])
    with torch.no_grad():
        values, _ = learner.base._values(batch)
        told = learner.base.critic(batch["obs"], batch["state"].flatten(2), batch["critic_condition"])
    assert torch.equal(values, told)


def test_the_cvae_comes_to_the_prior_of_what_is_selected(prior):
    """Taught long enough with a heavy KL, what is inferred is the selected state's code."""
    heavy = {"omg_vae_alpha": 1.0, "vae_alpha_ramp": 0, "vae_lr": 3e-3, "model_hidden_dim": 64}
    runner, learner = parts(prior, copies=32, omg_selection="next", **heavy)
    for _ in range(120):
        batch, goals = believed(learner, runner)
        learner._update_model(batch, learner.model.actions_taken(batch), goals)
    batch, goals = believed(learner, runner)
    mu_p, _ = learner.prior.encode(goals)
    error = (batch["condition"][:, 1:-1] - mu_p[:, 1:]).square().mean()
    assert error < 0.5 * (mu_p - mu_p.mean(dim=(0, 1))).square().mean()


def test_the_decoder_is_given_the_step_before_and_nothing_of_another_episode(prior):
    """Its first step in a rollout has no step before there; where an episode begins, the step before is empty."""
    runner, learner = parts(prior)
    runner.run()
    batch, goals = believed(learner, runner)
    given, decode = [], learner.model.decode

    def recorded(goal, before):
        given.append(before.detach().clone())
        return decode(goal, before)

    learner.model.decode = recorded
    with torch.no_grad():
        features = learner.model.features(batch, learner.mac.split_carry(batch.carry)[1])
    learner._update_model(batch, learner.model.actions_taken(batch), goals)
    before = given[0].view(6, 8, -1)  # six copies, steps 1 to 8 of nine
    begins = batch["begins"][:, 1:9, 0] > 0
    assert begins.any()
    assert not before[begins].any()
    torch.testing.assert_close(before[~begins], features[:, :8, 0][~begins])


@pytest.mark.parametrize("bound, most", [("tanh", 1.5), ("clamp", 1.5), ("none", None)])
def test_the_cvae_keeps_the_bounds_of_the_vae(prior, bound, most):
    _, learner = parts(prior, vae_log_var_bound=bound, vae_log_var_limit=1.5)
    _, log_var = learner.model.infer(1e4 * torch.randn(50, 8))
    assert (log_var.abs().max() <= most) if most else (log_var.abs().max() > 100)


def test_a_prior_keeps_the_bound_that_it_was_trained_with(prior, tmp_path):
    _, learner = parts(prior)
    saved = torch.load(prior / "vae.th", weights_only=True)
    assert saved["log_var"] == ["tanh", 5.0]
    torch.save({**saved, "log_var": ["clamp", 0.01]}, tmp_path / "vae.th")
    _, other = parts(tmp_path)
    states = torch.randn(5, 30)
    assert other.prior.encode(states)[1].abs().max() <= 0.01 < learner.prior.encode(states)[1].abs().max()
    torch.save({name: value for name, value in saved.items() if name != "log_var"}, tmp_path / "vae.th")
    _, older = parts(tmp_path)  # files from before it was kept
    assert torch.equal(older.prior.encode(states)[1], learner.prior.encode(states)[1])
