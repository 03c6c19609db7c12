"""Opponents and opponent models in environments with every kind of action."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fakes import args_for, pool_of
from kinds import DIES_AT, SPACES, STEPS
from model_parts import connected
from omarl.components.observed_actions import ObservedActions
from omarl.envs.make import make_vec_env
from omarl.modules.action_distributions import LOG_STD_LIMIT
from omarl.opponents.pool_env import PoolEnv
from omarl.runners.episode_runner import EpisodeRunner
from omarl.runners.rollout_runner import RolloutRunner

ACTS = torch.tensor([[t < DIES_AT, True] for t in range(STEPS)])  # of ``frail`` and ``tough``


def against(kind, model="naive", runner=RolloutRunner, copies=2, **values):
    """A runner and a learner against opponents that always play the first choices and the numbers 0."""
    vec = make_vec_env("kinds:Kinds", {"kind": kind}, copies, 0, 0)
    vec = PoolEnv(vec, pool_of("still"), "train", ["learner"], ["actions", "next_actions"], 0, False)
    args = args_for(
        vec.info, env_info=vec.info, opponent_model=model, rollout_steps=STEPS, model_hidden_dim=8, agent="features",
        obs_last_action=False, action_selector="softmax", t_max=1000, model_places=2, model_horizon=2,
        learner_log_interval=1, entropy_coef=0.0,
    )  # fmt: skip
    vars(args).update(values)
    return connected(vec, args, runner)


@pytest.mark.parametrize("kind", SPACES)
def test_who_acted_is_known_although_the_action_is_zero(kind):
    runner, learner = against(kind)
    model, batch = learner.model, runner.run()
    info = runner.env.info
    taken = model.actions_taken(batch)
    assert torch.equal(model.acted(batch)[0], ACTS) and torch.equal(model.acted(batch)[1], ACTS)
    assert not taken[:, ~ACTS.any(dim=1)].any() and not taken[:, DIES_AT:, :, 0].any()
    assert not model.observed.actions(taken)[:, ACTS[:, 0], :, 0].any()
    ahead = batch["obs"][0, :STEPS, 0, info.information_slice("next_actions")].unflatten(-1, (2, -1))
    assert torch.equal(model.observed.acted(ahead), ACTS)
    assert not batch["obs"][0, 0, 0, info.information_slice("actions")].any()


@pytest.mark.parametrize("kind", SPACES)
def test_observed_actions_are_those_that_were_taken(kind):
    """Random permitted actions survive the way through the observation; numbers that an agent lacks are 0."""
    info = make_vec_env("kinds:Kinds", {"kind": kind}, 2, 0, 0).info
    observed, rng = ObservedActions(info), np.random.default_rng(0)
    own = info.own_parts()
    choices = [rng.integers(0, size, (2, 3)) for size in info.actions.heads or (() if info.actions.limits else (3,))]
    numbers = [rng.uniform(0.1, 1.0, (2, 3)) for _ in info.actions.limits]
    actions = np.stack([*choices, *numbers], axis=-1).astype(info.actions.dtype)
    given = actions.reshape(2, 3, *info.actions.shape)
    found = observed.actions(torch.from_numpy(observed.features(given, np.ones((2, 3), bool)))).numpy()
    first = len(choices)
    np.testing.assert_array_equal(found[..., :first], actions[..., :first])
    lacks = ~own[:, info.n_actions - len(numbers) :]
    np.testing.assert_allclose(found[..., first:], np.where(lacks, 0.0, actions[..., first:]))
    assert lacks.any() == (kind in ("continuous", "dict", "mixed"))


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("model", ["naive", "liam", "place_prediction"])
def test_models_train_and_are_tested(kind, model):
    runner, learner = against(kind, model)
    for _ in range(3):
        learner.train(runner.run(), runner.t_env, 0)
    tested = learner.evaluate([against(kind, model, EpisodeRunner)[0].run()])
    logged = {name for name, _, _ in learner.logger.rows}
    predicts = model != "place_prediction"
    has_choices, has_numbers = runner.env.info.actions.has_choices, bool(runner.env.info.actions.limits)
    for names in (logged, tested):
        assert ("model_action_accuracy" in names) == (predicts and has_choices)
        assert ("model_action_nll" in names) == (predicts and has_numbers)
    assert all(math.isfinite(value) for _, value, _ in learner.logger.rows)


@pytest.mark.parametrize("kind", SPACES)
def test_the_loss_counts_opponents_that_acted_and_numbers_that_they_have(kind):
    runner, learner = against(kind)
    batch, model = runner.run(), learner.model
    taken = model.actions_taken(batch)
    outputs = torch.randn(2, STEPS, 1, 2, model.n_outputs, requires_grad=True)
    loss, _, known = model.action_loss(outputs.flatten(-2), taken)
    assert torch.equal(known[0, :, 0] > 0, ACTS.any(dim=1))
    (gradient,) = torch.autograd.grad(loss.sum(), outputs)
    moved = gradient[0, :, 0].abs() > 0  # [T, M, P]
    assert torch.equal(moved.any(dim=-1), ACTS)
    info, own = runner.env.info.full, torch.from_numpy(runner.env.info.full.own_parts()[1:])
    first = info.n_actions - len(info.actions.limits)
    assert torch.equal(moved[0, :, first : info.n_actions], own[:, first:])
    assert torch.equal(moved[0, :, info.n_actions :], own[:, first:])  # log standard deviations


def test_the_likelihood_of_numbers_is_that_of_a_normal_distribution():
    runner, learner = against("continuous")
    batch, model = runner.run(), learner.model
    outputs = torch.zeros(2, STEPS, 1, 2, 4)  # means, log standard deviations
    outputs[..., :2], outputs[..., 2:] = 0.5, 0.3
    loss = model.action_loss(outputs.flatten(-2), model.actions_taken(batch))[0]
    log_std = LOG_STD_LIMIT * math.tanh(0.3 / LOG_STD_LIMIT)
    one = -torch.distributions.Normal(0.5, math.exp(log_std)).log_prob(torch.tensor(0.0))  # of one number
    torch.testing.assert_close(loss[0, :, 0], torch.where(ACTS[:, 0], 1.5, 1.0) * one)  # two numbers, and one


def test_the_chance_level_is_the_likelihood_under_the_frequencies_of_the_actions():
    """A model that predicts the mean and standard deviation, or the frequencies, of all actions is at chance."""
    runner, learner = against("mixed", runner=EpisodeRunner, copies=8)
    batch, model = runner.run(), learner.model
    taken = model.actions_taken(batch).clone()
    n = model.observed.n_actions  # three choices and two numbers
    torch.manual_seed(3)
    acted = model.observed.acted(taken)
    taken[..., 0, 3:n] = torch.randn_like(taken[..., 0, 3:n]) * 0.5 + 0.2
    taken[..., 1, :3] = torch.nn.functional.one_hot(torch.randint(0, 3, taken.shape[:-2]), 3).float()
    taken[~acted] = 0.0
    model.actions_taken = lambda batch: taken
    outputs = torch.zeros(8, STEPS, 1, 2, model.n_outputs)
    frail, tough = taken[..., 0, :][acted[..., 0]], taken[..., 1, :][acted[..., 1]]
    mean, std = frail[:, 3:n].mean(dim=0), frail[:, 3:n].std(dim=0, unbiased=False)
    outputs[..., 0, 3:n], outputs[..., 0, n:] = mean, LOG_STD_LIMIT * torch.atanh(std.log() / LOG_STD_LIMIT)
    outputs[..., 0, 0] = 50.0  # its only choice
    outputs[..., 1, :3] = (tough[:, :3].mean(dim=0) + 1e-9).log()
    model.action_outputs = lambda features: outputs.flatten(-2)
    found = model.evaluate([batch])
    # ``action_loss`` is a mean over opponents in each step, the chance level over actions
    by_opponent, actions = model._by_opponent(outputs.flatten(-2)), model.observed.actions(taken)
    log_prob, _ = model.distribution.log_prob_and_entropy(by_opponent, actions, model.own)
    each = -torch.stack([log_prob[..., m][acted[..., m]].mean() for m in range(2)])
    weights = acted.float().mean(dim=(0, 1, 2))
    assert found["model_action_nll_chance"] == pytest.approx(float((each * weights).sum() / weights.sum()), abs=1e-4)


def test_a_model_learns_the_numbers_that_opponents_play():
    runner, learner = against("continuous", model_lr=1e-2)
    losses = []
    for _ in range(60):
        learner.train(runner.run(), runner.t_env, 0)
        losses.append(learner.logger.series("model_action_nll")[-1][1])
    floor = 1.5 * (0.5 * math.log(2 * math.pi) - LOG_STD_LIMIT)  # two numbers, or one, that are always 0
    assert losses[-1] < 0.5 * floor < 0 < losses[0]


@pytest.mark.parametrize("kind", SPACES)
def test_captions_show_predicted_and_taken_actions(kind):
    runner, learner = against(kind, runner=EpisodeRunner, copies=1)
    captions = learner.model.draw(runner.run()).captions
    zero = {"discrete": "0", "heads": "0 0", "bits": "0 0", "continuous": "+0.00 +0.00"}.get(kind, "0 +0.00 +0.00")
    assert captions[0].startswith("frail: predicted ") and f", did {zero}; tough: predicted" in captions[0]
    assert captions[DIES_AT].count(", did ") == 1 and ", did " not in captions[-1]
