"""A loaded policy turns the opponents' last actions, of any space, into the features that it saw in training."""

from __future__ import annotations

import itertools

import numpy as np
import omarl
import pytest
from kinds import SPACES, Recorded
from omarl.opponents.pool import Member, write_pool

QUICK = {"batch_size_run": 2, "rollout_steps": 4, "minibatches": 1, "hidden_dim": 8, "t_max": 16, "seed": 1,
         "omg_learners": "learner", "test_interval": 0, "env_workers": 0, "use_tensorboard": False}  # fmt: skip


@pytest.fixture
def run(tmp_path, request):
    pool, key = tmp_path / "pool", "kinds:Recorded"
    env = {"key": key, "kind": request.param}
    pool.mkdir()
    members = [
        Member(split, "still", "scripted", split, "", script="still", noise=noise)
        for split, noise in (("train", 0.5), ("test", 0.0))
    ]
    write_pool(pool, "pettingzoo", env, members, "")
    return omarl.train("ppo_history", pool=pool, path=tmp_path / "run", env=env, **QUICK)


@pytest.mark.parametrize("run", SPACES, indirect=True)
def test_features_equal_those_of_training_also_after_a_death(run):
    env = omarl.make_env(checkpoint_path=run, n_envs=1, test=True, trust=True)
    policy, arrays = omarl.load(run, trust=True), omarl.load(run, trust=True)
    seen, last, sent = env.reset(), None, []
    policy._actor.act, inner = lambda given, *more: sent.append(given.obs) or inner(given, *more), policy._actor.act
    for t in itertools.count():
        policy.act({"learner": seen.obs[0, 0, :2]}, opponent_actions=last)
        assert sent[-1] == pytest.approx(seen.obs, abs=1e-6), t
        step = env.step(arrays.act_arrays(seen.obs, seen.avail))
        if (step.terminated | step.truncated).any():
            break
        seen, last = step.observation, Recorded.received
    assert t == 5 and set(last) == {"tough"}
    assert len({tuple(obs[0, 0, 2:]) for obs in sent}) > 3  # the actions did differ
    env.close()


FAULTS = [
    ("heads", [3, 0]),
    ("heads", "up"),
    ("continuous", [np.nan, 0]),
    ("dict", {"turn": [0, 0]}),
    ("discrete", 3),
]


@pytest.mark.parametrize(("run", "action"), FAULTS, indirect=["run"])
def test_actions_of_another_space_are_refused(run, action):
    with pytest.raises(omarl.EnvError, match="opponent_actions") as error:
        omarl.load(run, trust=True).act({"learner": np.zeros(2)}, opponent_actions={"frail": action})
    assert "\n" not in str(error.value)
