"""The training loop with real parts on a small environment."""

import logging

import pytest
import torch
from omarl import run
from omarl.configuration.request import from_keywords
from omarl.training_loop import Training
from omarl.types import ConfigError, TrainingError
from omarl.utils.metrics import Logger

SMALL = {"env_workers": 0, "batch_size_run": 2, "batch_size": 4, "hidden_dim": 8, "test_nepisode": 2, "seed": 1}


@pytest.fixture
def training(tmp_path):
    """Makes a ``Training`` of IQL in the corridor; closes what it made."""
    made = []

    def make(**keys):
        named = () if "checkpoint_path" in keys else ("iql", "tests.outside:Corridor")
        values = from_keywords({**SMALL, "trust": True, **keys}, *named).values
        torch.manual_seed(1)
        parts = run.build(values, Logger(logging.getLogger("test")))
        made.append(parts)
        return Training(parts, values, tmp_path)

    yield make
    for parts in made:
        parts.close()


@pytest.mark.parametrize("copies", [1, 2, 4])
def test_the_number_of_updates_depends_on_environment_steps_and_not_on_copies(training, copies):
    one = training(t_max=960, env_steps_per_update=48, batch_size_run=copies, test_interval=0)
    one.run()
    # 4 episodes of 12 steps are collected first: the first update is at step 48, the last at 960
    assert one.parts.runner.t_env == 960
    assert one.updates == (960 - 48) // 48 + 1


def test_no_environment_step_is_tested_twice(training, monkeypatch):
    tested = []
    monkeypatch.setattr("omarl.training_loop.log_test", lambda parts, t_env, directory: tested.append(t_env) or [])
    training(t_max=480, test_interval=240).run()
    assert tested == [0, 240, 480]


def test_pending_statistics_are_logged_at_the_end(training):
    one = training(t_max=240, runner_log_interval=1000, test_interval=0)
    one.run()
    assert "return_mean" in one.parts.logger.latest


def test_a_resumed_run_restores_counters_generators_buffer_and_learner(training, tmp_path):
    one = training(t_max=480, save_buffer=True, test_interval=0)
    one.run()
    one.save()
    state, replay = torch.get_rng_state(), one.buffer.rng.bit_generator.state
    torch.manual_seed(0)
    other = training(checkpoint_path=tmp_path, t_max=960)
    assert (other.updates, other.next_update) == (one.updates, one.next_update)
    assert torch.equal(torch.get_rng_state(), state)
    assert other.buffer.rng.bit_generator.state == replay
    assert other.parts.runner.t_env == 480 and other.parts.runner.episodes == one.parts.runner.episodes
    assert torch.equal(
        other.buffer.data["obs"][: other.buffer.n_episodes], one.buffer.data["obs"][: one.buffer.n_episodes]
    )
    # both make the same update
    for each in (one, other):
        torch.set_rng_state(state)
        each.parts.learner.train(each.buffer.sample(4), 480, 0)
    pairs = zip(one.parts.learner.mac.parameters(), other.parts.learner.mac.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_resumed_run_does_not_repeat_the_first_episodes(training, tmp_path):
    one = training(t_max=48, test_interval=0)
    first = one.parts.runner.run()["obs"]
    one.parts.runner.run()
    one.save()
    other = training(checkpoint_path=tmp_path, t_max=960)
    assert not torch.equal(other.parts.runner.run()["obs"][:, 0], first[:, 0])


@pytest.mark.parametrize("n", [12, 96])
def test_a_resumed_run_can_change_the_update_ratio(training, tmp_path, n):
    one = training(t_max=480, env_steps_per_update=48, save_buffer=True, test_interval=0)
    one.run()
    one.save()
    other = training(checkpoint_path=tmp_path, t_max=1440, env_steps_per_update=n)
    other.run()
    assert abs((other.updates - one.updates) - 960 / n) <= 4


def test_a_resumed_run_can_change_the_learning_rate(training, tmp_path):
    one = training(t_max=96, test_interval=0)
    one.run()
    one.save()
    other = training(checkpoint_path=tmp_path, t_max=960, lr=1e-5)
    assert other.parts.learner.optimiser.param_groups[0]["lr"] == 1e-5
    assert other.parts.learner.optimiser.state  # the moments are restored


def test_evaluation_ignores_the_load_step_of_the_evaluated_run(training, tmp_path):
    one = training(t_max=48, test_interval=0, load_step=3)
    one.run()
    one.save()
    values = from_keywords({"checkpoint_path": tmp_path, "trust": True}, command="evaluate").values
    assert values["load_step"] == 0


def test_resuming_a_finished_run_gives_an_error(training, tmp_path):
    one = training(t_max=48, test_interval=0)
    one.run()
    one.save()
    with pytest.raises(ConfigError, match=r"t_max: .* has already reached step 48; give a larger t_max"):
        training(checkpoint_path=tmp_path)


@pytest.mark.parametrize("keys", [{"buffer_size": 3}, {"batch_size_run": 9, "buffer_size": 8}])
def test_a_buffer_smaller_than_a_batch_is_refused(training, keys):
    with pytest.raises(ConfigError, match=r"^buffer_size: \d episodes are fewer than batch_size"):
        training(**keys)


@pytest.mark.parametrize("name", ["iql", "ippo"])
def test_a_run_that_diverges_stops_names_the_key_and_saves_the_batch(tmp_path, name):
    keys = {"lr": 1e30, "grad_norm_clip": 1e30, "t_max": 4800, "test_interval": 0}
    values = from_keywords({**SMALL, **keys}, name, "tests.outside:Corridor").values
    torch.manual_seed(1)
    parts = run.build(values, Logger(logging.getLogger("test")))
    message = r"^step \d+: the agents' network is not finite: .* lower lr .*; the last batch is in .*last_batch.th$"
    with pytest.raises(TrainingError, match=message):
        Training(parts, values, tmp_path).run()
    parts.close()
    batch = torch.load(tmp_path / "last_batch.th", weights_only=True)
    assert torch.isfinite(batch["data"]["obs"]).all() and (batch["carry"] is None) == (name == "iql")
    assert name == "iql" or batch["ends"]["obs"].shape[1:] == (2, 2)


def test_a_few_skipped_updates_do_not_stop_a_run(training):
    one = training(t_max=480, test_interval=0, learner_log_interval=48)
    train, count = one.parts.learner.train, iter(range(100))

    def faulty(batch, *args):
        if next(count) in (1, 2, 4):
            batch.data["obs"][0, 0] = float("nan")
        train(batch, *args)

    one.parts.learner.train = faulty
    one.run()
    assert one.parts.logger.latest["skipped_updates"] == 3
