"""Sacred's file observer and its capture of output, adapted to omarl."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sacred import stdout_capturing
from sacred.observers import FileStorageObserver
from sacred.serializer import flatten

from .run_directory import base_directory, write_json


class RunDirectory(FileStorageObserver):
    """Sacred's file observer with the folder that the configuration determines.

    There are three differences. Files are replaced atomically. A failed write gives a message and is repeated at the
    next heartbeat, where Sacred would drop the observer for the rest of the run. metrics.json, which must be
    rewritten completely, is kept in memory between heartbeats and written less often as it grows.
    """

    def __init__(self) -> None:
        super().__init__(basedir=".")
        self.metrics: dict[str, dict[str, list[Any]]] = {}
        self.written_at = self.write_seconds = 0.0

    @property
    def path(self) -> Path | None:
        """The run's folder; None before it is created."""
        return Path(self.dir) if self.dir else None

    def started_event(self, ex_info: Any, command: Any, host_info: Any, start_time: Any, config: Any,
                      meta_info: Any, _id: Any) -> Any:  # fmt: skip
        """Sets the folder, then calls Sacred's method."""
        self._set_folder(config)
        return super().started_event(ex_info, command, host_info, start_time, config, meta_info, _id)

    def queued_event(self, ex_info: Any, command: Any, host_info: Any, queue_time: Any, config: Any,
                     meta_info: Any, _id: Any) -> Any:  # fmt: skip
        """Sets the folder, then calls Sacred's method."""
        self._set_folder(config)
        return super().queued_event(ex_info, command, host_info, queue_time, config, meta_info, _id)

    def _set_folder(self, config: Mapping[str, Any]) -> None:
        folder = base_directory(config)
        self.basedir = str(folder)
        self.resource_dir, self.source_dir = folder / "_resources", folder / "_sources"

    def save_json(self, obj: Any, filename: str) -> None:
        """Saves a JSON file as Sacred does, but atomically."""
        assert self.path is not None
        write_json(self.path / filename, flatten(obj))

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Any) -> None:
        """Adds the values of one heartbeat and writes the file if it is due."""
        for name, new in metrics_by_name.items():
            values = self.metrics.setdefault(name, {"steps": [], "values": [], "timestamps": []})
            values["steps"] += new["steps"]
            values["values"] += new["values"]
            values["timestamps"] += [stamp.isoformat() for stamp in new["timestamps"]]
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
        """Calls Sacred's method; a failed write gives a message."""
        self._tolerate(lambda: super(RunDirectory, self).heartbeat_event(info, captured_out, beat_time, result))

    def completed_event(self, stop_time: Any, result: Any) -> None:
        """Writes the metrics, then calls Sacred's method."""
        self._write_metrics()
        self._tolerate(lambda: super(RunDirectory, self).completed_event(stop_time, result))

    def interrupted_event(self, interrupt_time: Any, status: Any) -> None:
        """Writes the metrics, then calls Sacred's method."""
        self._write_metrics()
        self._tolerate(lambda: super(RunDirectory, self).interrupted_event(interrupt_time, status))

    def failed_event(self, fail_time: Any, fail_trace: Any) -> None:
        """Writes the metrics, then calls Sacred's method."""
        self._write_metrics()
        self._tolerate(lambda: super(RunDirectory, self).failed_event(fail_time, fail_trace))

    @staticmethod
    def _tolerate(write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            print(f"run.json not written ({error.strerror})")


class Tee(stdout_capturing.TeeingStreamProxy):
    """Sacred's proxy of stdout or stderr, which writes to the copy only until Sacred closes it.

    Some libraries keep a reference to ``sys.stdout`` and write to it at exit: numba's compiler initialises colorama,
    which resets the terminal's colours in an atexit callback. Sacred's own proxy then raises "I/O operation on
    closed file".
    """

    def write(self, data: str) -> None:
        self.__wrapped__.write(data)
        if not self._self_out.closed:
            self._self_out.write(data)

    def flush(self) -> None:
        self.__wrapped__.flush()
        if not self._self_out.closed:
            self._self_out.flush()


def make_capture_safe() -> None:
    """Makes Sacred capture output with ``Tee``."""
    stdout_capturing.TeeingStreamProxy = Tee
