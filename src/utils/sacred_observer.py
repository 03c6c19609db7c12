"""Sacred's file observer and its capture of output, adapted to omarl."""

import json
import os
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sacred import stdout_capturing
from sacred.observers import FileStorageObserver
from sacred.serializer import flatten
from sacred.utils import apply_backspaces_and_linefeeds

from .files import write_atomically
from .run_directory import base_directory, write_json

MOST_POINTS = 500  # of each metric in metrics.json; even
EPOCH = datetime(1970, 1, 1)


class Curve:
    """At most ``MOST_POINTS`` points of one metric, evenly spread over those that were added, and the last one."""

    def __init__(self) -> None:
        self.steps, self.values, self.seconds = array("q"), array("d"), array("d")
        self.last: tuple[int, float, float] | None = None  # if it is not one of these points
        self.count, self.stride = 0, 1  # of the points that were added; one in ``stride`` is kept

    def add(self, step: int, value: float, stamp: datetime) -> None:
        """Adds a point; the time ``stamp`` is UTC and has no time zone, as Sacred's."""
        self.last = (step, value, (stamp - EPOCH).total_seconds())
        if self.count % self.stride == 0:
            for column, number in zip(self.columns, self.last, strict=True):
                column.append(number)
            self.last = None
        self.count += 1
        if len(self.steps) >= MOST_POINTS:
            self.steps, self.values, self.seconds = (column[::2] for column in self.columns)
            self.stride *= 2

    @property
    def columns(self) -> tuple[Any, Any, Any]:
        """Steps, values and seconds."""
        return self.steps, self.values, self.seconds

    def as_dict(self) -> dict[str, list[Any]]:
        """The points in the format of Sacred's metrics.json."""
        last = [] if self.last is None else [self.last]
        points = [*zip(*self.columns, strict=True), *last]
        stamps = [(EPOCH + timedelta(seconds=seconds)).isoformat() for _, _, seconds in points]
        return {"steps": [step for step, _, _ in points], "values": [v for _, v, _ in points], "timestamps": stamps}


class RunDirectory(FileStorageObserver):
    """Sacred's file observer with the folder that the configuration determines.

    There are five differences. ``run.json`` has the words of the command line in ``meta.words``. Files are replaced
    atomically. A failed write gives a message and is repeated at the next heartbeat, where Sacred would drop the
    observer for the rest of the run. metrics.json, which must be rewritten completely, is kept in memory between
    heartbeats and written less often as it grows. It has at most ``MOST_POINTS`` points of each metric, spread over
    the run, so that the memory of long runs does not grow; metrics.jsonl has all of them.
    """

    def __init__(self, folder: str | None = None, words: Sequence[str] = ()) -> None:
        """``folder`` is that of a run which continues; None: the next number in its configuration's folder.

        ``words`` are those of the command line, after the program's name; a run that continues keeps its first ones.
        """
        super().__init__(basedir=".")
        self.curves: dict[str, Curve] = {}
        self.continued = None if folder is None else Path(folder)
        self.words = list(words)
        self.written_at = self.write_seconds = 0.0

    @property
    def path(self) -> Path | None:
        """The run's folder; None before it is created."""
        return Path(self.dir) if self.dir else None

    def started_event(self, ex_info: Any, command: Any, host_info: Any, start_time: Any, config: Any,
                      meta_info: Any, _id: Any) -> Any:  # fmt: skip
        """Sets the folder, then calls Sacred's method."""
        self._set_folder(config)
        meta = {**meta_info, "words": self._first_words()}
        return super().started_event(ex_info, command, host_info, start_time, config, meta, _id)

    def _first_words(self) -> list[str]:
        if self.continued is not None:
            with suppress(OSError, ValueError, KeyError, TypeError):
                return list(json.loads((self.continued / "run.json").read_text(encoding="utf-8"))["meta"]["words"])
        return self.words

    def queued_event(self, ex_info: Any, command: Any, host_info: Any, queue_time: Any, config: Any,
                     meta_info: Any, _id: Any) -> Any:  # fmt: skip
        """Sets the folder, then calls Sacred's method."""
        self._set_folder(config)
        return super().queued_event(ex_info, command, host_info, queue_time, config, meta_info, _id)

    def _make_run_dir(self, _id: Any) -> None:
        if self.continued is None:
            super()._make_run_dir(_id)
        else:
            self.dir = str(self.continued)

    def _recall(self) -> None:
        """Takes the curves of a run that continues from its metrics.jsonl, up to the last checkpoint."""
        assert self.continued is not None
        last = max((int(p.name) for p in self.continued.glob("checkpoints/*") if p.name.isdecimal()), default=-1)
        with suppress(OSError, ValueError, KeyError, TypeError):
            began = datetime.fromisoformat(json.loads((self.continued / "run.json").read_text())["start_time"])
            for line in (self.continued / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                step, stamp = row.pop("t_env"), began.replace(tzinfo=None) + timedelta(seconds=row.pop("wall_s"))
                if step > last:
                    break
                for name, value in row.items():
                    if value is not None:
                        self.curves.setdefault(name, Curve()).add(step, value, stamp)

    def _set_folder(self, config: Mapping[str, Any]) -> None:
        if self.continued is not None:
            self._recall()
        folder = base_directory(config) if self.continued is None else self.continued.parent
        self.basedir = str(folder)
        self.resource_dir, self.source_dir = folder / "_resources", folder / "_sources"

    def save_json(self, obj: Any, filename: str) -> None:
        """Saves a JSON file as Sacred does, but atomically."""
        assert self.path is not None
        if filename == "config.json" and self.continued is not None:
            return  # the run keeps its configuration
        write_json(self.path / filename, flatten(obj))

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Any) -> None:
        """Adds the values of one heartbeat and writes the file if it is due."""
        for name, new in metrics_by_name.items():
            curve = self.curves.setdefault(name, Curve())
            for step, value, stamp in zip(new["steps"], new["values"], new["timestamps"], strict=True):
                curve.add(step, value, stamp)
        if time.monotonic() - self.written_at >= 20 * self.write_seconds:
            self._write_metrics()

    def _write_metrics(self) -> None:
        """Writes metrics.json, a line for each metric: as one object it takes four times as much memory."""
        assert self.path is not None
        begin = time.monotonic()
        lines = (f"{json.dumps(name)}: {json.dumps(curve.as_dict())}" for name, curve in sorted(self.curves.items()))
        try:
            write_atomically(self.path / "metrics.json", "{" + ",\n".join(lines) + "}\n")
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

    A reader that has gone away (``| head``) does not end the training: later output goes to the copy only.
    """

    def write(self, data: str) -> None:
        try:
            self.__wrapped__.write(data)
        except BrokenPipeError:
            discard(self.__wrapped__)
        if not self._self_out.closed:
            self._self_out.write(data)

    def flush(self) -> None:
        try:
            self.__wrapped__.flush()
        except BrokenPipeError:
            discard(self.__wrapped__)
        if not self._self_out.closed:
            self._self_out.flush()


class OutputFilter:
    """Sacred's filter of captured output, applied to new lines only.

    At each heartbeat Sacred filters the complete output since the start, one character after another. In a run of
    days this would take longer than the time between heartbeats.
    """

    def __init__(self) -> None:
        self.filtered = 0  # characters of complete lines that need no further filtering

    def __call__(self, text: str) -> str:
        """``text`` is the last result and the output since then."""
        result = text[: self.filtered] + apply_backspaces_and_linefeeds(text[self.filtered :])
        self.filtered = result.rfind("\n") + 1
        return result


def discard(stream: Any) -> None:
    """Makes everything that is written to ``stream`` from now on disappear, also at the interpreter's exit."""
    with suppress(OSError, ValueError):  # a stream without a file descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def make_capture_safe() -> None:
    """Makes Sacred capture output with ``Tee``."""
    stdout_capturing.TeeingStreamProxy = Tee
