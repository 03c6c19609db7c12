"""The small pool of a run without one: what it consists of, made once, continued after an interrupt."""

import logging
from dataclasses import replace
from threading import Barrier, Thread

import pytest
from fakes import env_info
from omarl import small_pool
from omarl.configuration.request import from_keywords
from omarl.opponents.pool import Member, write_pool
from omarl.pooling import info_of
from omarl.small_pool import LEAST_STEPS, MOST_STEPS, SECONDS, planned
from omarl.utils.metrics import Logger

LOGGER = Logger(logging.getLogger("test"))


def values_of(algorithm="liam", env="simple_spread", **keys):
    return {"seed": 1, **from_keywords({"env_workers": 0, **keys}, algorithm, env).values}


def plan_of(algorithm="liam", env="simple_spread", **keys):
    values = values_of(algorithm, env, **keys)
    return planned(values, info_of(values), algorithm.startswith("omg"))


def test_no_training_run_is_in_two_splits():
    runs = plan_of().runs
    assert len({run.keys["seed"] for run in runs}) == len({run.name for run in runs}) == len(runs)
    assert {run.split for run in runs} == {"train", "validation", "test"}
    assert len({run.config for run in runs if run.split == "train"}) == 3


@pytest.mark.parametrize("t_max", [1, 20_000, 60_000, 2_000_000])
def test_the_time_of_a_small_pool_grows_with_the_run_and_is_bounded(t_max):
    steps = {run.keys["t_max"] for run in plan_of(t_max=t_max).runs}
    assert steps == {min(max(t_max // 5, LEAST_STEPS), MOST_STEPS)}
    assert len(small_pool.TEAMS) * SECONDS < 60


def test_all_opponent_models_share_a_pool_unless_their_prior_has_another_size():
    shared = plan_of("liam").digest
    assert shared == plan_of("omg_ppo").digest == plan_of("omg").digest == plan_of("liam", seed=7).digest
    assert shared == plan_of("liam", env_workers=2, local_results_path="elsewhere").digest
    for keys in ({"vae_hidden_dim": 16}, {"env_args": {"N": 4}}, {"t_max": 20_000}):
        assert plan_of("omg_ppo", **keys).digest != shared, keys


def test_members_play_the_runs_own_game():
    for run in plan_of(env_args={"N": 4}, gamma=0.5).runs:
        assert run.keys["env_args"]["N"] == 4 and run.keys["gamma"] == 0.5
    values = values_of()
    unknown = replace(info_of(values), limit_source="", episode_limit=33)
    for run in planned(values, unknown, False).runs:  # one estimate for all
        assert run.keys["env_args"]["episode_limit"] == 33


def test_long_episodes_leave_replay_learners_enough_of_them_for_updates():
    for limit in (10, 25, 500, 900, 5000):
        info = replace(env_info(), episode_limit=limit)
        keys = small_pool.of_replay(2000, info.episode_limit)
        assert keys["batch_size"] <= max(2000 // limit, 1) and keys["batch_size_run"] * limit <= max(2000, limit)


def test_teams_of_policies_play_where_actions_are_not_discrete():
    plan = plan_of(env_args={"continuous_actions": True})
    assert {run.config for run in plan.runs if run.split != "train"} == {"ippo", "mappo"}
    assert {run.split for run in plan.runs} == {"train", "validation", "test"}
    assert len({run.keys["seed"] for run in plan.runs}) == len(plan.runs) == len(small_pool.TEAMS)
    tag = plan_of(env="simple_tag", env_args={"continuous_actions": True})  # its scripts play Discrete actions
    assert [run.config for run in tag.runs] == [run.config for run in plan.runs]


def test_scripts_have_priority_and_their_prior_trains_no_longer_than_the_run():
    assert plan_of("liam", "foraging").runs == []
    (run,) = plan_of("omg_ppo", "foraging", t_max=5000).runs
    assert run.keys["t_max"] == 5000 and run.split == ""
    (run,) = plan_of("omg_ppo", "foraging").runs
    assert run.keys["t_max"] == 200_000


def test_settings_that_the_scripts_do_not_know_are_played_by_trained_teams():
    plan = plan_of("liam", "foraging", env_args={"key": "lbforaging:Foraging-2s-8x8-2p-2f-v3"})
    assert len(plan.runs) == len(small_pool.TEAMS)


def make_one(plan, common, folder, draft, logger):
    member = Member("x", "x", "scripted", "train", script="x")
    (draft / "pool").mkdir()
    write_pool(draft / "pool", plan.keys["env"], plan.keys["env_args"], [member], "")
    (draft / "pool").rename(folder)  # at once, as ``make_pool`` does


def test_runs_that_start_together_make_one_pool(tmp_path, monkeypatch):
    made, pools, together = [], [], Barrier(4)

    def make(*arguments):
        made.append(1)
        make_one(*arguments)

    def start():
        together.wait()
        pools.append(small_pool.small_pool(values, LOGGER))

    values = values_of(local_results_path=str(tmp_path))
    info = info_of(values)
    monkeypatch.setattr(small_pool, "info_of", lambda values: info)  # environments are not made in threads
    monkeypatch.setattr(small_pool, "_make", make)
    threads = [Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pools) == 4 and len({pool.folder for pool in pools}) == len(made) == 1
    assert {path.name for path in (tmp_path / "pools").iterdir()} == {
        ".lock",
        pools[0].folder.name,
    }  # no drafts are left


def test_an_interrupted_pool_continues_with_the_complete_runs(tmp_path, monkeypatch):
    trained = []

    class Interrupted(small_pool.Training):
        def run(self, seconds):
            trained.append(self.config.seed)
            if trained == [1, 2]:
                raise KeyboardInterrupt
            super().run(seconds=seconds)

    monkeypatch.setattr(small_pool, "Training", Interrupted)
    monkeypatch.setattr(small_pool, "TEAMS", (("train", "iql"), ("train", "iql"), ("test", "iql")))
    monkeypatch.setattr(small_pool, "PRIOR", {**small_pool.PRIOR, "base_learner": "q_learner", "vae_updates": 1})
    monkeypatch.setattr(small_pool, "LEAST_STEPS", 200)
    values = values_of(local_results_path=str(tmp_path), t_max=200)
    with pytest.raises(KeyboardInterrupt):
        small_pool.small_pool(values, LOGGER)
    pool = small_pool.small_pool(values, LOGGER)
    assert trained == [1, 2, 2, 3]
    assert [(m.split, m.made) for m in pool.members if m.made.endswith("200 steps")] == [
        ("train", "iql, seed 1, 200 steps"), ("train", "iql, seed 2, 200 steps"), ("test", "iql, seed 3, 200 steps"),
    ]  # fmt: skip
    assert pool.prior_file is not None and not list((tmp_path / "pools").glob(".*/"))


def test_a_short_run_ends_after_its_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(small_pool, "SECONDS", 0.0)
    monkeypatch.setattr(small_pool, "TEAMS", (("train", "iql"),))
    monkeypatch.setattr(small_pool, "PRIOR", {**small_pool.PRIOR, "base_learner": "q_learner", "vae_updates": 1})
    pool = small_pool.small_pool(values_of(local_results_path=str(tmp_path), t_max=10_000), LOGGER)
    assert [m.made for m in pool.members] == ["iql, seed 1, 200 steps"]
