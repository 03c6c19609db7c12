"""Further loggers: what W&B, MLflow and MongoDB receive, and that none of them can stop a training."""

import json
import logging
import struct
from datetime import datetime
from pathlib import Path

import omarl
import pytest
from omarl.config.nesting import flat
from omarl.observers.guard import Guard, observers_named
from omarl.observers.remote import by_step
from omarl.types import ConfigError

CONFIG = {"name": "iql", "label": "", "seed": 3, "lr": 0.1, "env_args": {"key": "mpe2.simple_tag_v3"}}
METRICS = {"loss": {"steps": [100, 200], "values": [2.0, 1.0], "timestamps": [datetime(2026, 1, 1)] * 2},
           "test_return_mean": {"steps": [200], "values": [7.5], "timestamps": [datetime(2026, 1, 1)]}}  # fmt: skip
SOURCE = {"name": "omarl", "base_dir": "", "sources": [], "dependencies": [], "repositories": [], "mainfile": None}
START = {"ex_info": SOURCE, "command": "train", "host_info": {}, "start_time": datetime(2026, 1, 1), "config": CONFIG,
         "meta_info": {}, "_id": "1"}  # fmt: skip


def observed(name: str, folder: Path, end: str = "completed_event") -> None:
    """What Sacred tells an observer during a run."""
    (folder / "curves.png").write_bytes(PICTURE)
    (guard,) = observers_named([name])
    assert guard.started_event(**START) == "1"
    assert guard.begin(folder).startswith(f"{name}: ")
    guard.log_metrics(metrics_by_name=METRICS, info={})
    guard.heartbeat_event(info={}, captured_out="out", beat_time=datetime(2026, 1, 1), result=None)
    guard.send_picture(folder)
    getattr(guard, end)(
        **{"completed_event": {"stop_time": datetime(2026, 1, 1), "result": 7.5},
           "interrupted_event": {"interrupt_time": datetime(2026, 1, 1), "status": "INTERRUPTED"}}[end]
    )  # fmt: skip
    assert guard.observer is not None, "an error ended it"


PICTURE = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8"
                        "cfc000000301010018dd8db00000000049454e44ae426082")  # fmt: skip


def wandb_records(file: Path):
    """The records of an offline run: LevelDB's log format, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, text = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        text += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # complete, or its last part
            record = Record()
            record.ParseFromString(text)
            yield record
            text = b""


def test_wandb_receives_configuration_metrics_picture_and_status(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "study")
    observed("wandb", tmp_path)
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found = list(wandb_records(file))
    runs = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (runs[0].project, runs[0].display_name) == ("study", "iql on mpe2.simple_tag_v3, seed 3")
    assert runs[0].run_group == "iql on mpe2.simple_tag_v3"
    config = {item.key: json.loads(item.value_json) for run in runs for item in run.config.update}
    assert config["lr"] == 0.1 and config["env_args"] == CONFIG["env_args"]
    rows = [{"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            for record in found if record.WhichOneof("record_type") == "history"]  # fmt: skip
    values = [{key: row[key] for key in row if not key.startswith("_")} for row in rows]
    assert values[:2] == [{"t_env": 100, "loss": 2.0}, {"t_env": 200, "loss": 1.0, "test_return_mean": 7.5}]
    assert "curves" in str(values[2]) and list(file.parent.glob("files/media/images/curves_*.png"))
    assert [r.exit.exit_code for r in found if r.WhichOneof("record_type") == "exit"] == [0]


def test_mlflow_receives_configuration_metrics_picture_and_status_and_continues_a_run(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "study")
    monkeypatch.chdir(tmp_path)
    from mlflow import MlflowClient

    observed("mlflow", tmp_path, "interrupted_event")
    client = MlflowClient()
    number = client.get_experiment_by_name("study").experiment_id
    (run,) = client.search_runs([number])
    assert (run.info.run_name, run.info.status) == ("iql on mpe2.simple_tag_v3, seed 3", "KILLED")
    assert run.data.params["lr"] == "0.1" and run.data.params["env_args.key"] == "mpe2.simple_tag_v3"
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [(100, 2.0), (200, 1.0)]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["curves.png"]
    observed("mlflow", tmp_path)  # resumed
    (run,) = client.search_runs([number])
    assert run.info.status == "FINISHED" and run.data.metrics["test_return_mean"] == 7.5


def test_mongodb_receives_configuration_metrics_picture_and_status(tmp_path, monkeypatch):
    mongomock, pymongo = pytest.importorskip("mongomock"), pytest.importorskip("pymongo")
    from mongomock.gridfs import enable_gridfs_integration

    enable_gridfs_integration()
    server = mongomock.MongoClient("mongodb://host/study")
    monkeypatch.setenv("MONGO_URL", "mongodb://host/study")
    monkeypatch.setattr(pymongo, "MongoClient", lambda url, **_: server if url == "mongodb://host/study" else None)
    observed("mongo", tmp_path)
    (run,) = server["study"]["runs"].find()
    assert run["config"]["lr"] == 0.1 and run["status"] == "COMPLETED" and run["result"] == 7.5
    losses = server["study"]["metrics"].find_one({"name": "loss"})
    assert (losses["steps"], losses["values"]) == ([100, 200], [2.0, 1.0])
    assert [file["name"] for file in run["artifacts"]] == ["curves.png"]
    assert server["study"]["fs.files"].find_one()["length"] == len(PICTURE)


def test_a_database_that_does_not_answer_refuses_the_start_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("pymongo")
    monkeypatch.setattr("omarl.observers.mongo.TIMEOUT", 50)
    monkeypatch.setenv("MONGO_URL", "mongodb://127.0.0.1:9/study")
    (guard,) = observers_named("mongo")
    guard.started_event(**START)
    with pytest.raises(ConfigError, match=r"^observers: mongo cannot start \(ServerSelectionTimeoutError: .*\)$"):
        guard.begin(tmp_path)


def test_a_missing_package_is_named_before_anything_starts(monkeypatch):
    monkeypatch.setattr("omarl.observers.guard.find_spec", lambda name: None)
    for name, package in (("wandb", "wandb"), ("mlflow", "mlflow"), ("mongo", "pymongo")):
        line = f"^observers: {name} needs a package that is missing; pip install {package}$"
        with pytest.raises(ConfigError, match=line):
            observers_named(name)
    with pytest.raises(ConfigError, match=r"observer: unknown name 'wandd'; did you mean 'wandb'\?"):
        observers_named(["wandd"])


class Broken:
    """An observer whose network fails after the first metrics."""

    calls: list[str] = []  # noqa: RUF012

    def __init__(self, folder):
        self.calls.clear()

    def started_event(self, **_):
        pass

    def log_metrics(self, metrics_by_name, **_):
        self.calls.append("metrics")
        if len(self.calls) > 1:
            raise ConnectionError("no route to host\nand more")

    def completed_event(self, **_):
        self.calls.append("completed")


def test_an_observer_that_fails_gives_one_notice_and_receives_nothing_more(tmp_path, caplog):
    guard = Guard("broken", Broken)
    guard.log_metrics(metrics_by_name=METRICS, info={})  # Sacred's thread is earlier than the start
    guard.started_event(**START)
    guard.begin(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            guard.log_metrics(metrics_by_name=METRICS, info={})
        guard.completed_event(stop_time=None, result=None)
    assert Broken.calls == ["metrics", "metrics"]
    assert [record.getMessage() for record in caplog.records] == [
        "broken receives no more of this run (ConnectionError: no route to host); the run's folder has everything"
    ]


def test_metrics_are_sorted_by_step_and_nested_keys_get_dots():
    assert by_step(METRICS) == {100: {"loss": 2.0}, 200: {"loss": 1.0, "test_return_mean": 7.5}}
    assert flat({"a": {"b": {"c": 1}}, "d": {}}) == {"a.b.c": 1, "d": {}}


def test_python_calls_refuse_observers(tmp_path):
    with pytest.raises(ConfigError, match="observers: the command line has them"):
        omarl.train("iql", observers=["wandb"], path=tmp_path / "run")
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
