"""What opponent models and the policy under their condition are trained on, against numbers computed separately."""

import pytest
import torch
from model_parts import conditioned, parts, update
from omarl.components.schedules import linear
from torch.distributions import Normal, kl_divergence


def test_omgs_kl_is_that_of_the_inferred_from_the_prior_distribution(prior):
    """KL(q || p), not KL(p || q); its gradient moves only q."""
    runner, learner = parts(prior, omg_selection="next", vae_free_bits=0.0)
    batch, targets = conditioned(learner, runner)
    model = learner.trained
    with torch.no_grad():
        features = model.features(batch)[:, 1:-1]
        mu, log_var = model.infer(features)
        mu_p, log_var_p = model.prior.encode(targets.values[:, 1:])
    q, p = Normal(mu, (0.5 * log_var).exp()), Normal(mu_p, (0.5 * log_var_p).exp())
    wanted = kl_divergence(q, p).sum(dim=-1).mean()
    numbers = update(learner, batch, targets.values)
    torch.testing.assert_close(numbers["omg_kl_loss"], wanted, rtol=1e-4, atol=1e-5)
    assert abs(kl_divergence(p, q).sum(dim=-1).mean() - wanted) > 0.1 * wanted


@pytest.mark.parametrize("model", ["naive", "liam", "place_prediction", "omg"])
def test_the_policy_is_trained_under_the_acting_models_condition_if_another_copy_is_trained(prior, model):
    """``model_tau``: the trained copy differs from the one that acts."""
    runner, learner = parts(prior, model, model_tau=0.1, model_lr=1e-2, vae_lr=1e-2)
    learner.train(runner.run(), runner.t_env, 0)
    conditions, step = [], learner.model.step

    def recorded(obs, carry):
        acted, carry = step(obs, carry)
        conditions.append(acted)
        return acted, carry

    learner.model.step = recorded
    batch = runner.run()
    acted = torch.stack(conditions[: runner.length], dim=1)
    given = []
    learner.base.train = lambda batch, t_env, episode: given.append(batch.condition)
    learner.train(batch, runner.t_env, 0)
    torch.testing.assert_close(given[0].acting[:, :-1], acted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(given[0].critic[:, :-1], acted, atol=1e-5, rtol=1e-4)
    trained = learner.trained.condition_of(learner.trained.features(batch))[:, :-1]
    assert not torch.allclose(trained, acted, atol=1e-3)


def test_the_value_of_a_subgoal_is_the_mean_over_actions_and_not_the_best(prior):
    runner, learner = parts(prior, base="pqn_learner", action_selector="epsilon_greedy")
    batch = runner.run()
    values = torch.tensor([1.0, 5.0, 0.0, 2.0, 3.0, 1.0])
    learner.mac.head.forward = lambda features, goals: values.expand(*goals.shape[:-1], -1)
    found = learner.base.goal_values(batch, torch.randn(6, 9, 1, 3, 4))
    assert found.shape == (6, 9, 1, 3) and torch.equal(found, torch.full_like(found, 2.0))


def test_liam_predicts_the_observations_and_actions_of_the_present_step(prior):
    """The error of a perfect prediction of this step's observations is 0; the next step's are others."""
    runner, learner = parts(prior, "liam", copies=8)
    batch, targets = conditioned(learner, runner)
    model = learner.trained
    state = batch["state"].flatten(2)
    for shift in (0, 1):
        present = state[:, shift : shift + 9, model.seen]
        learner.model.stats.update(state[:, :-1, model.seen].flatten(0, 1))
        model.observations.forward = lambda hidden, present=present: model.stats.normalise(present, 10.0)[:, :, None]
        update_numbers = model.loss(batch, model.features(batch)[:, :-1], targets.values, torch.ones(8, 9, 1))[1]
        assert (update_numbers["model_recon_loss"] < 1e-6) == (shift == 0)
    ends = batch.ends
    last = model.last_actions
    following = batch["obs"][:, 1:].clone()
    following[ends.copy, ends.step] = ends.obs
    assert torch.equal(targets.values[..., 0, :], following[..., last])


def test_epsilon_of_the_mixture(prior):
    _, learner = parts(prior, omg_anneal_time=100)
    assert [learner.model.epsilon(t) for t in (0, 50, 200)] == [linear(1.0, 0.0, 100, t) for t in (0, 50, 200)]
    assert learner.model.epsilon(0) == 1.0 and learner.model.epsilon(200) == 0.0
    assert parts(prior, omg_input="prior")[1].model.epsilon(10**6) == 1.0
    assert parts(prior, omg_input="inferred")[1].model.epsilon(0) == 0.0
