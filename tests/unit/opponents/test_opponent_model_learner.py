"""What each part of a learner with an opponent model is told, and what it may touch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import RecordingLogger, args_for
from model_parts import CATEGORICAL, believed, parts
from omarl.components.episode_batch import make_scheme
from omarl.controllers.model_controller import ModelMAC
from omarl.envs.make import make_vec_env
from omarl.learners.opponent_model_learner import OpponentModelLearner
from omarl.opponents.boards import board_of
from omarl.opponents.pool import Member, Pool
from omarl.opponents.pool_env import PoolEnv
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import ConfigError


@pytest.mark.parametrize("words", [{}, CATEGORICAL], ids=["gaussian", "categorical"])
@pytest.mark.parametrize("model", ["subgoal", "liam", "naive"])
@pytest.mark.parametrize("base", ["ppo_learner", "pqn_learner"])
def test_what_is_trained_on_is_what_was_acted_on(prior, model, base, words):
    """Once the mixture is over, the condition along the rollout is, step by step, the one that acting was told."""
    runner, learner = parts(prior, model, base, **words)
    if words and model == "subgoal":
        learner.train(runner.run(), runner.t_env, 0)  # makes the codebook
    told, step = [], learner.model.step

    def recorded(obs, carry):
        condition, carry = step(obs, carry)
        told.append(condition)
        return condition, carry

    learner.model.step = recorded
    runner.run()
    told.clear()
    batch = runner.run()
    acted = torch.stack(told[: runner.length], dim=1)
    with torch.no_grad():
        learner._believe(batch, 10**6)
    torch.testing.assert_close(batch["condition"][:, :-1], acted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", ["subgoal", "liam", "naive"])
def test_policy_and_model_share_no_gradient(prior, model):
    runner, learner = parts(prior, model)
    policy = [p.detach().clone() for p in learner.mac.parameters()]
    frozen = [p.detach().clone() for p in learner.model.parameters()]
    batch, goals = believed(learner, runner)
    learner.base.train(batch, 1, 0)
    assert all(torch.equal(a, b) for a, b in zip(frozen, learner.model.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(policy, learner.mac.parameters(), strict=True))
    policy = [p.detach().clone() for p in learner.mac.parameters()]
    vae = [p.detach().clone() for p in learner.prior.trainer.vae.parameters()] if learner.prior else []
    learner._update_model(batch, learner.model.actions_taken(batch), goals)
    assert all(torch.equal(a, b) for a, b in zip(policy, learner.mac.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(frozen, learner.model.parameters(), strict=True))
    if learner.prior:
        assert all(torch.equal(a, b) for a, b in zip(vae, learner.prior.trainer.vae.parameters(), strict=True))


@pytest.mark.parametrize("model, number", [("liam", "model_recon_loss"), ("naive", "model_action_accuracy")])
def test_models_learn_what_opponents_do(prior, model, number):
    runner, learner = parts(prior, model, copies=64, vae_lr=5e-3, model_hidden_dim=32, epochs=1)
    for _ in range(150):
        learner.train(runner.run(), runner.t_env, 0)
    accuracy = [value for _, value in learner.logger.series("model_action_accuracy")]
    assert np.mean(accuracy[-10:]) > 0.55 > 0.15 + np.mean(accuracy[:3])
    assert learner.logger.series(number)


def test_a_model_from_outside_needs_a_condition_and_a_loss(prior):
    runner, learner = parts(prior, "outside:MoodModel", copies=16, vae_lr=1e-2)
    for _ in range(40):
        learner.train(runner.run(), runner.t_env, 0)
    losses = [value for _, value in learner.logger.series("model_loss")]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert learner.evaluate([runner.run()]) == {}  # it has nothing to count


def test_opponents_actions_are_read_from_what_comes_after(prior):
    runner, learner = parts(prior, "naive")
    batch = runner.run()
    taken = learner.model.actions_taken(batch)
    at = learner.model.last_actions
    e = batch.ends
    assert (taken[e.copy, e.step, 0, 0] == e.obs[:, 0, at].argmax(dim=-1)).all()
    going_on = (batch["terminated"] + batch["truncated"])[:, :-1, 0] == 0
    told = batch["obs"][:, 1:, 0, at].argmax(dim=-1)
    assert (taken[..., 0, 0] == told)[going_on].all()


@pytest.mark.parametrize("words", [{}, {**CATEGORICAL, "model_tau": 0.5}], ids=["gaussian", "categorical"])
def test_a_state_dict_brings_everything_back(prior, words):
    runner, learner = parts(prior, **words)
    learner.train(runner.run(), runner.t_env, 0)
    kept = learner.state_dict()
    _, fresh = parts(prior, **words)
    fresh.load_state_dict(kept)
    batch = runner.run()
    results = []
    for each in (learner, fresh):
        torch.manual_seed(3)
        each.train(batch, runner.t_env, 0)
        results.append([p.detach().clone() for p in [*each.mac.parameters(), *each.model.parameters()]])
        batch.data.pop("condition")
        batch.data.pop("critic_condition")
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_files_bring_both_networks_back(prior, tmp_path):
    """Else the one that is told by would be drawn back to where the other one began."""
    words = {**CATEGORICAL, "model_tau": 0.5}
    runner, learner = parts(prior, **words)
    learner.train(runner.run(), runner.t_env, 0)
    learner.save_models(tmp_path)
    _, fresh = parts(prior, **words)
    fresh.load_models(tmp_path)
    for name, kept in learner.model.state_dict().items():
        assert torch.equal(fresh.model.state_dict()[name], kept), name
        assert torch.equal(fresh.student.state_dict()[name], kept), name


def test_what_is_missing_is_said(prior, tmp_path):
    with pytest.raises(ConfigError, match="needs mac=model_mac and a model"):
        parts(prior, None)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        parts(empty)
    with pytest.raises(ConfigError, match="no subgoal prior for this environment"):
        parts(prior, vae_latent_dim=8)


@pytest.mark.parametrize("words, told", [
    ({"base": "q_learner"}, "base_learner: q_learner learns from whole episodes"),
    ({"critic_use_rnn": True}, "critic_use_rnn: a critic with a memory cannot be asked"),
    ({**CATEGORICAL, "model_memory": 2, "omg_horizon": 10}, "omg_horizon: 10 steps are more than the 9 that"),
    ({"model": "objects", "told": ("actions", "offsets"), "omg_horizon": 10}, "omg_horizon: 10 steps are more"),
    ({"rollout_steps": 1}, "rollout_steps: of the 1 that the model sees in a row it is taught none"),
    ({"model_memory": 4, "omg_horizon": 9}, "rollout_steps: of the 9 that the model sees in a row it is taught none"),
    ({**CATEGORICAL, "model_memory": 2, "model_window": 3}, "model_window: 3 rollouts in a row are more than"),
])  # fmt: skip
def test_what_could_teach_nothing_is_refused(prior, words, told):
    with pytest.raises(ConfigError, match=told):
        parts(prior, **words)


def test_what_comes_near_to_it_is_not(prior):
    parts(prior, critic_use_rnn=True, omg_selection="random")
    parts(prior, "liam", critic_use_rnn=True, omg_horizon=10)
    parts(prior, **CATEGORICAL, model_memory=2, model_window=2, omg_horizon=18)
    parts(prior, model_memory=4, omg_horizon=8)
    parts(prior, "objects", told=("actions", "offsets"), omg_horizon=9)


@pytest.mark.parametrize("model, words, told", [
    ("liam", {}, []),
    ("liam", {"vae_mu_l2": 0.1, "vae_optimiser": "rmsprop"}, ["vae_mu_l2, vae_optimiser"]),
    ("subgoal", {"vae_mu_l2": 0.1}, []),
    ("subgoal", {"vae_mu_l2": 0.1, "omg_inference": "mlp"}, ["vae_mu_l2"]),
    ("subgoal", {"vae_log_var_init": 1.0}, ["vae_log_var_init"]),
    ("subgoal", {**CATEGORICAL, "omg_vae_alpha": 1.0}, ["omg_vae_alpha"]),
])  # fmt: skip
def test_keys_that_a_model_does_not_read_are_told(prior, model, words, told):
    # the sizes of parts differ from the usual ones too, and only a prior reads them
    plain = {"vae_latent_dim": 16, "vae_hidden_dim": 128} if model == "liam" or "omg_codes" in words else {}
    _, learner = parts(prior, model, **{**words, **plain})
    assert learner._notices() == [f"not read by this opponent model: {names}" for names in told]


def test_liams_statistics_go_where_it_goes(prior):
    _, learner = parts(prior, "liam")
    assert learner.model.to("meta").stats.mean.device.type == "meta"


def outputs_in_acting(runner):
    """A rollout, and the policy's outputs at each of its steps as they were when it acted: [E, T, N, U]."""
    seen, mac = [], runner.mac
    select_action = mac.action_selector.select_action

    def recorded(outputs, *args, **kwargs):
        seen.append(outputs)
        return select_action(outputs, *args, **kwargs)

    mac.action_selector.select_action = recorded
    batch = runner.run()
    mac.action_selector.select_action = select_action
    return batch, torch.stack(seen, dim=1)


@pytest.mark.parametrize("model", ["subgoal", "liam", "naive"])
@pytest.mark.parametrize("place", ["head", "input"])
def test_the_policy_learns_from_what_it_acted_on(prior, model, place):
    runner, learner = parts(prior, model, condition_at=place)
    runner.run()
    batch, acted = outputs_in_acting(runner)
    with torch.no_grad():
        learner._believe(batch, 10**6)
        torch.testing.assert_close(learner.mac.unroll(batch)[:, :-1], acted, atol=1e-5, rtol=1e-4)
        features = learner.mac.features(batch)
        batch.data["condition"] = torch.randn_like(batch["condition"])
        told = not torch.allclose(learner.mac.features(batch), features)
    assert told == (place == "input")  # else the agents' memory knows nothing of it


def test_the_input_cannot_keep_a_goal(prior):
    with pytest.raises(ConfigError, match=r"condition_at: pqn_learner judges the next state .* take head"):
        parts(prior, base="pqn_learner", condition_at="input")


@pytest.mark.parametrize("model", ["subgoal", "liam", "naive"])
def test_what_is_told_follows_what_is_trained(prior, model):
    words = CATEGORICAL if model == "subgoal" else {}
    runner, learner = parts(prior, model, model_tau=0.25, model_epochs=1, model_minibatches=1, **words)
    told = [p.detach().clone() for p in learner.model.parameters()]
    trained = [p.detach().clone() for p in learner.student.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(told, trained, strict=True))
    learner.train(runner.run(), runner.t_env, 0)
    moved = zip(told, learner.model.parameters(), learner.student.parameters(), strict=True)
    for before, now, student in moved:
        torch.testing.assert_close(now, before + 0.25 * (student - before))
    assert any(not torch.equal(a, b) for a, b in zip(told, learner.model.parameters(), strict=True))


@pytest.mark.parametrize("base", ["ppo_learner", "pqn_learner"])
def test_a_memorys_rollouts_are_judged_without_conditions(prior, base):
    """Subgoals are selected by value, which Q-learning reads off the policy's own head."""
    runner, learner = parts(prior, base=base, model_memory=4, omg_horizon=3)
    weights = [p.detach().clone() for p in learner.student.parameters()]
    for _ in range(3):
        learner.train(runner.run(), runner.t_env, 0)
    assert not all(torch.equal(a, b) for a, b in zip(weights, learner.student.parameters(), strict=True))


def test_a_checkpoint_brings_the_prior(prior, tmp_path):
    _, learner = parts(prior)
    _, other = parts(tmp_path / "nowhere", checkpoint_path="a run")
    learner.prior.trainer.vae.limit = 3.0
    other.load_state_dict(learner.state_dict())
    states = torch.randn(5, learner.prior.trainer.vae.encoder[0].in_features)
    for mine, its in zip(learner.prior.encode(states), other.prior.encode(states), strict=True):
        assert torch.equal(mine, its)
    assert not any(p.requires_grad for p in other.prior.trainer.vae.parameters())


def test_a_memory_teaches_from_earlier_rollouts(prior):
    """Four rollouts of nine steps in rows of three: 27 steps at a time, each with a horizon that is shown."""
    words = {**CATEGORICAL, "model_memory": 4, "model_window": 3, "model_epochs": 2, "omg_horizon": 4}
    runner, learner = parts(prior, copies=8, **words)
    lengths, update = [], learner._update_model

    def recorded(batch, taken, states, shown):
        lengths.append(batch.max_seq_length - 1)
        assert states.shape[:3] == (2, lengths[-1], 1) and shown.shape == (2, lengths[-1])
        update(batch, taken, states, shown)

    learner._update_model = recorded
    for _ in range(5):
        learner.train(runner.run(), runner.t_env, 0)
    assert lengths == [9] * 8 + [18] * 8 + [27] * 24
    assert learner.logger.series("omg_selected_k") and learner.logger.series("omg_kl_loss")


@pytest.mark.parametrize(("model", "told"), [("subgoal", 5), ("naive", 5), ("liam", 16)])
def test_a_model_may_be_about_some_of_the_opponents(prior, model, told):
    """Simple_tag's prey alone, of three opponents: its actions, its places."""
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched", "max_cycles": 12}, 6, 0, 0)
    names = ("guard+clockwise", "chase+pair_any")
    pool = Pool(Path(), "p", {}, tuple(Member(n, "script", "scripted", "train", script=n) for n in names))
    env = PoolEnv(env, pool, "train", ["adversary_0"], ["actions"], 0, False)
    args = args_for(
        env.info, env_info=env.info, opponent_model=model, rollout_steps=9, model_hidden_dim=8, agent="features",
        obs_last_action=False, action_selector="softmax", t_max=1000, model_subjects="agent_*", **CATEGORICAL,
    )  # fmt: skip
    scheme, groups = make_scheme(env.info, False)
    mac = ModelMAC(scheme, groups, args)
    learner = OpponentModelLearner(mac, scheme, RecordingLogger(), args)
    runner = RolloutRunner(env, mac, scheme, groups, args)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    assert mac.model.subjects == ("agent_0",) and mac.condition_dim == told
    taken = mac.model.actions_taken(batch)
    assert taken.shape == (6, 9, 1, 1)
    prey = batch["obs"][:, 1:, 0, mac.model.last_actions][..., 10:].argmax(dim=-1)
    going_on = (batch["terminated"] + batch["truncated"])[:, :-1, 0] == 0
    assert (taken[..., 0, 0] == prey)[going_on].all()
    if model == "subgoal":
        assert mac.model.codebook.centres.shape == (1, 5, 2)
        assert learner.prior.places == board_of(env.info.whole).places[3].tolist()
    args.model_subjects = "wolf_*"
    with pytest.raises(ConfigError, match=r"model_subjects: wolf_\* names none of adversary_1, adversary_2, agent_0"):
        ModelMAC(scheme, groups, args)
