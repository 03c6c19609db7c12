"""The learner with an opponent model: conditions, gradients, stored rollouts, checkpoints, refused keys."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import RecordingLogger, args_for
from model_parts import condition, conditioned, numbers_of_actions, parts, update
from omarl.components.episode_batch import make_scheme
from omarl.controllers.model_controller import ModelMAC
from omarl.envs.make import make_vec_env
from omarl.games.lookup import layout_of
from omarl.learners.opponent_model_learner import OpponentModelLearner
from omarl.opponents.pool import Member, Pool
from omarl.opponents.pool_env import PoolEnv
from omarl.registry import resolve
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import ConfigError

MODELS = ["omg", "place_prediction", "liam", "naive"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("base", ["ppo_learner", "pqn_learner"])
def test_the_condition_along_a_rollout_equals_that_of_acting(prior, model, base):
    """OMG's mixture has ended: all subgoals are inferred."""
    runner, learner = parts(prior, model, base)
    learner.train(runner.run(), runner.t_env, 0)
    conditions, step = [], learner.model.step

    def recorded(obs, carry):
        acted, carry = step(obs, carry)
        conditions.append(acted)
        return acted, carry

    learner.model.step = recorded
    runner.run()
    conditions.clear()
    batch = runner.run()
    acted = torch.stack(conditions[: runner.length], dim=1)
    condition(learner, batch)
    torch.testing.assert_close(batch.condition.acting[:, :-1], acted, atol=1e-5, rtol=1e-4)


def test_selected_copies_of_a_rollout_keep_their_condition(prior):
    runner, learner = parts(prior, base="pqn_learner", omg_input="prior")
    batch, _ = conditioned(learner, runner)
    part = batch.copies(torch.tensor([4, 1]))
    for name in ("acting", "critic"):
        assert torch.equal(getattr(part.condition, name), getattr(batch.condition, name)[[4, 1]]), name
    assert part.condition.next is None and part.condition.at_ends is None  # targets need the complete rollout


@pytest.mark.parametrize("model", MODELS)
def test_policy_and_model_share_no_gradient(prior, model):
    runner, learner = parts(prior, model)
    policy = [p.detach().clone() for p in learner.mac.parameters()]
    frozen = [p.detach().clone() for p in learner.model.parameters()]
    batch, targets = conditioned(learner, runner)
    learner.base.train(batch, 1, 0)
    assert all(torch.equal(a, b) for a, b in zip(frozen, learner.model.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(policy, learner.mac.parameters(), strict=True))
    policy = [p.detach().clone() for p in learner.mac.parameters()]
    prior_vae = learner.model.prior.vae if model == "omg" else torch.nn.Module()
    vae = [p.detach().clone() for p in prior_vae.parameters()]
    update(learner, batch, targets.values)
    assert all(torch.equal(a, b) for a, b in zip(policy, learner.mac.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(frozen, learner.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(vae, prior_vae.parameters(), strict=True))


@pytest.mark.parametrize("model, number", [("liam", "model_recon_loss"), ("naive", "model_action_accuracy")])
def test_models_learn_to_predict_the_opponents_actions(prior, model, number):
    runner, learner = parts(prior, model, copies=64, model_lr=5e-3, model_hidden_dim=32, epochs=1)
    for _ in range(150):
        learner.train(runner.run(), runner.t_env, 0)
    accuracy = [value for _, value in learner.logger.series("model_action_accuracy")]
    assert np.mean(accuracy[-10:]) > 0.55 > 0.15 + np.mean(accuracy[:3])
    assert learner.logger.series(number)


def test_an_external_model_with_only_a_condition_and_a_loss_trains(prior):
    runner, learner = parts(prior, "outside:MoodModel", copies=16, model_lr=1e-2)
    for _ in range(40):
        learner.train(runner.run(), runner.t_env, 0)
    losses = [value for _, value in learner.logger.series("model_loss")]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    batch = runner.run()
    assert learner.evaluate([batch]) == {}
    assert learner.model.draw(batch).captions == [""] * int(batch["filled"].sum())


@pytest.mark.parametrize("base", ["ppo_learner", "pqn_learner"])
def test_an_external_model_may_have_subgoals_a_selector_and_a_drawing(prior, base):
    """A user's model with all parts of OMG."""
    runner, learner = parts(prior, "outside:MeetingModel", base, copies=16, model_lr=1e-2, model_tau=0.5)
    batch, targets = conditioned(learner, runner)
    assert torch.equal(batch.condition.acting[:, :-1], targets.values)  # the policy is trained on the selected points
    assert (batch.condition.next is None) == (base == "ppo_learner")
    for _ in range(30):
        learner.train(runner.run(), runner.t_env, 0)
    losses = [value for _, value in learner.logger.series("model_loss")]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert learner.evaluate([runner.run()])["meeting_error"] > 0
    drawing = learner.model.draw(runner.run())
    assert drawing.inferred.shape == (10, 1, 2) and drawing.captions[0].startswith("meets at")
    assert learner.state_dict()["updates"] == 120  # saved by the model in addition to its parameters


def test_opponents_actions_are_read_from_the_next_observation(prior):
    runner, learner = parts(prior, "naive")
    batch = runner.run()
    taken = numbers_of_actions(learner.model, batch)
    at = learner.model.last_actions
    e = batch.ends
    assert (taken[e.copy, e.step, 0, 0] == e.obs[:, 0, at].argmax(dim=-1)).all()
    going_on = (batch["terminated"] + batch["truncated"])[:, :-1, 0] == 0
    following = batch["obs"][:, 1:, 0, at].argmax(dim=-1)
    assert (taken[..., 0, 0] == following)[going_on].all()


@pytest.mark.parametrize("model, words", [
    ("omg", {}), ("omg", {"omg_inference": "mlp"}), ("place_prediction", {"model_tau": 0.5}), ("liam", {}),
])  # fmt: skip
def test_training_from_a_state_dict_continues_bit_identically(prior, model, words):
    runner, learner = parts(prior, model, **words)
    learner.train(runner.run(), runner.t_env, 0)
    saved = learner.state_dict()
    _, fresh = parts(prior, model, **words)
    fresh.load_state_dict(saved)
    batch = runner.run()
    results = []
    for each in (learner, fresh):
        torch.manual_seed(3)
        each.train(batch, runner.t_env, 0)
        results.append([p.detach().clone() for p in [*each.mac.parameters(), *each.model.parameters()]])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_files_restore_the_acting_and_the_trained_model(prior, tmp_path):
    """Otherwise the acting model would move towards the untrained parameters."""
    words = {"model": "place_prediction", "model_tau": 0.5}
    runner, learner = parts(prior, **words)
    learner.train(runner.run(), runner.t_env, 0)
    learner.save_models(tmp_path)
    _, fresh = parts(prior, **words)
    fresh.load_models(tmp_path)
    for name, saved in learner.model.state_dict().items():
        assert torch.equal(fresh.model.state_dict()[name], saved), name
        assert torch.equal(fresh.trained.state_dict()[name], saved), name


def test_a_missing_model_or_prior_is_an_error(prior, tmp_path):
    with pytest.raises(ConfigError, match="needs mac=model_mac and a model"):
        parts(prior, None)
    with pytest.raises(ConfigError, match=r"source: '.*' has no subgoal prior; make the pool with prior=RUN"):
        parts(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no subgoal prior for this environment"):
        parts(prior, vae_latent_dim=8)


PLACES, OBJECTS = {"model": "place_prediction"}, {"model": "object_prediction", "information": ("actions", "offsets")}


@pytest.mark.parametrize("words, message", [
    ({"base": "q_learner"}, "base_learner: q_learner learns from whole episodes"),
    ({"critic_use_rnn": True}, "critic_use_rnn: a recurrent critic cannot value subgoals"),
    ({"base": "pqn_learner", "condition_at": "input"}, r"condition_at: pqn_learner values the next .* take head"),
    ({**PLACES, "model_memory": 2, "model_horizon": 10}, "model_horizon: 10 steps are more than the 9 consecutive"),
    ({**OBJECTS, "model_horizon": 10}, "model_horizon: 10 steps are more than the 9 consecutive"),
    ({"model_memory": 2, "omg_horizon": 10}, "omg_horizon: 10 steps are more than the 9 consecutive"),
    ({"rollout_steps": 1}, "rollout_steps: none of the 1 consecutive steps of a model update counts"),
    ({"model_memory": 4, "omg_horizon": 9}, "rollout_steps: none of the 9 consecutive steps of a model update"),
    ({**PLACES, "model_memory": 2, "model_window": 3}, "model_window: 3 consecutive rollouts are more than"),
])  # fmt: skip
def test_keys_that_prevent_training_of_the_model_are_refused(prior, words, message):
    with pytest.raises(ConfigError, match=message):
        parts(prior, **words)


def test_keys_just_within_these_limits_are_accepted(prior):
    parts(prior, critic_use_rnn=True, omg_selection="random")
    parts(prior, "liam", critic_use_rnn=True)
    parts(prior, "liam", base="pqn_learner", condition_at="input")
    parts(prior, **PLACES, model_memory=2, model_window=2, model_horizon=18)
    parts(prior, model_memory=4, omg_horizon=8)
    parts(prior, **OBJECTS, model_horizon=9)


def test_liams_statistics_move_to_the_device_of_its_parameters(prior):
    _, learner = parts(prior, "liam")
    assert learner.model.to("meta").stats.mean.device.type == "meta"


def test_only_omg_reads_keys_of_the_vae():
    for name in ("liam", "naive", "place_prediction", "object_prediction"):
        names = {spec.name for spec in fields(resolve("opponent_model", name).Config)}
        assert "model_lr" in names and not any(each.startswith(("vae_", "omg_")) for each in names), name
    names = {spec.name for spec in fields(resolve("opponent_model", "omg").Config)}
    assert {"vae_lr", "vae_latent_dim", "omg_vae_alpha", "omg_horizon"} <= names
    assert not names & {"model_lr", "vae_window", "vae_batch_states", "vae_likelihood", "vae_formula"}


def outputs_in_acting(runner):
    """A rollout, and the policy's outputs [E, T, N, U] when it acted."""
    seen, mac = [], runner.mac
    select_action = mac.action_selector.select_action

    def recorded(outputs, *args, **kwargs):
        seen.append(outputs)
        return select_action(outputs, *args, **kwargs)

    mac.action_selector.select_action = recorded
    batch = runner.run()
    mac.action_selector.select_action = select_action
    return batch, torch.stack(seen, dim=1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("place", ["head", "input"])
def test_the_policy_is_trained_on_the_condition_of_acting(prior, model, place):
    runner, learner = parts(prior, model, condition_at=place)
    learner.train(runner.run(), runner.t_env, 0)
    batch, acted = outputs_in_acting(runner)
    condition(learner, batch)
    with torch.no_grad():
        torch.testing.assert_close(learner.mac.unroll(batch)[:, :-1], acted, atol=1e-5, rtol=1e-4)
        features = learner.mac.features(batch)
        batch.condition = batch.condition._replace(acting=torch.randn_like(batch.condition.acting))
        depends = not torch.allclose(learner.mac.features(batch), features)
    assert depends == (
        place == "input"
    )  # with a condition only at the head, the agents' recurrent state does not depend on it


@pytest.mark.parametrize("model", MODELS)
def test_the_acting_model_moves_towards_the_trained_one(prior, model):
    runner, learner = parts(prior, model, model_tau=0.25, model_epochs=1, model_minibatches=1)
    acting = [p.detach().clone() for p in learner.model.parameters()]
    trained = [p.detach().clone() for p in learner.trained.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(acting, trained, strict=True))
    learner.train(runner.run(), runner.t_env, 0)
    moved = zip(acting, learner.model.parameters(), learner.trained.parameters(), strict=True)
    for before, now, updated in moved:
        torch.testing.assert_close(now, before + 0.25 * (updated - before))
    assert any(not torch.equal(a, b) for a, b in zip(acting, learner.model.parameters(), strict=True))


@pytest.mark.parametrize("base", ["ppo_learner", "pqn_learner"])
def test_subgoals_of_rollouts_from_memory_are_selected_by_value(prior, base):
    """Rollouts in memory have no condition; Q-learning values subgoals with the policy's own head."""
    runner, learner = parts(prior, base=base, model_memory=4, omg_horizon=3)
    weights = [p.detach().clone() for p in learner.trained.parameters()]
    for _ in range(3):
        learner.train(runner.run(), runner.t_env, 0)
    assert not all(torch.equal(a, b) for a, b in zip(weights, learner.trained.parameters(), strict=True))


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_a_checkpoint_contains_the_prior(prior, tmp_path, tau):
    _, learner = parts(prior, model_tau=tau)
    _, other = parts(tmp_path / "nowhere", checkpoint_path="a run", model_tau=tau)
    learner.model.prior.vae.limit = 3.0
    other.load_state_dict(learner.state_dict())
    states = torch.randn(5, learner.model.prior.vae.encoder[0].in_features)
    for mine, its in zip(learner.model.prior.encode(states), other.model.prior.encode(states), strict=True):
        assert torch.equal(mine, its)
    assert not any(p.requires_grad for p in other.model.prior.vae.parameters())
    assert other.trained.prior is other.model.prior


def test_updates_use_consecutive_rollouts_from_memory(prior):
    """Four rollouts of nine steps, in windows of three rollouts: 27 steps, without those of incomplete horizons."""
    words = {"model_memory": 4, "model_window": 3, "model_epochs": 2, "model_horizon": 4}
    runner, learner = parts(prior, "place_prediction", copies=8, **words)
    lengths, cut, updated = [], [], learner.trained.update

    def recorded(batch, targets, mask):
        lengths.append(batch.max_seq_length - 1)
        cut.append((mask[:, -3:] == 0).any())
        assert targets.shape == (2, lengths[-1], 1, 2, learner.model.codebook.n_codes)
        assert mask.shape == (2, lengths[-1], 1)
        assert mask.any() and (mask[:, :-3] == batch["agent_mask"][:, :-4]).all()
        return updated(batch, targets, mask)

    learner.trained.update = recorded
    for _ in range(5):
        learner.train(runner.run(), runner.t_env, 0)
    assert lengths == [9] * 8 + [18] * 8 + [27] * 24 and any(cut)
    assert learner.logger.series("model_loss")


@pytest.mark.parametrize(("epochs", "copies"), [(0.5, [2, 2]), (1.25, [2] * 5), (0.1, [2]), (2, [2] * 8)])
def test_a_part_of_a_pass_makes_a_part_of_its_updates(prior, epochs, copies):
    runner, learner = parts(prior, "naive", copies=8, model_epochs=epochs, model_minibatches=4)
    found, updated = [], learner.trained.update
    learner.trained.update = lambda batch, *given: found.append(batch.batch_size) or updated(batch, *given)
    learner.train(runner.run(), runner.t_env, 0)
    assert found == copies


@pytest.mark.parametrize(("epochs", "copies"), [(0.5, [4]), (1, [8]), (1.25, [8])])
def test_targets_are_those_of_the_copies_that_an_update_uses(prior, epochs, copies):
    """They are computed for the drawn copies only, unless a pass uses all."""
    runner, learner = parts(prior, "naive", copies=8, model_epochs=epochs, model_minibatches=4)
    found, made, updated, rollout = [], learner.model.targets, learner.trained.update, runner.run()
    every = made(rollout, learner.base).values

    def update(batch, targets, mask):
        same = (rollout["obs"][None] == batch["obs"][:, None]).flatten(2).all(dim=-1)  # [copies of the update, E]
        torch.testing.assert_close(targets, every[same.int().argmax(dim=-1)])
        assert (same.sum(dim=-1) == 1).all() and mask.shape[0] == len(same)
        return updated(batch, targets, mask)

    learner.trained.update = update
    learner.model.targets = lambda batch, base: found.append(batch.batch_size) or made(batch, base)
    learner.train(rollout, runner.t_env, 0)
    assert found == copies


@pytest.mark.parametrize(("model", "size"), [("place_prediction", 5), ("naive", 5), ("liam", 16)])
def test_a_subset_of_the_opponents_can_be_modelled(model, size):
    """The model predicts actions or places of simple_tag's prey, one of three opponents."""
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched", "max_cycles": 12}, 6, 0, 0)
    names = ("guard+clockwise", "chase+pair_any")
    pool = Pool(Path(), "p", {}, tuple(Member(n, "script", "scripted", "train", script=n) for n in names))
    env = PoolEnv(env, pool, "train", ["adversary_0"], ["actions"], 0, False)
    args = args_for(
        env.info, env_info=env.info, opponent_model=model, rollout_steps=9, model_hidden_dim=8, agent="features",
        obs_last_action=False, action_selector="softmax", t_max=1000, model_subjects="agent_*",
        model_places=5,
    )  # fmt: skip
    scheme, groups = make_scheme(env.info, False)
    mac = ModelMAC(scheme, groups, args)
    learner = OpponentModelLearner(mac, scheme, RecordingLogger(), args)
    runner = RolloutRunner(env, mac, scheme, groups, args)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    assert mac.model.subjects == ("agent_0",) and mac.condition_dim == size
    taken = numbers_of_actions(mac.model, batch)
    assert taken.shape == (6, 9, 1, 1)
    prey = batch["obs"][:, 1:, 0, mac.model.last_actions][..., 10:].argmax(dim=-1)
    going_on = (batch["terminated"] + batch["truncated"])[:, :-1, 0] == 0
    assert (taken[..., 0, 0] == prey)[going_on].all()
    if model == "place_prediction":
        assert mac.model.codebook.centres.shape == (1, 5, 2)
        assert mac.model.places == layout_of(env.info.full).places[3].tolist()
    args.model_subjects = "wolf_*"
    with pytest.raises(ConfigError, match=r"model_subjects: wolf_\* names none of adversary_1, adversary_2, agent_0"):
        ModelMAC(scheme, groups, args)
