import json
import logging
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from fakes import RecordingLogger
from omarl.types import TrainingError
from omarl.utils.metrics import Grid, IntervalStats, Logger


def test_interval_stats_match_hand_computed_values():
    stats, log = IntervalStats(), RecordingLogger()
    for value in (1.0, 2.0, 6.0):
        stats.add({"x": torch.tensor(value)})
    stats.flush(log, 30)
    assert {k: v for k, v, _ in log.rows} == pytest.approx(
        {"x": 3.0, "x_std": math.sqrt(14 / 3), "x_min": 1.0, "x_max": 6.0}
    )
    log.rows.clear()
    stats.flush(log, 40)
    assert not log.rows  # cleared by the first flush


def test_grid_is_due_once_in_each_interval_at_multiples():
    grid = Grid(1000)
    steps = range(300, 4200, 300)
    assert [t for t in steps if grid.due(t)] == [1200, 2100, 3000]
    assert not any(Grid(0).due(t) for t in steps)
    resumed = Grid(1000, 2500)
    assert not resumed.due(2700) and resumed.due(3000)


def read_lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_each_logged_step_is_one_line(tmp_path):
    logger = Logger(logging.getLogger(), tmp_path)
    logger.log_stat("a", torch.tensor(1.5), 10)
    logger.log_stat("b", 2, 10)
    logger.log_stat("a", 3.0, 20)
    logger.close()
    rows = read_lines(tmp_path)
    assert [{k: v for k, v in row.items() if k != "wall_s"} for row in rows] == [
        {"t_env": 10, "a": 1.5, "b": 2.0},
        {"t_env": 20, "a": 3.0},
    ]
    assert all(row["wall_s"] >= 0 for row in rows)


def test_non_finite_values_are_null_in_the_file_and_not_sent_to_sacred(tmp_path):
    sent = []
    sacred = SimpleNamespace(log_scalar=lambda *a: sent.append(a))
    logger = Logger(logging.getLogger(), tmp_path, sacred)
    logger.log_stat("a", float("nan"), 1)
    logger.log_stat("b", float("inf"), 1)
    logger.log_stat("c", torch.tensor(2.0), 1)
    logger.close()
    row = read_lines(tmp_path)[0]
    assert row["a"] is None and row["b"] is None and row["c"] == 2.0
    assert sent == [("c", 2.0, 1)] and type(sent[0][1]) is float


def test_an_existing_file_is_appended_to(tmp_path):
    for t in (1, 2):
        logger = Logger(logging.getLogger(), tmp_path)
        logger.log_stat("a", t, t)
        logger.close()
    assert [row["t_env"] for row in read_lines(tmp_path)] == [1, 2]


def test_a_full_disk_gives_a_one_line_error(tmp_path):
    logger = Logger(logging.getLogger(), tmp_path)

    class FullDisk:
        name = "metrics.jsonl"

        def write(self, text):
            raise OSError(28, "No space left on device")

    logger._file = FullDisk()
    logger.log_stat("a", 1, 1)
    with pytest.raises(TrainingError, match=r"cannot write metrics.jsonl: No space left on device"):
        logger.write()
    logger.close()  # does not raise again


def test_tensorboard_receives_metrics_and_the_configuration_with_the_test_return(tmp_path):
    """The tab HPARAMS reads the configuration and the last value of the metric, also of a run that was killed."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    config = {"lr": 0.1, "env_args": {"key": "a"}, "double_q": True, "label": "", "pool": None, "by": ["x"]}
    logger = Logger(logging.getLogger(), tmp_path, config={**config, "use_tensorboard": True})
    for t, value in ((1, 2.0), (5, 3.0)):
        logger.log_stat("test_return_mean", value, t)
    logger.log_stat("loss", 1.0, 5)
    logger.write()
    logger._tensorboard.results.flush()

    def read(folder):
        return EventAccumulator(str(tmp_path / folder)).Reload()

    tags = read("tb/hparams").summary_metadata
    start = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG].plugin_data.content)
    values = {name: value.number_value or value.string_value for name, value in start.hparams.items()}
    assert values == {"lr": 0.1, "env_args.key": "a", "double_q": "True", "by": "['x']", "use_tensorboard": "True"}
    assert metadata.SESSION_END_INFO_TAG not in tags
    logger.close()
    results, metrics = read("tb/hparams"), read("tb")
    assert metadata.SESSION_END_INFO_TAG in results.summary_metadata
    assert [point.value for point in results.Scalars("test_return_mean")] == [2.0, 3.0]
    assert results.Tags()["scalars"] == ["test_return_mean"]
    assert {*metrics.Tags()["scalars"]} == {"test_return_mean", "loss"}


def test_tensorboard_is_written_on_request(tmp_path):
    Logger(logging.getLogger(), tmp_path, config={"use_tensorboard": False}).close()
    assert not (tmp_path / "tb").exists()


def test_tensorboard_is_imported_for_the_first_values_only(tmp_path):
    """Its import takes a part of the time before a run's first step."""
    code = f"""
import logging, sys
from pathlib import Path
from omarl.utils.metrics import Logger
logger = Logger(logging.getLogger(), Path({str(tmp_path)!r}), config={{"use_tensorboard": True}})
print("tensorboard" in sys.modules)
logger.log_stat("loss", 1.0, 5)
logger.close()
print("tensorboard" in sys.modules, len(list(Path({str(tmp_path)!r}).glob("tb/events*"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue 1\n"
