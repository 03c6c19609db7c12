"""Controls: the policy is conditioned on another copy's condition, or the model is only an auxiliary loss."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model_parts import condition, parts
from omarl.components.conditions import another_copy, shuffled
from omarl.components.rollout import Condition
from omarl.opponents.lineup import Lineup
from omarl.opponents.pool import Member, Pool
from omarl.types import ConfigError

MODELS = ["omg", "place_prediction", "liam", "naive"]
CONTROLS = ["shuffled", "nothing"]
NOTHING = {"condition_on": "nothing", "omg_selection": "random"}


def test_another_copy_is_one_random_cycle():
    for copies in (2, 3, 7, 128):
        other = another_copy(copies, 1)
        assert torch.equal(other, another_copy(copies, 1))
        at, seen = 0, []
        for _ in range(copies):
            seen.append(at)
            at = int(other[at])
        assert at == 0 and sorted(seen) == list(range(copies))
    assert not torch.equal(another_copy(128, 1), another_copy(128, 2))
    with pytest.raises(ConfigError, match="condition_on: shuffled takes the condition of another copy"):
        another_copy(1, 0)


def conditions(copies=5, steps=4, next_too=False):
    """Conditions with gradient, and two ends: copy 1 after step 0 and copy 3 after step 2."""
    torch.manual_seed(0)
    acting, critic, at_ends = (
        torch.randn(copies, steps + 1, 1, 2),
        torch.randn(copies, steps + 1, 1, 2),
        torch.randn(2, 1, 2),
    )
    ahead = torch.randn(copies, steps, 1, 2) if next_too else None
    found = Condition(acting, critic, ahead, at_ends)
    for each in found:
        if each is not None:
            each.requires_grad_()
    return found, SimpleNamespace(copy=torch.tensor([1, 3]), step=torch.tensor([0, 2]))


@pytest.mark.parametrize("next_too", [False, True])
def test_no_copy_gets_anything_of_its_own_condition(next_too):
    """The gradient by a copy's own condition is 0 in everything that the copy gets, and 1 by another copy's."""
    for copy in range(5):
        inferred, ends = conditions(next_too=next_too)
        given = shuffled(inferred, ends, seed=3)
        own = [each[copy] for each in given[:3] if each is not None]
        own += [given.at_ends[k] for k in range(2) if ends.copy[k] == copy]
        sum(each.sum() for each in own).backward()
        gradients = [each.grad for each in inferred[:3] if each is not None and each.grad is not None]
        assert all((grad[copy] == 0).all() for grad in gradients)
        assert any((grad != 0).any() for grad in gradients)
        if inferred.at_ends.grad is not None:
            assert all((inferred.at_ends.grad[k] == 0).all() for k in range(2) if ends.copy[k] == copy)


def test_the_condition_after_an_episode_is_that_of_the_other_copy_after_the_same_step():
    inferred, ends = conditions()
    for seed in range(20):
        other = another_copy(5, seed)
        given = shuffled(inferred, ends, seed)
        for k, (copy, step) in enumerate(((1, 0), (3, 2))):
            assert torch.equal(given.at_ends[k], inferred.critic[other[copy], step + 1])
        assert torch.equal(given.acting, inferred.acting[other]) and torch.equal(given.critic, inferred.critic[other])
    together = SimpleNamespace(copy=torch.arange(5), step=torch.full((5,), 3))  # all episodes end after step 3
    inferred = inferred._replace(at_ends=torch.randn(5, 1, 2))
    assert torch.equal(shuffled(inferred, together, 0).at_ends, inferred.at_ends[another_copy(5, 0)])


def test_the_opponent_of_the_other_copy_says_nothing_about_this_copys():
    """Opponents are drawn for each copy: those of both copies agree as often as two independent draws."""
    members = tuple(Member(n, "script", "scripted", "train", script=n) for n in ("nearest", "farthest"))
    _, learner = parts(None, "naive")
    full = learner.model.info.full
    lineup = Lineup(Pool(Path(), "g", {}, members), members, full, [1], 64, seed=0, in_turn=False)
    other, equal = another_copy(64, 0).numpy(), []
    for _ in range(300):
        lineup.begin(np.arange(64))
        equal.append((lineup.playing == lineup.playing[other]).mean())
    assert abs(np.mean(equal) - 0.5) < 0.02  # standard error: 0.0036


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("place", ["head", "input"])
@pytest.mark.parametrize("control", CONTROLS)
def test_the_policy_is_trained_on_what_it_was_given_when_it_acted(prior, model, place, control):
    runner, learner = parts(prior, model, condition_at=place, condition_on=control, omg_selection="random")
    learner.train(runner.run(), runner.t_env, 0)
    seen, selector, inferred = [], runner.mac.action_selector, []
    select, step = selector.select_action, learner.model.step

    def recorded(outputs, *args, **kwargs):
        seen.append(outputs)
        return select(outputs, *args, **kwargs)

    def stepped(obs, carry):
        found, carry = step(obs, carry)
        inferred.append(found)
        return found, carry

    selector.select_action, learner.model.step = recorded, stepped
    batch = runner.run()
    condition(learner, batch)
    with torch.no_grad():
        torch.testing.assert_close(learner.mac.unroll(batch)[:, :-1], torch.stack(seen, dim=1), atol=1e-5, rtol=1e-4)
    if control == "nothing":
        assert not inferred and batch.condition == Condition()
        return
    others = torch.stack(inferred[: runner.length], dim=1)[another_copy(6, 0)]
    torch.testing.assert_close(batch.condition.acting[:, :-1], others, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(batch.condition.critic[:, :-1], others, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_an_auxiliary_loss_trains_the_policys_network_and_not_its_head_or_critic(prior, model):
    """The policy's networks are those without a model."""
    runner, learner = parts(prior, model, **NOTHING, model_tau=0.1)
    mac = learner.mac
    assert learner.trained is learner.model and not hasattr(learner.model, "encoder")
    _, bare = parts(prior, model, condition_on="model")
    assert mac.condition_dim == 0 and mac.initial_carry(3).shape == (3, 1, 8)
    assert mac.head.fc1.in_features == bare.mac.head.fc1.in_features - bare.mac.condition_dim
    parts_of = {"trunk": mac.agents, "head": mac.head, "critic": learner.base.critic, "model": learner.model.fc}
    before = {name: [p.detach().clone() for p in each.parameters()] for name, each in parts_of.items()}

    def moved():
        pairs = {name: zip(before[name], each.parameters(), strict=True) for name, each in parts_of.items()}
        return {name for name, each in pairs.items() if not all(torch.equal(a, b) for a, b in each)}

    batch = runner.run()
    condition(learner, batch)
    learner._fit(batch, learner._targets(batch), 4)
    assert moved() == {"trunk", "model"}
    learner.base.train(batch, 1, 0)
    assert moved() == {*parts_of}
    assert not any(name.startswith("agents") for name in learner.model.state_dict())


def test_an_auxiliary_loss_falls_and_is_tested(prior):
    runner, learner = parts(prior, "naive", copies=16, model_lr=1e-2, epochs=1, **NOTHING)
    for _ in range(40):
        learner.train(runner.run(), runner.t_env, 0)
    losses = [value for _, value in learner.logger.series("model_loss")]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:3])
    assert learner.evaluate([runner.run()])["model_action_accuracy"] > 0.4
    assert learner.model.draw(runner.run().copies(torch.tensor([0]))).captions[0].startswith("agent_1: predicted")


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("model, words", [("liam", {}), ("place_prediction", {"model_memory": 2, "model_tau": 0.5})])
def test_controls_continue_bit_identically(prior, model, words, control):
    words = {**words, "condition_on": control}
    runner, learner = parts(prior, model, **words)
    learner.train(runner.run(), runner.t_env, 0)
    saved = learner.state_dict()
    _, fresh = parts(prior, model, **words)
    fresh.load_state_dict(saved)
    batch, results = runner.run(), []
    for each in (learner, fresh):
        torch.manual_seed(3)
        each.train(batch, runner.t_env, 0)
        results.append([p.detach().clone() for p in [*each.mac.parameters(), *each.model.parameters()]])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_q_learning_is_controlled_too(prior):
    for words in (NOTHING, {"condition_on": "shuffled"}):
        runner, learner = parts(prior, "omg", "pqn_learner", **words)
        weights = [p.detach().clone() for p in learner.mac.parameters()]
        for _ in range(2):
            learner.train(runner.run(), runner.t_env, 0)
        assert not all(torch.equal(a, b) for a, b in zip(weights, learner.mac.parameters(), strict=True))


@pytest.mark.parametrize("words, message", [
    ({"model": "object_prediction", "information": ("actions", "offsets")}, "condition_on: ObjectModel has no"),
    ({"model": "naive", "model_hidden_dim": 16}, "model_hidden_dim: 16 is not the width of the policy's features, 8"),
    ({"model": "omg"}, "omg_selection: a policy that is conditioned on nothing cannot value subgoals"),
    ({"model": "omg", "base": "pqn_learner"}, "omg_selection: a policy that is conditioned on nothing cannot value"),
])  # fmt: skip
def test_what_cannot_be_an_auxiliary_loss_is_refused(prior, words, message):
    with pytest.raises(ConfigError, match=message):
        parts(prior, condition_on="nothing", **words)
