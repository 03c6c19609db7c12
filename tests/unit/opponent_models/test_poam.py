"""POAM: LIAM of several learners, which also decodes the observations and actions of the other learners."""

import numpy as np
import pytest
import torch
from absent import DIES_AT, STEPS
from fakes import args_for, pool_of
from model_parts import condition, connected, numbers_of_actions, update
from omarl.envs.make import make_vec_env
from omarl.opponents.pool_env import PoolEnv
from omarl.runners.episode_runner import EpisodeRunner
from omarl.runners.rollout_runner import RolloutRunner

TAG = "mpe2.simple_tag_v3"  # learners adversary_0 and adversary_1, opponents adversary_2 and agent_0
MINE = 16  # numbers of an adversary's observation


def learners_against(key=TAG, script="chase+clockwise", learners=("adversary_0", "adversary_1"), runner=RolloutRunner,
                     copies=3, **values):  # fmt: skip
    settings = {"key": TAG, "backend": "batched", "max_cycles": 12} if key == TAG else {}
    vec = make_vec_env("pettingzoo" if settings else key, settings, copies, 0, 0)
    vec = PoolEnv(vec, pool_of(script), "train", list(learners), ["actions"], 0, False)
    args = args_for(
        vec.info, env_info=vec.info, opponent_model="liam", liam_learners=True, rollout_steps=8, model_hidden_dim=8,
        agent="features", obs_last_action=False, action_selector="softmax", t_max=1000, learner_log_interval=1,
    )  # fmt: skip
    vars(args).update(values)
    return connected(vec, args, runner)


def test_the_targets_are_the_actions_of_opponents_and_of_the_other_learners():
    runner, learner = learners_against()
    batch, model = runner.run(), learner.model
    assert model.subjects == ("adversary_2", "agent_0", "adversary_0", "adversary_1")
    taken = numbers_of_actions(model, batch)  # [E, T, N, M]
    played = batch["actions"][:, :-1, :, 0]
    assert (taken[..., 0, 2] == -1).all() and (taken[..., 1, 3] == -1).all()  # its own
    assert torch.equal(taken[..., 0, 3], played[..., 1]) and torch.equal(taken[..., 1, 2], played[..., 0])
    assert torch.equal(taken[..., 0, :2], taken[..., 1, :2]) and (taken[..., :2] >= 0).all()


def test_each_learner_reconstructs_all_observations_but_its_own():
    runner, learner = learners_against()
    batch, model = runner.run(), learner.model
    targets = condition(learner, batch).values
    features, mask = torch.randn(3, 8, 2, 8), torch.zeros(3, 8, 2)
    mask[:, :, 0] = 1.0
    with torch.no_grad():
        before, _ = model.loss(batch, features, targets, mask)
        model.stats.update = lambda *args: None
        before, _ = model.loss(batch, features, targets, mask)
        losses = []
        for agent in range(3):
            saved = batch["state"].clone()
            batch.data["state"][..., agent * MINE : (agent + 1) * MINE] += 1.0
            losses.append(model.loss(batch, features, targets, mask)[0])
            batch.data["state"] = saved
    assert losses[0] == before and losses[1] != before and losses[2] != before


def test_a_dead_learner_is_no_target():
    runner, learner = learners_against("absent:Mortal", "one", ("learner", "frail"), EpisodeRunner, copies=2)
    taken = numbers_of_actions(learner.model, runner.run())
    assert learner.model.subjects == ("tough", "learner", "frail")
    assert (taken[:, :DIES_AT, 0, 2] >= 0).all() and (taken[:, DIES_AT:STEPS, 0, 2] == -1).all()
    assert (taken[:, :, 0, 0] == 1).all()


def test_one_learner_alone_has_liam():
    _, poam = learners_against(learners=("adversary_0",))
    _, liam = learners_against(learners=("adversary_0",), liam_learners=False)
    assert poam.model.subjects == liam.model.subjects == ("adversary_1", "adversary_2", "agent_0")
    pairs = zip(poam.model.parameters(), liam.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("more", [{}, {"condition_on": "nothing"}, {"condition_on": "shuffled"}])
def test_it_learns_and_is_tested_and_drawn(more):
    runner, learner = learners_against(copies=16, model_lr=1e-2, **more)
    for _ in range(25):
        learner.train(runner.run(), runner.t_env, 0)
    losses = [value for _, value in learner.logger.series("model_loss")]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    tester, _ = learners_against(runner=EpisodeRunner)
    batch = tester.run()
    found = learner.evaluate([batch])
    assert 0.2 < found["model_action_accuracy"] <= 1
    caption = learner.model.draw(runner.run().copies(torch.tensor([0]))).captions[0]
    assert "adversary_1: predicted" in caption and "adversary_0" not in caption


def test_the_policys_condition_depends_on_the_embedding_of_each_learner():
    runner, learner = learners_against()
    batch = runner.run()
    condition(learner, batch)
    assert batch.condition.acting.shape == (3, 9, 2, 16)
    assert not torch.allclose(batch.condition.acting[:, :, 0], batch.condition.acting[:, :, 1])
    assert torch.isfinite(update(learner, batch, learner.model.targets(batch, None).values)["model_loss"])
