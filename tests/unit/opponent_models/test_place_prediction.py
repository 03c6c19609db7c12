"""Place prediction: a probability for each place of each opponent."""

from dataclasses import replace

import pytest
import torch
from model_parts import conditioned, parts, update
from omarl.opponent_models.horizon import states_reached
from omarl.opponent_models.place_prediction import PlaceModel
from torch.nn import functional as F


def places(prior, **values):
    return parts(prior, "place_prediction", **values)


def one_hot(codes):
    """Targets of an opponent that is at one place, now and later: int64 [E, T, M] -> [E, T, M, 2, 5]."""
    return F.one_hot(codes, 5).float()[..., None, :].expand(-1, -1, -1, 2, -1)


def predicted(model, batch):
    """The probabilities of the only opponent's places, [E, T+1, 5]."""
    return model.condition_of(model.features(batch))[:, :, 0]


def test_states_are_coded_as_the_nearest_place(prior):
    _, learner = places(prior)
    model = learner.model
    centres = torch.tensor([[0.0, 0.0], [2.0, 3.0], [7.0, 7.0], [4.0, 1.0], [6.0, 0.0]])
    model.codebook.centres[0] = centres
    states = torch.zeros(3, model.info.state_shape)
    states[..., model.places] = torch.tensor([[6.0, 1.0], [3.0, 3.0], [7.0, 6.0]])
    codes = model.codebook.codes(model.places_in(states))
    assert codes.tolist() == [[4], [1], [2]]
    assert model.codebook.vectors(codes)[:, 0].tolist() == [[6.0, 0.0], [2.0, 3.0], [7.0, 7.0]]


def test_k_means_computes_the_places_from_the_first_rollout_and_they_are_saved(prior):
    runner, learner = places(prior, copies=32)
    learner.train(runner.run(), runner.t_env, 0)
    centres = learner.model.codebook.centres.clone()
    assert centres.min() >= 0 and centres.max() <= 7 and len(centres[0].unique(dim=0)) == 5
    learner.train(runner.run(), runner.t_env, 0)
    assert torch.equal(centres, learner.model.codebook.centres)
    assert any(name == "model.codebook.centres" for name in learner.mac.kept.state_dict())  # stored in agent.th


def test_targets_are_the_shares_of_the_horizon_at_each_place(prior):
    runner, learner = places(prior, model_horizon=3, copies=32)
    learner.train(runner.run(), runner.t_env, 0)
    batch, targets = conditioned(learner, runner)
    codes = learner.model.codebook.codes(learner.model.places_in(states_reached(batch)))  # [E, T, M]
    over = (batch["terminated"] + batch["truncated"])[:, :-1, 0] > 0
    assert over[:, :-1].any() and targets.values.shape == (32, 9, 1, 2, 5)
    for e in range(32):
        for t in range(9):
            wanted, steps = torch.zeros(5), 0
            for k in range(t, min(t + 3, 9)):
                wanted[codes[e, k, 0]] += 1
                steps += 1
                if over[e, k]:
                    break
            torch.testing.assert_close(targets.values[e, t, 0, 0], wanted / steps)
            assert targets.complete[e, t] == (steps == 3 or bool(over[e, t : t + 3].any()))


def test_targets_contain_the_present_place(prior):
    runner, learner = places(prior, copies=8)
    learner.train(runner.run(), runner.t_env, 0)
    batch, targets = conditioned(learner, runner)
    model = learner.model
    now = model.codebook.codes(model.places_in(batch["state"][:, :-1].flatten(2)))
    assert torch.equal(targets.values[..., 1, :].argmax(dim=-1), now)


def test_predictions_converge_to_frequencies(prior):
    """If a fair coin decides between two places, the model predicts one half for each."""
    runner, learner = places(prior, model_lr=1e-2, copies=64)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    for _ in range(150):
        update(learner, batch, one_hot(3 * torch.randint(2, (64, 9, 1))))
    odds = predicted(learner.model, batch)
    assert (odds.sum(dim=-1) - 1.0).abs().max() < 1e-5
    assert odds[..., 0].mean() == pytest.approx(0.5, abs=0.05) and odds[..., 3].mean() == pytest.approx(0.5, abs=0.05)


def test_each_step_is_trained_on_its_own_target(prior):
    """With the present place as target, the model learns to report it for this step and this copy."""
    runner, learner = places(prior, model_lr=1e-2, copies=64, model_hidden_dim=32)
    learner.train(runner.run(), runner.t_env, 0)
    model = learner.model

    def true_places(batch):
        return model.codebook.codes(model.places_in(batch["state"][:, :-1].flatten(2)))

    for _ in range(80):
        batch = runner.run()
        update(learner, batch, one_hot(true_places(batch)))
    batch = runner.run()
    likeliest, true = predicted(model, batch)[:, :-1].argmax(dim=-1), true_places(batch)[..., 0]
    right = (likeliest == true).float().mean()
    assert right > 0.8
    assert (likeliest[:, 1:] == true[:, :-1]).float().mean() < right - 0.1  # the opponent changes places


def test_masked_steps_do_not_count(prior):
    runner, learner = places(prior)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    mask = torch.zeros(6, 9, 1)
    mask[:, :4] = 1
    given, logits = [], learner.model.logits
    learner.model.logits = lambda features: given.append(len(features)) or logits(features)
    update(learner, batch, one_hot(torch.zeros(6, 9, 1, dtype=torch.long)), mask)
    assert given == [24]


def test_model_learns_where_opponents_are_now(prior):
    runner, learner = places(prior, copies=64, model_lr=1e-2, model_hidden_dim=32)
    learner.train(runner.run(), runner.t_env, 0)
    for _ in range(150):
        batch, targets = conditioned(learner, runner)
        update(learner, batch, targets.values)
    batch, targets = conditioned(learner, runner)
    features, mask = learner.trained.features(batch)[:, :-1], torch.ones(64, 9, 1)
    loss = learner.trained.loss(batch, features, targets.values, mask)[1]["model_present_loss"]
    now = learner.model.encoder.present(batch["obs"][:, :-1])[:, :, 0, 0].argmax(dim=-1)
    right = (now == targets.values[:, :, 0, 1].argmax(dim=-1)).float().mean()
    assert loss < 0.3 and right > 0.9  # without learning 1.6 and 0.2


def without_layout(prior, monkeypatch, **values):
    monkeypatch.setattr("omarl.opponent_models.places.place_indices", lambda info, names: ([], 0.0))
    return places(prior, **values)


def test_without_a_layout_places_are_clusters_of_the_opponents_observations(prior, monkeypatch):
    runner, learner = without_layout(prior, monkeypatch, copies=32)
    learner.train(runner.run(), runner.t_env, 0)
    model, states = learner.model, runner.run()["state"].flatten(2)
    assert model.columns.tolist() == [list(range(15, 30))]  # of the second player, in a state of all observations
    assert model.codebook.centres.shape == (1, 5, 15)
    codes = model.codebook.codes(model.places_in(states))
    changed = states.clone()
    changed[..., :15] += 1.0  # the learner's own observation does not count
    assert torch.equal(model.codebook.codes(model.places_in(changed)), codes) and len(codes.unique()) == 5


def test_without_a_layout_features_are_scaled_by_their_spread_in_the_first_rollout(prior, monkeypatch):
    runner, learner = without_layout(prior, monkeypatch, copies=32)
    batch = runner.run()
    batch["state"][..., 15] = 3.0
    batch["state"][..., 16] *= 100.0
    learner.model.observe(batch)
    spread = learner.model.places_in(batch["state"].flatten(2)).flatten(0, 2).std(dim=0)
    assert spread[0] == 0.0 and spread[1] == pytest.approx(1.0, abs=1e-4)
    assert any(name == "model.scale" for name in learner.mac.kept.state_dict())  # stored in agent.th


def test_without_a_layout_a_hit_is_the_likeliest_code_within_the_horizon(prior, monkeypatch):
    runner, learner = without_layout(prior, monkeypatch, copies=4, model_horizon=2)
    learner.train(runner.run(), runner.t_env, 0)
    model, batch = learner.model, runner.run()
    true = model.true_places(batch["state"].flatten(2))  # [E, T+1, 1]
    monkeypatch.setattr(model, "inferred_places", lambda features: true.roll(-2, dims=1))  # two steps ahead
    counts = model.hits(batch)
    assert counts["hits"].sum() == counts["count"].sum() > 0
    monkeypatch.setattr(model, "inferred_places", lambda features: 7.0 + 0 * features[..., :1])  # no code
    assert model.hits(batch)["hits"].sum() == 0
    drawing = model.draw(batch[0])
    assert drawing.inferred is None and set(drawing.captions) == {"does not pass there"}


def test_observations_of_different_sizes_are_padded_with_zeros(prior, monkeypatch):
    _, learner = without_layout(prior, monkeypatch)
    full = replace(learner.model.info.full, agents=("a", "b", "c"), obs_sizes=(15, 9, 6))
    info = replace(learner.model.info, opponents=("b", "c"), full=full)
    monkeypatch.setattr(PlaceModel.__base__, "__init__", lambda self, scheme, args: known(self, info, learner.model))
    model = PlaceModel(None, None)
    states = torch.arange(30.0)
    assert model.places_in(states)[0].tolist() == list(range(15, 24))
    assert model.places_in(states)[1].tolist() == [*range(24, 30), 0, 0, 0]


def known(model, info, other):
    """Sets what the constructor of ``PlaceInference`` does."""
    torch.nn.Module.__init__(model)
    model.info, model.config, model.width = info, other.config, other.width
    model.subjects, model.n_subjects, model.places, model.near = info.opponents, 2, [], 0.0
    model.encoder = other.encoder


def test_drawing_shows_the_likeliest_place_and_all_probabilities(prior):
    runner, learner = places(prior, copies=1)
    learner.train(runner.run(), runner.t_env, 0)
    drawing = learner.model.draw(runner.run())
    assert drawing.inferred.shape == (10, 1, 2) and drawing.odds.shape == (10, 5, 3) and drawing.horizon == 5
    best = drawing.odds[:, :, 2].argmax(axis=1)
    for t in range(10):
        assert drawing.inferred[t, 0].tolist() == drawing.odds[t, best[t], :2].tolist()
        assert drawing.odds[t, :, 2].sum() == pytest.approx(1.0, abs=1e-5)
    assert all("pass there" in line or "passes there in" in line for line in drawing.captions)
