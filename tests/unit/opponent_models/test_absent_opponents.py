"""Dead opponents and those not on turn: no targets, no hits, no observations, in any model."""

import pytest
import torch
from absent import DIES_AT, NAMES, STEPS
from fakes import args_for, pool_of
from model_parts import condition, connected, numbers_of_actions
from omarl.envs.make import make_vec_env
from omarl.opponents.pool_env import PoolEnv
from omarl.runners.episode_runner import EpisodeRunner
from omarl.runners.rollout_runner import RolloutRunner

SUBJECTS = NAMES[1:]
# whether ``frail`` and ``tough`` act at each step
ACTS = {
    "Mortal": [[t < DIES_AT, True] for t in range(STEPS)],
    "Turns": [[NAMES[t % 3] == name for name in SUBJECTS] for t in range(STEPS)],
}


def against(env, model, prior="", runner=RolloutRunner, **values):
    """A runner and a learner against scripts that always play action 1; rollouts are single episodes."""
    vec = make_vec_env(f"absent:{env}", {}, 2, 0, 0)
    vec = PoolEnv(vec, pool_of("one"), "train", ["learner"], ["actions", "next_actions"], 0, False)
    args = args_for(
        vec.info, env_info=vec.info, opponent_model=model, rollout_steps=STEPS, model_hidden_dim=8, agent="features",
        obs_last_action=False, action_selector="softmax", t_max=1000, model_places=2, model_horizon=2, omg_horizon=2,
        source=str(prior), vae_latent_dim=4, vae_hidden_dim=8, omg_selection="next", learner_log_interval=1,
    )  # fmt: skip
    vars(args).update(values)
    return connected(vec, args, runner)


def acts(env):
    return torch.tensor(ACTS[env])


@pytest.mark.parametrize("env", ACTS)
def test_learners_observe_actions_only_of_opponents_that_act(env):
    runner, learner = against(env, "naive")
    batch = runner.run()
    info = runner.env.info
    last = batch["obs"][0, :, 0, info.information_slice("actions")].unflatten(-1, (2, 3))
    ahead = batch["obs"][0, :STEPS, 0, info.information_slice("next_actions")].unflatten(-1, (2, 3))
    assert not last[0].any()
    assert torch.equal(last[1:STEPS].sum(dim=-1) > 0, acts(env)[:-1])
    assert torch.equal(ahead.sum(dim=-1) > 0, acts(env))
    assert (last.argmax(dim=-1)[1:STEPS][acts(env)[:-1]] == 1).all()
    taken = numbers_of_actions(learner.model, batch)[0, :, 0]
    assert torch.equal(taken, torch.where(acts(env), 1, -1))
    assert torch.equal(learner.model.acted(batch)[1], acts(env))


@pytest.mark.parametrize("env", ACTS)
@pytest.mark.parametrize("model", ["naive", "liam"])
def test_actions_of_absent_opponents_are_neither_targets_nor_hits(env, model):
    """Logits that favour action 0 are never right; those that favour action 1 always are."""
    runner, learner = against(env, model, runner=EpisodeRunner)
    batch = runner.run()
    steps = acts(env).any(dim=1)
    for action, accuracy in ((0, 0.0), (1, 1.0)):
        logits = torch.zeros(2, STEPS, 1, 2, 3)
        logits[..., action] = 20.0
        learner.model.action_outputs = lambda features, logits=logits: logits.flatten(-2)
        counts = learner.model.hits(batch)
        assert counts["count"].tolist() == [steps.long().tolist()] * 2
        assert counts["hits"].sum() == accuracy * counts["count"].sum()
        loss, correct, known = learner.model.action_loss(logits.flatten(-2), learner.model.actions_taken(batch))
        assert torch.equal(known[0, :, 0] > 0, steps) and torch.equal(correct, accuracy * known)
        assert not loss[:, ~steps].any() and ((loss[:, steps] > 19) == (action == 0)).all()


@pytest.mark.parametrize("env", ACTS)
def test_naive_loss_and_gradient_come_only_from_acting_opponents(env):
    runner, learner = against(env, "naive")
    batch, targets = runner.run(), None
    targets = learner.model.targets(batch, learner.base).values
    features = torch.randn(2, STEPS, 1, 8, requires_grad=True)
    loss, numbers = learner.model.loss(batch, features, targets, torch.ones(2, STEPS, 1))
    (gradient,) = torch.autograd.grad(loss, features)
    assert torch.equal(gradient.abs().sum(dim=-1)[0, :, 0] > 0, acts(env).any(dim=1))
    assert 0 <= numbers["model_action_accuracy"] <= 1
    by_opponent = learner.model.action_outputs(features).unflatten(-1, (2, 3)).log_softmax(dim=-1)[..., 1]
    weight = acts(env).float() / acts(env).sum(dim=-1, keepdim=True).clamp(min=1)
    wanted = -(by_opponent[:, :, 0] * weight).sum() / 2 / acts(env).any(dim=1).sum()
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("env", ACTS)
def test_liam_reconstructs_only_observations_of_acting_opponents(env):
    runner, learner = against(env, "liam")
    batch, model = runner.run(), learner.model
    targets = model.targets(batch, learner.base).values
    mask, features = torch.ones(2, STEPS, 1), torch.randn(2, STEPS, 1, 8)
    with torch.no_grad():
        loss, _ = model.loss(batch, features, targets, mask)
        changed = batch["state"].clone().unflatten(-1, (3, 2))
        changed[:, :STEPS, 1:][:, ~acts(env)] += 7.0
        before = model.stats.mean.clone()
        batch.data["state"] = changed.flatten(2)
        again, _ = model.loss(batch, features, targets, mask)
    torch.testing.assert_close(model.stats.mean, before)
    torch.testing.assert_close(again, loss)
    times = torch.arange(1.0, STEPS + 1).double()  # first coordinates, see ``absent.where``
    wanted = torch.stack([times[acts(env)[:, m]].mean() for m in range(2)])
    torch.testing.assert_close(model.stats.mean.view(2, 2)[:, 0], wanted)


@pytest.mark.parametrize("env", ACTS)
def test_places_of_absent_opponents_are_neither_targets_nor_hits(env):
    runner, learner = against(env, "place_prediction", model_horizon=1)
    batch, model = runner.run(), learner.model
    targets = condition(learner, batch).values
    assert torch.equal(targets[0, :, :, 0].sum(dim=-1) > 0, acts(env))
    numbers = model.update(batch, torch.zeros_like(targets), torch.ones(2, STEPS, 1))
    assert numbers["model_loss"] == 0 and numbers["model_grad_norm"] == 0
    runner, learner = against(env, "place_prediction", model_horizon=1, runner=EpisodeRunner)
    batch = runner.run()
    learner.model.inferred_places = lambda features: batch["state"].roll(-1, dims=1)[..., learner.model.places]
    counts = learner.model.hits(batch)  # the guess is the place after the step
    assert counts["count"].tolist() == counts["hits"].tolist() == [acts(env).any(dim=1).long().tolist()] * 2


@pytest.fixture
def prior(tmp_path):
    from omarl.components.vae_trainer import VAEConfig, VAETrainer

    trainer = VAETrainer(6, VAEConfig(vae_latent_dim=4, vae_hidden_dim=8))
    trainer.update(torch.randn(64, 6))
    torch.save(trainer.state_dict(), tmp_path / "vae.th")
    return tmp_path


def test_omg_has_targets_only_where_an_opponent_acts_within_the_horizon(prior):
    runner, learner = against("Mortal", "omg", prior, model_subjects="frail")
    batch = runner.run()
    counts = condition(learner, batch).counts
    assert counts[0].tolist() == [float(t < DIES_AT) for t in range(STEPS)]
    masks, update = [], learner.trained.update
    learner.trained.update = lambda batch, targets, mask: masks.append(mask) or update(batch, targets, mask)
    learner.train(batch, runner.t_env, 0)
    assert all(torch.equal(mask[0, :, 0], counts[0]) for mask in masks)
    runner, learner = against("Turns", "omg", prior, model_subjects="frail")
    counts = condition(learner, runner.run()).counts
    # ``frail`` acts at steps 1, 4 and 7
    assert counts[0].tolist() == [1, 1, 0, 1, 1, 0, 1, 1]


def test_omg_makes_no_update_without_targets(prior):
    runner, learner = against("Mortal", "omg", prior)
    batch = runner.run()
    targets = condition(learner, batch)
    before = [p.detach().clone() for p in learner.trained.parameters()]
    assert learner.trained.update(batch, targets.values, torch.zeros(2, STEPS, 1)) == {}
    assert all(torch.equal(a, b) for a, b in zip(before, learner.trained.parameters(), strict=True))


@pytest.mark.parametrize("model", ["naive", "liam", "place_prediction", "omg"])
@pytest.mark.parametrize("env", ACTS)
def test_models_train_with_absent_opponents(prior, env, model):
    runner, learner = against(env, model, prior)
    for _ in range(3):
        learner.train(runner.run(), runner.t_env, 0)
    losses = learner.logger.series("omg_loss" if model == "omg" else "model_loss")
    assert len(losses) == 3 and all(torch.isfinite(torch.tensor(value)) for _, value in losses)
