"""Short trainings with continuous actions and with several choices at once, and what can be done with their runs."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import omarl
import pytest
from omarl import small_pool
from omarl.configuration.request import from_keywords
from omarl.opponents.pool import read_pool
from omarl.replay import replay
from omarl.types import ConfigError
from omarl.utils.metrics import Logger

AIM = "tests.aim:Aim"
SHORT: dict[str, Any] = {"seed": 1, "env_workers": 0, "use_tensorboard": False, "hidden_dim": 16, "lr": 2e-3,
                         "batch_size_run": 8, "test_interval": 512, "test_nepisode": 8, "obs_last_action": True,
                         "use_rnn": True, "save_model_interval": 512, "epsilon_anneal_time": 100}  # fmt: skip
KEYS: dict[str, Any] = {"seed": 1, "env_workers": 0, "use_tensorboard": False, "t_max": 8000, "batch_size_run": 16,
                        "rollout_steps": 16, "hidden_dim": 32, "critic_hidden_dim": 32, "test_interval": 8000,
                        "test_nepisode": 32, "lr": 1e-2, "epochs": 4, "gamma": 0.0}  # fmt: skip


@pytest.mark.parametrize("config, choosers", [("ippo", 0), ("mappo", 0), ("ippo", 2), ("ippo", 1)])
def test_ppo_learns_to_name_the_targets(tmp_path, config, choosers):
    """Two archers and four steps. The best constant number has a squared error of 1/3 for continuous targets and 2
    for integers, that is, returns of -1.3 and -8 for an archer. A policy that follows its target comes near 0."""
    run = omarl.train(config, AIM, path=tmp_path / "run", env_args={"choosers": choosers}, save_model=False, **KEYS)
    for archer in range(2):
        value = float(run.metrics[f"test_return_mean/archer_{archer}"].values[-1])
        assert value > (-0.8 if archer < choosers else -0.15)


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Any:
    """A run of ``omg_vae``, which trains its agents by ippo here, and the lines that it logged."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("omarl")
    logger.addHandler(handler)
    before, level = logger.level, logging.INFO
    logger.setLevel(level)
    try:
        keys = {**SHORT, "t_max": 1024, "batch_size": 8}
        run = omarl.train("omg_vae", AIM, path=tmp_path_factory.mktemp("aim") / "run", **keys)
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
    return run, lines


def test_omg_vae_trains_ippo_on_continuous_actions_and_reports_it_in_one_line(short):
    run, lines = short
    assert run.config["base_learner"] == "ppo_learner" and run.config["name"] == "omg_vae"
    assert run.config["lr"] == SHORT["lr"] and run.config["hidden_dim"] == SHORT["hidden_dim"]
    assert [line for line in lines if line.startswith("base_learner")] == [
        "base_learner: Box actions; ippo trains the agents instead of q_learner (omg_vae_ppo.yaml); "
        "without use: epsilon_anneal_time"
    ]
    assert np.isfinite(run.metrics["vae_loss"].values).all() and "policy_loss" in run.metrics


def test_a_policy_acts_on_dicts_with_arrays_in_the_space(short):
    policy, raw = omarl.load(short[0], trust=True), omarl.make_raw_env(AIM)
    observations, infos = raw.reset(seed=0)
    for _ in range(2):
        actions = policy.act(observations, infos)
        for agent, action in actions.items():
            assert raw.action_space(agent).contains(action) and action.shape == (1,)
        observations, *_, infos = raw.step(actions)
    policy.reset()
    arrays = policy.act_arrays(np.zeros((3, 2, 1), np.float32), deterministic=False)
    assert arrays.shape == (3, 2, 1) and len(np.unique(arrays)) == 6


def test_evaluation_repeats_with_its_seed(short):
    results = [omarl.evaluate(short[0], 8, seed=3, trust=True).values for _ in range(2)]
    assert results[0]["test_return_mean"] == results[1]["test_return_mean"] < 0


@pytest.mark.parametrize("config", ["iql", "qmix", "pqn"])
def test_q_learning_is_refused_in_one_line_that_names_ippo_and_mappo(tmp_path, config):
    with pytest.raises(ConfigError, match="use --config=ippo or mappo") as error:
        omarl.train(config, AIM, path=tmp_path / "run", **{**SHORT, "t_max": 64})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("choosers", [0, 1, 2])
def test_a_model_trains_against_a_small_pool_is_tested_on_held_out_opponents_and_replayed(
    tmp_path, monkeypatch, choosers
):
    """Numbers, both kinds of actions, and choices."""
    monkeypatch.setattr(small_pool, "LEAST_STEPS", 64)
    teams = (("train", "ippo"), ("train", "mappo"), ("test", "ippo"))
    monkeypatch.setattr(small_pool, "TEAMS_OF_POLICIES", teams)
    keys = {**SHORT, "t_max": 256, "test_interval": 256, "local_results_path": str(tmp_path)}
    keys = {name: value for name, value in keys.items() if name != "epsilon_anneal_time"}
    run = omarl.train("liam", AIM, path=tmp_path / "run", env_args={"choosers": choosers}, **keys)
    result = omarl.evaluate(run, 8, trust=True)
    asked = from_keywords({"checkpoint_path": run.path, "seed": 1, "trust": True}, command="replay").values
    held_out = [member.name for member in read_pool(asked["pool"]).split("test")]
    assert held_out and {record["opponent"] for record in result.episodes} == {*held_out}
    predicted = "model_action_accuracy" if choosers == 2 else "model_action_nll"
    assert f"test_{predicted}" in run.metrics
    assert replay({**asked, "out": str(tmp_path / "film"), "opponent": ""}, Logger(logging.getLogger("test")))


def test_omg_on_q_learning_is_refused_before_a_pool_is_made(tmp_path):
    with pytest.raises(ConfigError, match=r"pqn_learner needs Discrete actions, .*; use --config=omg_ppo or liam"):
        omarl.train("omg", AIM, path=tmp_path / "run", local_results_path=str(tmp_path), t_max=64)
    assert not (tmp_path / "pools").exists()
