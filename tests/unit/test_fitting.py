"""Default sizes shrink to the available memory; an update is made exactly if no line announces that there is none."""

import logging
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import env_info
from omarl import budget, fitting, training
from omarl.configuration.request import from_keywords
from omarl.run import build
from omarl.training_loop import Training
from omarl.types import EnvError
from omarl.utils.metrics import Logger

GIB = 1 << 30
LOGGER = Logger(logging.getLogger("test"))
LARGE = replace(env_info(episode_limit=2000), obs_shape=10_000, obs_sizes=(10_000,) * 3, state_shape=30_000)
SMALL = {"seed": 1, "env_workers": 0, "hidden_dim": 8, "test_interval": 0, "save_model": False}


def values_of(algorithm, **keys):
    return dict(from_keywords({"seed": 1, "env_workers": 0, **keys}, algorithm, "simple_spread").values)


@pytest.mark.parametrize("algorithm", ["iql", "omg_vae", "qmix", "ippo", "mappo", "pqn"])
def test_defaults_shrink_until_the_run_fits(monkeypatch, algorithm):
    monkeypatch.setattr(budget, "available_memory", lambda device: 8 * GIB)
    values = {**values_of(algorithm), "env_args": {"key": "large"}}
    info = replace(LARGE, interface="ParallelEnv")
    assert not budget.need(values, info).fits()
    sizes, short = fitting.shrunk(values, info, ())
    assert budget.need({**values, **sizes}, short).fits(budget.SUGGESTED)
    assert all(size >= budget.least({**values, **sizes}, name) for name, size in sizes.items())
    assert budget.check_memory({**values, **sizes}, short)


def test_what_fits_is_left_alone():
    values = values_of("iql")
    sizes, info = fitting.shrunk(values, env_info(), ())
    assert all(sizes[name] == values[name] for name in sizes) and info == env_info()


def test_keys_that_the_user_has_set_do_not_change(monkeypatch):
    monkeypatch.setattr(budget, "available_memory", lambda device: 8 * GIB)
    values = {**values_of("iql"), "env_args": {"key": "large"}}
    sizes, _ = fitting.shrunk(values, replace(LARGE, interface="ParallelEnv"), {"batch_size_run", "test_nepisode"})
    assert (sizes["batch_size_run"], sizes["test_nepisode"]) == (8, 32)
    assert sizes["buffer_size"] < values["buffer_size"]


@pytest.mark.parametrize("given", [{"max_cycles": 2000}, {"episode_limit": 2000}, {}])
def test_episodes_are_cut_off_last_and_only_if_the_user_has_not_set_their_length(monkeypatch, given):
    monkeypatch.setattr(budget, "available_memory", lambda device: 2 * GIB)
    values = {**values_of("iql"), "env_args": {"key": "large", **given}}
    sizes, info = fitting.shrunk(values, replace(LARGE, interface="ParallelEnv"), ())
    assert sizes["batch_size_run"] == 1 and (sizes["batch_size"] == 4) == (not given)
    assert (info.episode_limit == 2000) == bool(given)


def test_the_smallest_batches_come_after_shorter_episodes(monkeypatch):
    monkeypatch.setattr(budget, "available_memory", lambda device: 3 * GIB // 2)
    values = {**values_of("iql"), "env_args": {"key": "large"}}
    large = replace(LARGE, obs_shape=200_000, obs_sizes=(200_000,) * 2, state_shape=400_000, interface="ParallelEnv")
    sizes, info = fitting.shrunk(values, large, ())
    assert info.episode_limit == fitting.SHORTEST and sizes["batch_size"] < 4
    assert budget.need({**values, **sizes}, info).fits(budget.SUGGESTED)


def test_a_training_reports_and_uses_the_sizes(monkeypatch, caplog, tmp_path):
    free = 1 << 29
    monkeypatch.setattr(budget, "available_memory", lambda device: free)
    values = values_of("iql", **SMALL, t_max=100, test_nepisode=2, batch_size=4, batch_size_run=2, buffer_size=4)
    values["buffer_size"] = 10**6
    built = []
    monkeypatch.setattr(training.Training, "run", lambda self, requests: built.append(self))
    with caplog.at_level(logging.INFO, "test"):
        training.train(values, LOGGER, None, {"batch_size"})
    (line,) = [m for m in caplog.messages if "are available, so" in m]
    size = built[0].buffer.capacity
    assert f"buffer_size={size} (instead of 1000000)" in line and size < 10**6
    assert built[0].values["buffer_size"] == size  # of the checkpoint


def test_an_estimated_limit_is_stored_so_that_a_checkpoint_keeps_it(monkeypatch):
    values = values_of("iql", env="tests.unit.envs.toy_envs:Unlimited", env_args={"length": 6})
    assert fitting.fitted(values, (), print) == {"env_args": {"length": 6, "episode_limit": 24}}
    assert fitting.fitted({**values, "checkpoint_path": "x"}, (), print) == {}


@pytest.mark.parametrize("t_max", [75, 76])
def test_the_announced_number_of_steps_is_the_least_with_an_update(tmp_path, t_max):
    keys = {**SMALL, "batch_size_run": 1, "batch_size": 4, "test_nepisode": 1, "t_max": t_max}
    values = values_of("iql", **keys)  # episodes last 25 steps
    parts = build(values, LOGGER, trains=True)
    one = Training(parts, values, None, progress=False)
    one.run()
    parts.close()
    lines = budget.notices(values, parts.info)
    assert (one.updates > 0) == (not lines)
    assert bool(lines) == (t_max == 75)


@pytest.mark.parametrize(
    ("t_max", "steps", "expected"),
    [
        (150_000, 25, {}),
        (10_000, 500, {"batch_size_run": 5, "batch_size": 5, "test_nepisode": 4}),
        (1000, 900, {"batch_size_run": 1, "batch_size": 1, "test_nepisode": 4}),
    ],
)
def test_long_episodes_have_fewer_copies_smaller_batches_and_shorter_tests(t_max, steps, expected):
    values, info = values_of("iql", t_max=t_max), env_info(episode_limit=steps)
    assert fitting.by_length(values, info, ()) == expected
    sizes = fitting.by_length(values, info, {"batch_size_run", "test_nepisode"})
    assert sizes.keys() <= {"batch_size"}  # the user has set the others
    assert "test_nepisode" not in fitting.by_length({**values, "pool": "x"}, info, ())


@pytest.mark.parametrize(
    ("state", "obs", "keys", "expected"),
    [
        (60, 3, {}, 19),  # 5 episodes of 500 steps, 128 states at a time
        (60, 3, {"vae_batch_states": 0}, 5),  # all at a time: as many as the ramp needs
        (14_000, 7000, {}, 19),  # the agents read 35 million numbers, which were 19 updates and a half
        (14_000, 700, {}, 2),
        (14_000, 7000, {"state_dtype": np.uint8}, 2),  # of images
        (60, 3, {"t_max": 10**6}, 1),
    ],
)
def test_vae_updates_of_a_short_run_pass_over_each_batch_once(state, obs, keys, expected):
    given = {"t_max": 10_000, **keys}
    dtype = given.pop("state_dtype", np.float32)
    values = {**values_of("omg_vae", **given), "batch_size": 5}
    info = env_info(state_shape=state, obs_shape=obs, obs_sizes=(obs,) * 2, state_dtype=dtype, episode_limit=500)
    assert {"vae_updates": 1, **fitting.vae_updates(values, {}, info, ())}["vae_updates"] == expected


@pytest.mark.parametrize(
    ("algorithm", "t_max", "steps", "copies"),
    [
        ("ippo", 1_000_000, 25, 128),
        ("ippo", 128_000, 25, 128),  # 40 updates
        ("ippo", 127_999, 25, 127),
        ("ippo", 10_000, 25, 10),
        ("ippo", 10_000, 1000, 2),  # each copy plays four episodes
        ("ippo", 100, 1000, 1),
        ("omg_vae_ppo", 150_000, 1000, 32),
        ("liam", 20_000, 25, 20),
    ],
)
def test_short_runs_from_rollouts_have_fewer_copies_and_so_enough_updates(algorithm, t_max, steps, copies):
    values, info = values_of(algorithm, t_max=t_max), env_info(episode_limit=steps)
    sizes = {**values, **fitting.by_length(values, info, ())}
    assert sizes["batch_size_run"] == copies and sizes["rollout_steps"] == 25
    assert "batch_size_run" not in fitting.by_length(values, info, {"batch_size_run"})
    assert t_max // (copies * 25) >= min(fitting.UPDATES, t_max // 25)


@pytest.mark.parametrize(
    ("t_max", "steps", "size", "expected"),
    [
        (150_000, 25, 62, 32),  # one in 25 steps
        (10_000, 25, 62, 32),  # for 40 rollouts of 10 copies; 10, one in 25 steps, would not complete the ramp
        (10_000, 1000, 62, 10),  # 200 rollouts of 2 copies
        (10_000, 1000, 10**6, 2),
        (40_000, 4000, 10**6, 2),
    ],
)
def test_rollouts_of_fewer_copies_have_fewer_vae_updates_unless_the_kl_ramp_needs_more(t_max, steps, size, expected):
    values, info = values_of("omg_vae_ppo", t_max=t_max), env_info(state_shape=size, episode_limit=steps)
    lengths = fitting.by_length(values, info, ())
    assert {"vae_updates": 32, **fitting.vae_updates(values, lengths, info, ())}["vae_updates"] == expected


def test_a_short_run_from_rollouts_makes_forty_updates_and_a_line_says_why(caplog):
    values = values_of("ippo", **SMALL, t_max=4000)
    counts = []
    end = Training.summary
    with caplog.at_level(logging.INFO, "test"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Training, "summary", lambda self: counts.append(self.updates) or end(self))
        training.train(values, LOGGER, None)
    assert counts == [40]
    line = "length: episodes have up to 25 steps, the run 4000, so batch_size_run=4 (instead of 128); a value"
    assert any(line in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("t_max", "size", "keys", "expected"),
    [
        (150_000, 62, {}, 1),
        (10_000, 62, {}, 5),  # 400 batches, and twice the 1,000 updates of the ramp
        (1000, 62, {}, 32),
        (1000, 8192, {}, 4),
        (1000, 10**6, {}, 1),
        (1000, 62, {"vae_alpha_ramp": 0}, 1),
    ],
)
def test_short_runs_make_more_vae_updates_for_each_batch(t_max, size, keys, expected):
    values, info = values_of("omg_vae", t_max=t_max, **keys), env_info(state_shape=size)
    assert {"vae_updates": 1, **fitting.vae_updates(values, {}, info, ())}["vae_updates"] == expected
    assert not fitting.vae_updates(values, {}, info, {"vae_updates"})
    assert not fitting.vae_updates(values_of("iql", t_max=t_max), {}, info, ())


@pytest.mark.parametrize(
    ("pace", "expected"), [(0.001, {}), (0.02, {"test_nepisode": 12}), (1.0, {"test_nepisode": 4})]
)
def test_tests_take_a_fifth_of_the_seconds_of_a_run(pace, expected):
    values, info = values_of("iql", max_seconds=120), env_info(episode_limit=100)
    assert fitting.by_time(values, info, pace, ()) == expected
    for other in ({"pool": "x"}, {"test_interval": 0}):
        assert not fitting.by_time({**values, **other}, info, pace, ())
    assert not fitting.by_time(values, info, pace, {"test_nepisode"})
    assert not fitting.by_time(values, info, 0.0, ())  # not measured


def test_the_time_of_a_step_is_measured_and_a_failing_environment_is_left_to_the_run(monkeypatch):
    class Slow:
        info, closed = env_info(), False

        def reset(self):
            return SimpleNamespace(avail=np.ones((1, 3, 5), np.uint8))

        def step(self, actions):
            assert actions.shape == (1, 3)
            time.sleep(0.02)
            return SimpleNamespace(observation=self.reset())

    assert 0.02 <= fitting.seconds_per_step(Slow()) < 0.2

    def fails(self, actions):
        raise EnvError("no")

    monkeypatch.setattr(Slow, "step", fails)
    assert fitting.seconds_per_step(Slow()) == 0.0


def test_a_short_run_in_long_episodes_makes_updates_and_a_line_says_why(caplog):
    values = values_of("iql", **SMALL, t_max=200)  # 8 episodes of 25 steps, where a batch has 32 by default
    counts = []
    end = Training.summary
    with caplog.at_level(logging.INFO, "test"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Training, "summary", lambda self: counts.append(self.updates) or end(self))
        training.train(values, LOGGER, None)
    assert counts[0] > 0
    assert any("so batch_size_run=2 (instead of 8), batch_size=2 (instead of 32)" in m for m in caplog.messages)


@pytest.mark.parametrize("keys, steps, fixed, expected", [
    ({"learner": "ppo_learner"}, 25, (), {"gamma": 0.96}),
    ({"learner": "ppo_learner"}, 50, (), {}),
    ({"learner": "ppo_learner"}, 25, ("gamma",), {}),
    ({"learner": "opponent_model_learner", "base_learner": "ppo_learner"}, 10, (), {"gamma": 0.9}),
    ({"learner": "q_learner"}, 25, (), {}),
])  # fmt: skip
def test_ppo_discounts_more_where_episodes_are_short(keys, steps, fixed, expected):
    assert fitting.by_horizon({"gamma": 0.99, **keys}, env_info(episode_limit=steps), fixed) == expected


def test_a_training_uses_the_discount_of_short_episodes_and_a_line_says_why(caplog):
    values = values_of("ippo", **SMALL, t_max=200) | {"gamma": 0.99}  # the file of the environment sets 0.9
    used = []
    with caplog.at_level(logging.INFO, "test"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Training, "summary", lambda self: used.append(self.parts.learner.config.gamma) or [])
        training.train(values, LOGGER, None)
    assert used == [0.96]
    assert any(m.startswith("episodes: they have at most 25 steps, so gamma=0.96 (inst") for m in caplog.messages)


def test_max_seconds_ends_a_run_with_its_last_test(caplog):
    keys = {**SMALL, "test_interval": 10_000, "test_nepisode": 2, "t_max": 10**6, "max_seconds": 0.5}
    parts = build(values_of("iql", **keys), LOGGER, trains=True)
    one = Training(parts, {}, None, progress=False)
    with caplog.at_level(logging.INFO, "test"):
        one.run()
    parts.close()
    assert 0 < parts.runner.t_env == one.tested_at < 10**6
    assert f"max_seconds: the time is over at step {one.tested_at}" in caplog.messages


def test_a_run_in_an_environment_that_fails_to_close_ends_with_a_warning(caplog, monkeypatch):
    def close(self):
        raise SystemExit

    monkeypatch.setattr("tests.unit.envs.toy_envs.Toy.close", close, raising=False)
    values = values_of("iql", **SMALL, env="tests.unit.envs.toy_envs:Toy", env_args={}, t_max=40)
    with caplog.at_level(logging.WARNING, "test"):
        training.train(values, LOGGER, None)
    assert any("raised in close (copy 0): SystemExit" in message for message in caplog.messages)
