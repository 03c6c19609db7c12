"""MeLIBA: its objective against one that is computed step by step, and what the belief learns."""

import math

import numpy as np
import pytest
import torch
from absent import DIES_AT, STEPS
from fakes import args_for, pool_of
from kinds import STEPS as KIND_STEPS
from model_parts import condition, connected, numbers_of_actions, parts
from omarl.envs.make import make_vec_env
from omarl.opponents.pool_env import PoolEnv
from omarl.runners.episode_runner import EpisodeRunner
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import ConfigError
from torch.distributions import Normal, kl_divergence

SMALL = {"meliba_type_dim": 3, "meliba_state_dim": 2, "model_horizon": 4}


def against(scripts=("one", "two"), runner=RolloutRunner, copies=4, kind="", **values):
    """Opponents that always play action 1, or always 2; ``frail`` dies."""
    vec = make_vec_env("kinds:Kinds" if kind else "absent:Mortal", {"kind": kind} if kind else {}, copies, 0, 0)
    vec = PoolEnv(vec, pool_of(*scripts), "train", ["learner"], ["actions"], 0, False)
    args = args_for(
        vec.info, env_info=vec.info, opponent_model="meliba", rollout_steps=STEPS, model_hidden_dim=8,
        agent="features", obs_last_action=False, action_selector="softmax", t_max=1000, learner_log_interval=1,
        entropy_coef=0.0, **SMALL,
    )  # fmt: skip
    vars(args).update(values)
    return connected(vec, args, runner)


def normal(mu, log_var):
    return Normal(mu, (0.5 * log_var).exp())


def same_latents(model, history, seed):
    """The distributions and the samples that ``loss`` draws after ``torch.manual_seed(seed)``."""
    torch.manual_seed(seed)
    of_type = model.belief_about_type(history)
    kind = of_type[0] + (0.5 * of_type[1]).exp() * torch.randn_like(of_type[0])
    of_state = model.belief_about_state(history, kind)
    mind = of_state[0] + (0.5 * of_state[1]).exp() * torch.randn_like(of_state[0])
    return of_type, kind, of_state, mind


@pytest.mark.parametrize("cell", ["gru", "mingru"])
def test_the_objective_is_the_sum_over_the_horizon_minus_both_kls(prior, cell):
    """Computed for each step by itself. Episodes of seven steps begin and end within the rollouts of nine."""
    runner, learner = parts(prior, "meliba", cell=cell, meliba_beta=0.7, **SMALL)
    for _ in range(2):
        learner.train(runner.run(), runner.t_env, 0)
    batch, model = runner.run(), learner.model
    targets, actions = model.actions_taken(batch), numbers_of_actions(model, batch)[:, :, 0, 0]
    begins, ones = batch["begins"][..., 0] > 0, torch.ones(6, 9, 1)
    with torch.no_grad():
        features = model.features(batch)[:, :-1]
        torch.manual_seed(5)
        loss, numbers = model.loss(batch, features, targets, ones)
        of_type, kind, of_state, mind = same_latents(model, features[..., :8], 5)
        likelihood, kl_type, kl_state = [], [], []
        for e in range(6):
            for t in range(9):
                last = next((k for k in range(t + 1, min(t + 4, 9)) if begins[e, k]), min(t + 4, 9))
                seen = model.fc(batch["obs"][e, t:last, 0])[None]
                logits = model.decode(kind[e, t], mind[e, t], seen)[0]
                taken = logits.log_softmax(dim=-1)[torch.arange(last - t), actions[e, t:last]]
                likelihood.append(-taken.sum())
                now = normal(of_type[0][e, t, 0], of_type[1][e, t, 0])
                standard = Normal(torch.zeros(3), torch.ones(3))
                if begins[e, t]:
                    kl_type.append(kl_divergence(now, standard).sum())
                elif t:
                    kl_type.append(kl_divergence(now, normal(of_type[0][e, t - 1, 0], of_type[1][e, t - 1, 0])).sum())
                state = normal(of_state[0][e, t, 0], of_state[1][e, t, 0])
                kl_state.append(kl_divergence(state, Normal(torch.zeros(2), torch.ones(2))).sum())
    kl_type, kl_state, likelihood = (torch.stack(each).mean() for each in (kl_type, kl_state, likelihood))
    torch.testing.assert_close(numbers["model_kl_type"], kl_type, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(numbers["model_kl_state"], kl_state, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, likelihood + 0.7 * (kl_type + kl_state), rtol=1e-4, atol=1e-5)
    assert begins[:, 1:-1].any() and not begins[:, 0].all() and kl_type > 0


@pytest.mark.parametrize("words", [{}, {"condition_at": "input"}, {"cell": "mingru"}])
def test_the_belief_along_a_rollout_is_that_of_acting(prior, words):
    runner, learner = parts(prior, "meliba", **SMALL, **words)
    for _ in range(2):
        learner.train(runner.run(), runner.t_env, 0)
    seen, step = [], learner.model.step

    def recorded(obs, carry):
        found, carry = step(obs, carry)
        seen.append(found)
        return found, carry

    learner.model.step = recorded
    batch = runner.run()
    acted = torch.stack(seen[: runner.length], dim=1)
    condition(learner, batch)
    assert acted.shape == (6, 9, 1, 10)
    torch.testing.assert_close(batch.condition.acting[:, :-1], acted, atol=1e-5, rtol=1e-4)


def test_the_condition_has_means_and_log_variances_for_the_mean_type():
    _, learner = against()
    model = learner.model
    features = torch.randn(2, 1, 8)
    mu, log_var, mu_t, log_var_t = model.condition_of(features).split([3, 3, 2, 2], dim=-1)
    for found, wanted in zip((mu, log_var), model.belief_about_type(features), strict=True):
        torch.testing.assert_close(found, wanted)
    for found, wanted in zip((mu_t, log_var_t), model.belief_about_state(features, mu), strict=True):
        torch.testing.assert_close(found, wanted)


def test_dead_opponents_are_not_predicted():
    """The gradient by the outputs for ``frail`` is 0 for all steps after its death."""
    runner, learner = against()
    batch, model, kept = runner.run(), learner.model, []
    decode = model.decode

    def recorded(*args):
        kept.append(decode(*args))
        kept[0].retain_grad()
        return kept[0]

    model.decode = recorded
    targets = model.actions_taken(batch)
    model.loss(batch, model.features(batch)[:, :-1], targets, torch.ones(4, STEPS, 1))[0].backward()
    moved = kept[0].grad.unflatten(-1, (2, 3)).abs().sum(dim=-1)[0, :, 0] > 0  # [T, H, M]
    for t in range(STEPS):
        for k in range(4):
            assert moved[t, k].tolist() == [t + k < DIES_AT, t + k < STEPS]


def test_it_learns_the_type_of_the_opponents():
    """Opponents of two types: their future actions are known after the first one, and so is the type."""
    runner, learner = against(copies=32, model_lr=1e-2, meliba_beta=0.05)
    for _ in range(35):
        learner.train(runner.run(), runner.t_env, 0)
    series = {name: [v for _, v in learner.logger.series(name)] for name in
              ("model_loss", "model_horizon_accuracy", "model_action_accuracy", "model_kl_type")}  # fmt: skip
    assert series["model_loss"][-1] < 0.5 * series["model_loss"][0]
    assert np.mean(series["model_horizon_accuracy"][-3:]) > 0.85
    batch = runner.run()
    condition(learner, batch)
    belief, plays = batch.condition.acting[:, 2:STEPS, 0, :3], batch["opponent"][:, 2:STEPS, 0]
    means = [belief[plays == which].mean(dim=0) for which in (0, 1)]
    nearest = ((belief - means[0]).norm(dim=-1) > (belief - means[1]).norm(dim=-1)).long()
    assert (nearest == plays).float().mean() > 0.95
    tester, _ = against(runner=EpisodeRunner)
    assert learner.evaluate([tester.run()])["model_action_accuracy"] > 0.8
    assert learner.model.draw(tester.run()[:1]).captions[2].startswith("frail: predicted")


@pytest.mark.parametrize("kind", ["continuous", "mixed", "heads"])
def test_all_kinds_of_actions_are_predicted(kind):
    runner, learner = against(kind=kind, scripts=("still",), rollout_steps=KIND_STEPS)
    for _ in range(2):
        learner.train(runner.run(), runner.t_env, 0)
    assert learner.logger.rows and all(math.isfinite(v) for _, v, _ in learner.logger.rows)


@pytest.mark.parametrize("words", [{}, {"condition_on": "nothing"}, {"condition_on": "shuffled"},
                                   {"model_memory": 3, "model_window": 2, "model_tau": 0.5}])  # fmt: skip
def test_training_continues_bit_identically(prior, words):
    words = {**SMALL, **words}
    runner, learner = parts(prior, "meliba", **words)
    learner.train(runner.run(), runner.t_env, 0)
    saved = learner.state_dict()
    _, fresh = parts(prior, "meliba", **words)
    fresh.load_state_dict(saved)
    batch, results = runner.run(), []
    for each in (learner, fresh):
        torch.manual_seed(3)
        each.train(batch, runner.t_env, 0)
        results.append([p.detach().clone() for p in [*each.mac.parameters(), *each.model.parameters()]])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_horizon_beyond_the_rollout_is_refused(prior):
    with pytest.raises(ConfigError, match="model_horizon: 10 steps are more than the 9 consecutive"):
        parts(prior, "meliba", model_horizon=10)
