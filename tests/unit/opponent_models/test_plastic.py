"""PLASTIC: the belief about which training opponent plays, against Bayes' rule computed by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from absent import STEPS
from fakes import args_for, pool_of
from kinds import STEPS as KIND_STEPS
from model_parts import condition, connected, numbers_of_actions, parts
from omarl.envs.make import make_vec_env
from omarl.opponents.pool import Pool
from omarl.opponents.pool_env import PoolEnv
from omarl.opponents.switching import Switch
from omarl.runners.episode_runner import EpisodeRunner
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import ConfigError


def against(env="Mortal", scripts=("one", "two"), runner=RolloutRunner, copies=4, kind="", **values):
    """Opponents that always play action 1, or always 2."""
    vec = make_vec_env(f"absent:{env}" if not kind else "kinds:Kinds", {"kind": kind} if kind else {}, copies, 0, 0)
    vec = PoolEnv(vec, pool_of(*scripts), "train", ["learner"], ["actions"], 0, False)
    args = args_for(
        vec.info, env_info=vec.info, opponent_model="plastic", rollout_steps=STEPS, model_hidden_dim=8,
        agent="features", obs_last_action=False, action_selector="softmax", t_max=1000, learner_log_interval=1,
        entropy_coef=0.0,
    )  # fmt: skip
    vars(args).update(values)
    return connected(vec, args, runner)


def certain(model, *probabilities):
    """Gives each type's model fixed probabilities of the three actions, the same for all opponents."""
    logits = torch.tensor(probabilities).log().repeat(1, model.n_subjects)  # [K, M * 3]
    model.outputs_by_type = lambda history: logits.expand(*history.shape[:-1], *logits.shape)


@pytest.mark.parametrize("eta", [1.0, 0.1])
@pytest.mark.parametrize("env", ["Mortal", "Turns"])
def test_the_belief_is_multiplied_by_the_factors_of_all_observed_actions(env, eta):
    """With eta = 1: the product of the probabilities, normalised. Absent opponents say nothing."""
    runner, learner = against(env, plastic_eta=eta)
    first, second = (0.2, 0.5, 0.3), (0.1, 0.6, 0.3)
    certain(learner.model, first, second)
    batch = runner.run()
    condition(learner, batch)
    given, taken = batch.condition.acting[:, :, 0], numbers_of_actions(learner.model, batch)[:, :, 0]
    assert torch.equal(given[:, 0], torch.full((4, 2), 0.5))
    going_on = batch["begins"][:, 1:, 0] == 0
    for e in range(4):
        weights = [1.0, 1.0]
        for t in range(STEPS):
            for action in taken[e, t].tolist():
                if action >= 0:
                    weights = [w * (1 - eta * (1 - p[action])) for w, p in zip(weights, (first, second), strict=True)]
            weights = weights if going_on[e, t] else [1.0, 1.0]
            torch.testing.assert_close(given[e, t + 1], torch.tensor(weights) / sum(weights))


def test_the_likeliest_type_can_be_the_condition():
    runner, learner = against(plastic_eta=1.0, plastic_condition="likeliest")
    certain(learner.model, (0.1, 0.8, 0.1), (0.1, 0.1, 0.8))
    batch = runner.run()
    condition(learner, batch)
    plays = torch.nn.functional.one_hot(batch["opponent"][:, 1:STEPS, 0], 2).float()
    assert torch.equal(batch.condition.acting[:, 1:STEPS, 0], plays)


@pytest.mark.parametrize("eta", [1.0, 0.1])
@pytest.mark.parametrize("words", [{}, {"condition_at": "input"}, {"cell": "mingru"}])
def test_the_belief_along_a_rollout_is_that_of_acting(prior, words, eta):
    """Episodes end within rollouts; the belief goes on from one rollout to the next."""
    runner, learner = parts(prior, "plastic", plastic_eta=eta, **words)
    for _ in range(3):
        learner.train(runner.run(), runner.t_env, 0)
    seen, step = [], learner.model.step

    def recorded(obs, carry):
        found, carry = step(obs, carry)
        seen.append(found)
        return found, carry

    learner.model.step = recorded
    first = runner.run().batch_size
    batch = runner.run()
    acted = torch.stack(seen[runner.length : 2 * runner.length], dim=1)
    condition(learner, batch)
    torch.testing.assert_close(batch.condition.acting[:, :-1], acted, atol=1e-5, rtol=1e-4)
    assert first == 6 and batch.condition.at_ends.shape[1:] == (1, 2)
    assert (acted[:, 0] != 0.5).any() and batch["begins"].any()  # within episodes at the first step
    assert (batch.condition.acting[:, :-1][batch["begins"][:, :-1, 0] > 0] == 0.5).all()


def test_the_belief_after_an_episode_contains_its_last_action(prior):
    runner, learner = against("Turns", plastic_eta=1.0)
    certain(learner.model, (0.2, 0.5, 0.3), (0.1, 0.6, 0.3))
    batch = runner.run()
    condition(learner, batch)
    ends, last = batch.ends, numbers_of_actions(learner.model, batch)[:, -1, 0]
    odds = batch.condition.acting[:, STEPS - 1, 0]
    for k, e in enumerate(ends.copy.tolist()):
        (action,) = [a for a in last[e].tolist() if a >= 0]
        weights = odds[e] * torch.tensor([(0.2, 0.5, 0.3)[action], (0.1, 0.6, 0.3)[action]])
        torch.testing.assert_close(batch.condition.at_ends[k, 0], weights / weights.sum())


def test_each_types_model_learns_only_from_its_own_steps():
    runner, learner = against(copies=8)
    batch, model = runner.run(), learner.model
    targets = model.targets(batch, learner.base).values
    for playing in (0, 1):
        batch.data["opponent"][:] = playing
        loss, _ = model.loss(batch, model.features(batch)[:, :-1], targets, torch.ones(8, STEPS, 1))
        (gradient,) = torch.autograd.grad(loss, model.out.weight)
        by_type = gradient.abs().sum(dim=1).view(2, -1).sum(dim=1)
        assert by_type[playing] > 0 and by_type[1 - playing] == 0


def test_untrained_models_of_the_types_are_equal_and_give_no_evidence():
    """Random differences between them would be taken for evidence."""
    runner, learner = against(plastic_eta=1.0)
    batch = runner.run()
    condition(learner, batch)
    assert (batch.condition.acting == 0.5).all()


def test_it_learns_to_recognise_the_opponent_that_plays():
    """After one action the types differ with certainty; the first step of eight is a guess."""
    runner, learner = against(copies=32, model_lr=2e-2, plastic_eta=1.0)
    for _ in range(25):
        learner.train(runner.run(), runner.t_env, 0)
    series = {name: [v for _, v in learner.logger.series(name)] for name in
              ("model_loss", "model_type_accuracy", "model_type_nll", "model_action_accuracy")}  # fmt: skip
    assert series["model_loss"][-1] < 0.05 < 0.5 < series["model_loss"][0]
    assert np.mean(series["model_type_accuracy"][-3:]) > 0.9
    assert series["model_type_nll"][-1] < 1.3 * math.log(2) / STEPS < series["model_type_nll"][0]
    tester, _ = against(runner=EpisodeRunner)
    assert learner.evaluate([tester.run()])["model_action_accuracy"] > 0.85
    assert learner.model.draw(tester.run()[:1]).captions[2].startswith("frail: predicted")


def test_the_playing_member_is_recorded_also_when_another_one_takes_over():
    vec = make_vec_env("absent:Turns", {}, 8, 0, 0)
    vec = PoolEnv(vec, pool_of("one", "two"), "train", ["learner"], ["actions"], 0, False, Switch(2, 4))
    args = args_for(
        vec.info, env_info=vec.info, opponent_model="plastic", rollout_steps=STEPS, model_hidden_dim=8,
        agent="features", obs_last_action=False, action_selector="softmax", t_max=1000,
    )  # fmt: skip
    runner, learner = connected(vec, args)
    runner.run()
    batch = runner.run()
    taken = numbers_of_actions(learner.model, batch)[:, :, 0]
    playing = batch["opponent"][:, :-1].expand_as(taken)
    assert torch.equal(taken[taken >= 0], playing[taken >= 0] + 1)
    assert any(a != b for row in playing[..., 0].tolist() for a, b in pairwise(row))


@pytest.mark.parametrize("kind", ["continuous", "mixed", "heads"])
def test_numbers_are_evidence_too(kind):
    """The type whose density of the action is largest has factor 1; the other's is bounded by eta."""
    runner, learner = against(kind=kind, scripts=("still",), rollout_steps=KIND_STEPS)
    for _ in range(2):
        learner.train(runner.run(), runner.t_env, 0)
    assert all(math.isfinite(v) for _, v, _ in learner.logger.rows)
    model, batch = learner.model, runner.run()
    evidence = model.evidence(torch.randn(*batch["obs"].shape[:3], 8), batch["obs"])
    assert (evidence <= 0).all() and (evidence >= 2 * math.log(0.9) - 1e-6).all()


@pytest.mark.parametrize("words", [{}, {"condition_on": "nothing"}, {"condition_on": "shuffled"},
                                   {"model_memory": 3, "model_window": 2, "model_tau": 0.5}])  # fmt: skip
def test_training_continues_bit_identically(prior, words):
    runner, learner = parts(prior, "plastic", **words)
    learner.train(runner.run(), runner.t_env, 0)
    saved, at = learner.state_dict(), runner.state_dict()
    batch, results = runner.run(), []
    again, fresh = parts(prior, "plastic", **words)
    fresh.load_state_dict(saved)
    again.load_state_dict(at)
    other = again.run()
    assert torch.equal(other["opponent"], batch["opponent"])
    for each in (learner, fresh):
        torch.manual_seed(3)
        each.train(batch, runner.t_env, 0)
        results.append([p.detach().clone() for p in [*each.mac.parameters(), *each.model.parameters()]])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_pool_without_training_members_is_refused():
    vec = make_vec_env("absent:Turns", {}, 2, 0, 0)
    pool = pool_of("one", split="test")
    assert isinstance(pool, Pool)
    vec = PoolEnv(vec, pool, "test", ["learner"], ["actions"], 0, False)
    args = args_for(vec.info, env_info=vec.info, opponent_model="plastic", agent="features")
    with pytest.raises(ConfigError, match="opponent_model: plastic infers which training member of a pool plays"):
        connected(vec, args)
