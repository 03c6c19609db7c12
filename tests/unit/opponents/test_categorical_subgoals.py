"""Subgoals that are places, each with its odds."""

import pytest
import torch
from model_parts import CATEGORICAL, parts
from omarl.learners.subgoals import PlacePrior
from omarl.types import ConfigError


def test_places_in_a_states_stead(prior):
    """What is nearest in the codebook is told one-hot, and decodes to that place."""
    _, learner = parts(prior, **CATEGORICAL)
    assert isinstance(learner.prior, PlacePrior)
    places = torch.tensor([[0.0, 0.0], [2.0, 3.0], [7.0, 7.0], [4.0, 1.0], [6.0, 0.0]])
    learner.model.codebook.centres[0] = places
    states = torch.zeros(2, 3, learner.prior.state_dim)
    states[..., learner.prior.places] = torch.tensor([[6.0, 1.0], [3.0, 3.0], [7.0, 6.0]])
    odds, _ = learner.prior.encode(states)
    assert odds.shape == (2, 3, 5) and odds[0].argmax(dim=-1).tolist() == [4, 1, 2] and odds.sum() == 6
    decoded = learner.prior.decode(0.4 * odds + 0.1)
    assert decoded.shape == states.shape
    assert decoded[1][:, learner.prior.places].tolist() == [[6.0, 0.0], [2.0, 3.0], [7.0, 7.0]]
    assert decoded.count_nonzero() == 2 * 5  # nothing else
    spread = learner.prior.odds(odds)
    assert spread.shape == (2, 3, 5, 3) and torch.equal(spread[1, 2, :, :2], places)
    assert torch.equal(spread[..., 2], odds)


def test_the_codebook_is_made_once_and_of_what_opponents_do(prior):
    runner, learner = parts(prior, copies=32, **CATEGORICAL)
    learner.train(runner.run(), runner.t_env, 0)
    centres = learner.model.codebook.centres.clone()
    assert centres.min() >= 0 and centres.max() <= 7 and len(centres[0].unique(dim=0)) == 5
    learner.train(runner.run(), runner.t_env, 0)
    assert torch.equal(centres, learner.model.codebook.centres)
    assert any(name == "model.codebook.centres" for name in learner.mac.kept.state_dict())  # agent.th holds it


def test_odds_come_to_be_frequencies(prior):
    """Taught where a coin sends opponents, the model says one half; a Gaussian would say between."""
    runner, learner = parts(prior, vae_lr=1e-2, copies=64, **CATEGORICAL)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    ends = learner.model.codebook.centres[0][[0, 3]]
    for _ in range(150):
        states = torch.zeros(64, 9, 1, learner.prior.state_dim)
        states[..., learner.prior.places] = ends[torch.randint(2, (64, 9, 1))]
        learner._update_model(batch, learner.model.actions_taken(batch), states)
    with torch.no_grad():
        odds = learner.model.condition(learner.model.features(batch, learner.mac.split_carry(batch.carry)[1]))
    assert (odds.sum(dim=-1) - 1.0).abs().max() < 1e-5
    assert odds[..., 0].mean() == pytest.approx(0.5, abs=0.05) and odds[..., 3].mean() == pytest.approx(0.5, abs=0.05)


def test_each_step_is_taught_its_own_place(prior):
    """Where the opponent is now can be seen: taught that, the model says it, of this step and of this copy."""
    runner, learner = parts(prior, vae_lr=1e-2, copies=64, model_hidden_dim=32, **CATEGORICAL)
    learner.train(runner.run(), runner.t_env, 0)

    def told_and_true(batch):
        with torch.no_grad():
            odds = learner.model.condition(learner.model.features(batch, learner.mac.split_carry(batch.carry)[1]))
        now = batch["state"][:, :-1].flatten(2)[:, :, None]
        return odds[:, :-1].argmax(dim=-1), learner.prior.codes(now)[..., 0], now

    for _ in range(80):
        batch = runner.run()
        learner._update_model(batch, learner.model.actions_taken(batch), told_and_true(batch)[2])
    told, true, _ = told_and_true(runner.run())
    assert (told == true).float().mean() > 0.8
    assert (told[:, 1:] == true[:, :-1]).float().mean() < 0.75  # it does move from place to place


def test_steps_whose_horizon_is_cut_teach_nothing(prior):
    runner, learner = parts(prior, **CATEGORICAL)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    given, logits = [], learner.model.logits
    learner.student.logits = lambda features: given.append(len(features)) or logits(features)
    states = torch.zeros(6, 9, 1, learner.prior.state_dim)
    shown = torch.zeros(6, 9)
    shown[:, :4] = 1
    learner._update_model(batch, learner.model.actions_taken(batch), states, shown)
    assert given == [24]


def test_where_opponents_are_must_be_known(prior, monkeypatch):
    monkeypatch.setattr("omarl.opponents.models.subgoal.opponents_places", lambda info, names: ([], 0.0))
    with pytest.raises(ConfigError, match="omg_latents: categorical needs a state that says where opponents are"):
        parts(prior, **CATEGORICAL)
