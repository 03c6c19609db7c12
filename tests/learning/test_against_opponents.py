"""Learners with an opponent model learn to cooperate with held-out partners."""

import pytest
from e2e.command import main

# One food that two players must load together; each gets 0.5 at most. Untrained policies get 0.16 or less.
TASK = ["--env-config=foraging", "with", "env_args.key=lbforaging:Foraging-5x5-2p-1f-coop-v3",
        "env_args.backend=batched", "env_args.episode_limit=25", "gamma=0.95", "seed=1"]  # fmt: skip
QUIET = ["use_tensorboard=False", "env_workers=0", "save_model_interval=1000000"]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A pool of two scripts for training and two for tests, with a prior."""
    root = tmp_path_factory.mktemp("pool")
    who = ["scripts=[nearest,random:0.2]", "test_scripts=[farthest,nearest:0.1]"]
    assert main(["pool", *TASK, *who, f"out={root / 'bare'}"], root, results_key=False).code == 0
    vae_learner = [
        "learner=omg_vae_learner",
        "base_learner=ppo_learner",
        "vae_updates=16",
        "t_max=30000",
        "test_interval=0",
    ]
    run = main(["--config=ppo_history", *TASK, *QUIET, *vae_learner, f"pool={root / 'bare'}"], root / "results")
    assert run.code == 0, run.err
    assert main(["pool", *TASK, *who, f"out={root / 'pool'}", f"prior={run.run}"], root, results_key=False).code == 0
    return root / "pool"


@pytest.mark.parametrize("algorithm, steps", [
    ("omg_ppo", 60_000), ("place_prediction", 60_000), ("omg", 130_000), ("liam", 60_000),
])  # fmt: skip
def test_learners_load_food_with_held_out_partners(pool, tmp_path, algorithm, steps):
    words = [f"t_max={steps}", f"test_interval={steps}", "test_nepisode=256", f"pool={pool}"]
    words += ["omg_anneal_time=30000"] if algorithm in ("omg", "omg_ppo") else []
    words += ["epsilon_anneal_time=50000"] if algorithm == "omg" else []
    done = main([f"--config={algorithm}", *TASK, *QUIET, *words, "split=test"], tmp_path)
    assert done.code == 0, done.err
    tests = [line["test_return_mean"] for line in done.lines() if "test_return_mean" in line]
    assert tests[-1] > 0.4


def test_object_prediction_generalises_to_held_out_opponents(tmp_path):
    """One network scores all foods, so its training transfers to opponents with other preferences."""
    task = ["--env-config=foraging", "with", "env_args.backend=batched", "gamma=0.95", "seed=1"]
    who = ["scripts=[nearest,farthest,random]", "test_scripts=[west,last]", f"out={tmp_path / 'pool'}"]
    assert main(["pool", *task, *who], tmp_path, results_key=False).code == 0
    words = ["t_max=20000", "test_interval=20000", "test_nepisode=128", f"pool={tmp_path / 'pool'}", "split=test"]
    done = main(["--config=object_prediction", *task, *QUIET, *words], tmp_path)
    assert done.code == 0, done.err
    hits, chance = ([line[f"test_omg_hit_{what}"] for line in done.lines() if f"test_omg_hit_{what}" in line]
                    for what in ("ratio", "chance"))  # fmt: skip
    assert (
        hits[0] < 0.72 and hits[-1] > 0.83 > chance[-1] + 0.2
    )  # before training 0.59 to 0.70, after it 0.90 or more
