"""Parts of OMG that only ``omg_paper`` uses: expectations over the prior, and values of the selector's subgoals."""

import pytest
import torch
from model_parts import condition, conditioned, parts
from omarl.opponent_models.horizon import states_ahead, states_reached, steps_to_come
from omarl.opponent_models.omg.selector import spread_of_values

BASES = ["ppo_learner", "pqn_learner", "d3qn_learner"]


def candidates(learner, batch):
    """The prior's mean for each of the next five states, [E, T, 5, Z], and whether it is there."""
    reached = states_reached(batch)
    states = states_ahead(reached, torch.arange(5).expand(*reached.shape[:2], -1))
    return learner.model.prior.encode(states)[0], steps_to_come(batch, 5) > 0


def test_the_selector_averages_values_over_samples_of_the_prior(prior):
    """E g^2 = mu^2 + sigma^2, which the value of the mean lacks."""
    runner, learner = parts(prior, omg_prior_samples=400)
    batch = runner.run()
    learner.base.goal_values = lambda batch, goals: goals.square().sum(dim=-1)
    reached = states_reached(batch)
    states = states_ahead(reached, torch.arange(5).expand(*reached.shape[:2], -1))
    mean, log_var = learner.model.prior.encode(states)
    with torch.no_grad():
        values = learner.model._values(batch, learner.base, reached)[:, :, 0]
    expected = (mean.square() + log_var.exp()).sum(dim=-1)
    assert (values - expected).abs().mean() < 0.1 * expected.mean() < (expected - mean.square().sum(dim=-1)).mean()


def test_without_samples_the_selector_takes_the_value_of_the_mean(prior):
    runner, learner = parts(prior)
    batch = runner.run()
    learner.base.goal_values = lambda batch, goals: goals.square().sum(dim=-1)
    with torch.no_grad():
        values = learner.model._values(batch, learner.base, states_reached(batch))
    torch.testing.assert_close(values[:, :, 0], candidates(learner, batch)[0].square().sum(dim=-1))


def test_the_selected_subgoal_is_a_sample_of_the_prior(prior):
    runner, learner = parts(prior, omg_prior_samples=2, omg_input="prior")
    batch, targets = conditioned(learner, runner)
    mean, log_var = learner.model.prior.encode(targets.values)
    noise = (batch.condition.acting[:, :-1] - mean) / (0.5 * log_var).exp()
    assert abs(noise.mean()) < 0.2 and 0.8 < noise.std() < 1.2


@pytest.mark.parametrize("base", BASES)
def test_values_are_trained_on_subgoals_of_candidates_of_the_same_episode(prior, base):
    runner, learner = parts(prior, base=base, omg_value_candidates=True)
    batch = runner.run()
    condition(learner, batch)
    if base == "d3qn_learner":
        with torch.no_grad():
            batch.condition = learner.base.infer(batch, 10**6)
    valued, (known, there) = batch.condition.valued, candidates(learner, batch)
    equal = ((valued.acting[:, :-1, 0, None] - known).abs() < 1e-5).all(dim=-1) & there
    assert equal.any(dim=-1).all()
    assert len({int(k) for k in equal.float().argmax(dim=-1).flatten()}) == 5  # any of the horizon
    assert torch.equal(valued.next, valued.acting[:, :-1]) and torch.equal(valued.critic, valued.acting)
    assert torch.equal(valued.at_ends, valued.acting[batch.ends.copy, batch.ends.step])
    part = batch.copies(torch.tensor([2, 0]))
    assert torch.equal(part.condition.valued.acting, valued.acting[[2, 0]])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("trains", [True, False])
def test_values_of_candidates_are_learned_from_the_same_returns(prior, base, trains):
    """One rollout, many updates: the error of V(s, g) of candidates' subgoals falls, if they are trained."""
    runner, learner = parts(prior, base=base, copies=32, omg_value_candidates=trains, lr=1e-2)
    batch = runner.run()
    condition(learner, batch)
    if base == "d3qn_learner":
        with torch.no_grad():
            batch.condition = learner.base.infer(batch, 10**6)
    targets = learner.base.targets(batch)
    losses = []
    for _ in range(60):
        learner.base.update(batch.copies(torch.arange(32)), *targets)
        learner.base.log(10**6 * (len(losses) + 1))
        losses = [loss for _, loss in learner.logger.series("valued_loss")]
        if not trains:
            break
    assert (len(losses) == 60 and losses[-1] < 0.6 * losses[0]) if trains else not losses


def test_a_critic_may_get_the_policys_subgoal(prior):
    runner, learner = parts(prior, omg_input="prior", omg_critic_input="policy")
    batch, _ = conditioned(learner, runner)
    assert torch.equal(batch.condition.critic, batch.condition.acting)


def test_the_mixture_of_a_stored_rollout_is_that_of_the_present_step(prior):
    runner, learner = parts(prior, base="d3qn_learner", omg_anneal_time=100, omg_prior_samples=0)
    batch = runner.run()
    with torch.no_grad():
        inferred = learner.model.condition_of(learner.model.features(batch))
        early, late = (learner.base.infer(batch, t).acting for t in (0, 100))
    assert torch.equal(late, inferred) and not (early[:, :-1] == inferred[:, :-1]).all(dim=-1).any()


def test_the_spread_of_values_counts_real_candidates_only():
    values = torch.tensor([[[[1.0, 3.0, 99.0]], [[7.0, 99.0, 99.0]]]])  # [E=1, T=2, N=1, H=3]
    valid = torch.tensor([[[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    found = spread_of_values(values, valid)
    assert {name: value.item() for name, value in found.items()} == {
        "omg_value_std": 1.0, "omg_value_range": 2.0, "omg_value_mean": 2.0,
    }  # fmt: skip
    assert spread_of_values(values, torch.tensor([[[1.0, 0.0, 0.0]] * 2])) == {}
