"""OMG: candidates, selector, mixture, inference and prior; by hand where possible."""

import pytest
import torch
from model_parts import conditioned, parts, update
from omarl.components.rollout import Ends, Rollout
from omarl.opponent_models.horizon import (
    horizon_is_complete,
    states_ahead,
    states_reached,
    step_shares,
    steps_to_come,
)
from omarl.opponent_models.omg.selector import select


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
    """All candidate states [E, T, K, S], and their mask [E, T, K]."""
    reached = states_reached(batch)
    return states_ahead(reached, torch.arange(horizon).expand(*reached.shape[:2], -1)), steps_to_come(batch, horizon)


def test_candidates_are_the_next_states():
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


def test_a_horizon_is_complete_if_the_rollout_has_all_its_states_or_the_end_of_the_episode():
    """Five steps, a horizon of three states."""
    for ends, complete in (
        ((), [1, 1, 1, 0, 0]),
        ((2,), [1, 1, 1, 0, 0]),
        ((4,), [1, 1, 1, 1, 1]),
        ((1,), [1, 1, 1, 0, 0]),
    ):
        batch = stamped(list(ends))
        _, valid = candidates(batch)
        assert horizon_is_complete(batch, valid)[0].tolist() == complete, ends


def test_the_selector_takes_the_best_the_worst_the_next_the_third_or_any():
    values = torch.tensor([[[[1.0, 5.0, 3.0]], [[2.0, 9.0, 9.0]]]])  # [E=1, T=2, N=1, K=3]
    valid = torch.tensor([[[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]])

    def chosen(rule, optimistic=True):
        return select(rule, optimistic, valid, values, 1)[0, :, 0].tolist()

    assert chosen("value") == [1, 0]  # the best, and the only valid one
    assert chosen("value", optimistic=False) == [0, 0]
    assert chosen("next") == [0, 0]
    assert chosen("third") == [2, 0]
    drawn = {chosen("random")[0] for _ in range(60)}
    assert drawn == {0, 1, 2}
    assert {chosen("random")[1] for _ in range(20)} == {0}


def test_shares_of_each_number_of_steps_ahead():
    shares = step_shares("omg_selected_k", torch.tensor([[0, 0, 2, 1]]), 4)
    assert shares.pop("omg_selected_k") == 1.75
    assert [share.item() for share in shares.values()] == [0.5, 0.25, 0.25, 0.0]
    assert list(shares) == [f"omg_selected_k/{k}" for k in range(1, 5)]


def test_the_mixture_moves_from_selected_to_inferred_subgoals(prior):
    runner, learner = parts(prior, omg_anneal_time=100)

    def of_selected(t_env):
        batch, targets = conditioned(learner, runner, t_env)
        selected, _ = learner.model.prior.encode(targets.values)
        return (batch.condition.acting[:, :-1] == selected).all(dim=-1).float().mean(), batch.condition

    assert of_selected(0)[0] == 1.0
    assert 0.3 < of_selected(50)[0] < 0.7
    share, condition = of_selected(100)
    assert share == 0.0 and torch.equal(condition.acting, condition.critic)


def test_action_values_of_the_next_state_are_taken_under_this_steps_subgoal(prior):
    """Equation 4."""
    runner, learner = parts(prior, base="pqn_learner", action_selector="epsilon_greedy", omg_input="prior")
    batch, _ = conditioned(learner, runner)
    condition, e = batch.condition, batch.ends
    assert torch.equal(condition.next, condition.acting[:, :-1])
    assert torch.equal(condition.at_ends, condition.acting[e.copy, e.step])
    with torch.no_grad():
        ahead = learner.mac.unroll_ahead(batch)
        here = learner.mac.unroll(batch)
        batch.condition = condition._replace(acting=torch.cat([condition.acting[:, :1], condition.next], dim=1))
        shifted = learner.mac.unroll(batch)
    torch.testing.assert_close(ahead, shifted[:, 1:])
    assert not torch.allclose(ahead, here[:, 1:])


def test_a_critic_is_conditioned_only_on_inferred_subgoals(prior):
    """A selected subgoal depends on the action whose advantage the critic's baseline measures."""
    runner, learner = parts(prior, omg_input="prior")
    batch, _ = conditioned(learner, runner)
    condition = batch.condition
    with torch.no_grad():
        inferred = learner.model.condition_of(learner.model.features(batch))
        values, _ = learner.base._values(batch)
        wanted = learner.base.critic(batch["obs"], batch["state"].flatten(2), inferred)
    assert condition.next is None and torch.equal(condition.critic, inferred)
    assert not torch.allclose(condition.acting, inferred) and torch.equal(values, wanted)


@pytest.mark.parametrize("base", ["ppo_learner", "pqn_learner"])
def test_goal_values_are_the_base_learners_values_conditioned_on_each_goal(prior, base):
    runner, learner = parts(prior, base=base)
    batch = runner.run()
    goals = torch.randn(6, 9, 1, 3, 4)
    with torch.no_grad():
        values = learner.base.goal_values(batch, goals)
        for k in range(3):
            held = torch.cat([goals[..., k, :], goals[:, -1:, :, k]], dim=1)  # T + 1 steps
            batch.condition = batch.condition._replace(acting=held, critic=held)
            if base == "ppo_learner":
                wanted = learner.base._values(batch)[0][:, :-1]
            else:
                wanted = learner.mac.unroll(batch)[:, :-1].mean(dim=-1)
            torch.testing.assert_close(values[..., k], wanted)


def test_inference_approaches_the_prior_of_the_selected_state(prior):
    """Trained long enough with a heavy KL, the inferred subgoal is the selected state's code."""
    heavy = {"omg_vae_alpha": 1.0, "vae_alpha_ramp": 0, "vae_lr": 3e-3, "model_hidden_dim": 64}
    runner, learner = parts(prior, copies=32, omg_selection="next", **heavy)
    for _ in range(120):
        batch, targets = conditioned(learner, runner)
        update(learner, batch, targets.values)
    batch, targets = conditioned(learner, runner)
    mu_p, _ = learner.model.prior.encode(targets.values)
    error = (batch.condition.acting[:, 1:-1] - mu_p[:, 1:]).square().mean()
    assert error < 0.5 * (mu_p - mu_p.mean(dim=(0, 1))).square().mean()


def test_the_decoder_gets_the_previous_step_of_the_same_episode(prior):
    """The first step of a rollout is omitted: its previous step is unknown. Episodes start with zero features."""
    runner, learner = parts(prior)
    runner.run()
    batch, targets = conditioned(learner, runner)
    given, decode = [], learner.model.decode

    def recorded(goal, before):
        given.append(before.detach().clone())
        return decode(goal, before)

    learner.model.decode = recorded
    with torch.no_grad():
        features = learner.model.features(batch)
    update(learner, batch, targets.values)
    before = given[0].view(6, 8, -1)  # six copies, steps 1 to 8 of nine
    begins = batch["begins"][:, 1:9, 0] > 0
    assert begins.any()
    assert not before[begins].any()
    torch.testing.assert_close(before[~begins], features[:, :8, 0][~begins])


def test_regression_moves_the_mean_to_the_selected_code(prior):
    """``omg_inference: mlp``, with the learning rate ``vae_lr``."""
    runner, learner = parts(prior, copies=32, omg_inference="mlp", vae_lr=5e-3, omg_selection="next")
    assert learner.trained.optimiser.param_groups[0]["lr"] == 5e-3
    losses = []
    for _ in range(40):
        batch, targets = conditioned(learner, runner)
        losses.append(update(learner, batch, targets.values)["omg_loss"].item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_drawing_shows_the_opponents_positions_in_the_decoded_subgoal(prior):
    runner, learner = parts(prior, copies=1)
    batch = runner.run()
    drawing, model = learner.model.draw(batch), learner.model
    with torch.no_grad():
        decoded = model.prior.decode(model.condition_of(model.features(batch)[0, :, 0]))
    assert drawing.horizon == 5 and drawing.odds is None and len(drawing.captions) == 10
    assert drawing.inferred[:, 0].tolist() == decoded[:, model.places].tolist()


@pytest.mark.parametrize("bound, most", [("tanh", 1.5), ("clamp", 1.5), ("none", None)])
def test_log_variances_stay_within_their_bound(prior, bound, most):
    _, learner = parts(prior, vae_log_var_bound=bound, vae_log_var_limit=1.5)
    _, log_var = learner.model.infer(1e4 * torch.randn(50, 8))
    assert (log_var.abs().max() <= most) if most else (log_var.abs().max() > 100)


def test_a_loaded_prior_has_the_log_variance_bound_of_its_training(prior, tmp_path):
    _, learner = parts(prior)
    saved = torch.load(prior / "vae.th", weights_only=True)
    assert saved["log_var"] == ["tanh", 5.0]
    torch.save({**saved, "log_var": ["clamp", 0.01]}, tmp_path / "vae.th")
    _, other = parts(tmp_path)
    states = torch.randn(5, 30)
    assert other.model.prior.encode(states)[1].abs().max() <= 0.01 < learner.model.prior.encode(states)[1].abs().max()
    torch.save({name: value for name, value in saved.items() if name != "log_var"}, tmp_path / "vae.th")
    _, older = parts(tmp_path)  # older files do not contain the bound
    assert torch.equal(older.model.prior.encode(states)[1], learner.model.prior.encode(states)[1])
