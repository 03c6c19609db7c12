"""Where a run lives: ``<local_results_path>/sacred/<name>/<env key>/<id>/``, as EPyMARL lays it out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sacred.observers import FileStorageObserver
from sacred.serializer import flatten

from ..types import TrainingError
from .files import writable, write_whole


def env_label(config: Mapping[str, Any]) -> str:
    """``env_args.key``, or the environment's name where it has no key, as one folder's name."""
    key = config.get("env_args", {}).get("key") or config["env"]
    return str(key).replace("/", "_")


def base_directory(config: Mapping[str, Any]) -> Path:
    """The folder that holds the runs of one configuration in one environment."""
    return Path(config["local_results_path"]) / "sacred" / str(config["name"]) / env_label(config)


def check_writable(config: Mapping[str, Any]) -> None:
    """Makes the runs' folder.

    Raises:
        ConfigError: nothing can be written there.
    """
    writable(base_directory(config), "local_results_path")


def write_json(path: Path, value: Any) -> None:
    """Writes all of it or nothing: an interrupt leaves the file as it was."""
    write_whole(path, json.dumps(value, sort_keys=True, indent=2))


def append_line(path: Path, value: Any) -> None:
    """Adds ``value`` as a line of JSON.

    Raises:
        TrainingError: the file cannot be written (a full disk, mostly).
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error


class RunDirectory(FileStorageObserver):
    """Sacred's file observer, in the folder that the configuration says.

    It differs in three things: files are replaced whole, never seen half-written; a failed write is told once
    and tried again at the next beat, where Sacred would drop the observer for the rest of the run; and
    metrics.json, which is rewritten whole, is kept in memory between beats and written the less often the
    larger it grows.
    """

    def __init__(self) -> None:
        super().__init__(basedir=".")
        self.metrics: dict[str, dict[str, list[Any]]] = {}
        self.written_at = self.write_seconds = 0.0

    @property
    def path(self) -> Path | None:
        """The run's folder, once it is made."""
        return Path(self.dir) if self.dir else None

    def started_event(self, ex_info: Any, command: Any, host_info: Any, start_time: Any, config: Any,
                      meta_info: Any, _id: Any) -> Any:  # fmt: skip
        """Chooses the folder, then does as Sacred does."""
        self._settle(config)
        return super().started_event(ex_info, command, host_info, start_time, config, meta_info, _id)

    def queued_event(self, ex_info: Any, command: Any, host_info: Any, queue_time: Any, config: Any,
                     meta_info: Any, _id: Any) -> Any:  # fmt: skip
        """Chooses the folder, then does as Sacred does."""
        self._settle(config)
        return super().queued_event(ex_info, command, host_info, queue_time, config, meta_info, _id)

    def _settle(self, config: Mapping[str, Any]) -> None:
        folder = base_directory(config)
        self.basedir = str(folder)
        self.resource_dir, self.source_dir = folder / "_resources", folder / "_sources"

    def save_json(self, obj: Any, filename: str) -> None:
        """Sacred's, in one piece."""
        assert self.path is not None
        write_json(self.path / filename, flatten(obj))

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Any) -> None:
        """Takes in the values of one beat."""
        for name, new in metrics_by_name.items():
            held = self.metrics.setdefault(name, {"steps": [], "values": [], "timestamps": []})
            held["steps"] += new["steps"]
            held["values"] += new["values"]
            held["timestamps"] += [stamp.isoformat() for stamp in new["timestamps"]]
        if time.monotonic() - self.written_at >= 20 * self.write_seconds:
            self._write_metrics()

    def _write_metrics(self) -> None:
        begin = time.monotonic()
        try:
            self.save_json(self.metrics, "metrics.json")
        except OSError as error:
            print(f"metrics.json not written ({error.strerror}); metrics.jsonl holds the same numbers")
        self.written_at = time.monotonic()
        self.write_seconds = self.written_at - begin

    def heartbeat_event(self, info: Any, captured_out: str, beat_time: Any, result: Any) -> None:
        """Sacred's, surviving a write that fails."""
        self._tolerate(lambda: super(RunDirectory, self).heartbeat_event(info, captured_out, beat_time, result))

    def completed_event(self, stop_time: Any, result: Any) -> None:
        """The last metrics, then Sacred's."""
        self._write_metrics()
        self._tolerate(lambda: super(RunDirectory, self).completed_event(stop_time, result))

    def interrupted_event(self, interrupt_time: Any, status: Any) -> None:
        """The last metrics, then Sacred's."""
        self._write_metrics()
        self._tolerate(lambda: super(RunDirectory, self).interrupted_event(interrupt_time, status))

    def failed_event(self, fail_time: Any, fail_trace: Any) -> None:
        """The last metrics, then Sacred's."""
        self._write_metrics()
        self._tolerate(lambda: super(RunDirectory, self).failed_event(fail_time, fail_trace))

    @staticmethod
    def _tolerate(write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            print(f"run.json not written ({error.strerror})")
