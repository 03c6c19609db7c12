"""Reads a run's metrics and configuration, also of runs that are still being written or ended within a line."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..config.files import read_json, usable_path
from ..types import ConfigError, OmarlError, PathLike

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
SACRED_METRICS = "metrics.json"
MOST_LINE = 2**22  # characters of a line of metrics.jsonl
MOST_BYTES = 2**29  # of a file that is read at once


@dataclass(frozen=True, eq=False)
class Series:
    """One metric over training."""

    t: NDArray[np.float64]  # [points], environment steps, strictly increasing
    value: NDArray[np.float64]  # [points]; NaN where the run logged null

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, chosen: slice | NDArray[np.bool_]) -> Series:
        return Series(self.t[chosen], self.value[chosen])


EMPTY = Series(np.empty(0), np.empty(0))


def finite(series: Series | None) -> Series:
    """The points whose value is a finite number; empty for None."""
    return EMPTY if series is None else series[np.isfinite(series.value)]


def read_metrics(run_dir: PathLike) -> dict[str, Series]:
    """All metrics of a run by name, including ``wall_s``; empty if nothing has been logged yet.

    Reads ``metrics.jsonl``, or Sacred's ``metrics.json`` if the former does not exist. If a step was logged twice (a
    resumed run repeats some), the last value counts. Raises OmarlError if ``run_dir`` is not a run, or its metrics
    cannot be read.
    """
    run = usable_path(run_dir, "run")
    if not run.is_dir():
        raise OmarlError(f"{run} is not a run: there is no such directory")
    if (run / METRICS).is_file():
        return _read_lines(run / METRICS)
    if (run / SACRED_METRICS).is_file():
        return _read_sacred(run / SACRED_METRICS)
    raise OmarlError(f"{run} is not a run: it contains neither {METRICS} nor {SACRED_METRICS}")


def is_run(folder: Path) -> bool:
    """Whether a folder contains a run's metrics."""
    return (folder / METRICS).is_file() or (folder / SACRED_METRICS).is_file()


def read_config(run_dir: PathLike) -> dict[str, Any]:
    """The run's ``config.json``; empty if it is missing or cannot be read."""
    try:
        return read_json(Path(run_dir) / "config.json")
    except ConfigError:
        return {}


def parsed(text: str, kinds: type | tuple[type, ...] = dict) -> Any:
    """The value of a JSON text; None if it cannot be read or is not of these types."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kinds) else None


def _read_lines(path: Path) -> dict[str, Series]:
    """Reads JSON lines ``{"t_env": int, "<metric>": number or null, ...}``.

    An incomplete last line is ignored; other unreadable lines give a warning.
    """
    columns: dict[str, tuple[list[float], list[float]]] = {}
    broken, last_is_broken = 0, False
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in short_lines(lines):
            record = parsed(line)
            t = number_of(record.pop("t_env", None)) if record is not None else None
            last_is_broken = record is None or t is None or not math.isfinite(t)
            broken += last_is_broken
            if record is None or t is None or last_is_broken:
                continue
            for name, raw in record.items():
                value = raw if type(raw) is float else number_of(raw)
                if value is not None:
                    steps, values = columns.setdefault(name, ([], []))
                    steps.append(t)
                    values.append(value)
    if broken > last_is_broken:
        log.warning("%s: %d unreadable lines left out", path, broken - last_is_broken)
    return {name: series_of(steps, values) for name, (steps, values) in columns.items()}


def short_lines(file: TextIO) -> Iterator[str]:
    """The lines of a file; a line that is longer than any line of metrics becomes empty, so that memory suffices."""
    while line := file.readline(MOST_LINE):
        is_complete = len(line) < MOST_LINE or line.endswith("\n")
        while len(line) == MOST_LINE and not line.endswith("\n"):
            line = file.readline(MOST_LINE)
        yield line if is_complete else ""


def read_limited(path: Path) -> bytes:
    """A file's content; raises OmarlError if it is larger than any file of metrics that is read at once."""
    if path.stat().st_size > MOST_BYTES:
        raise OmarlError(f"{path} has more than {MOST_BYTES:,} bytes; give metrics.jsonl, which is read line by line")
    return path.read_bytes()


def _read_sacred(path: Path) -> dict[str, Series]:
    """Reads Sacred's ``{name: {"steps": [...], "values": [...], "timestamps": [...]}}``."""
    try:  # millions of timestamps are removed before parsing, for speed
        text = re.sub(rb'"timestamps":\s*\[[^\]]*\]', b'"timestamps":[]', read_limited(path))
        metrics = {name: sacred_series(m["steps"], m["values"]) for name, m in json.loads(text).items()}
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        raise OmarlError(f"{path} is not one of Sacred's metrics files, or it is cut off: {error}") from error
    return {name: series for name, series in metrics.items() if len(series)}


def sacred_series(steps: list[Any], values: list[Any]) -> Series:
    """One metric of Sacred's file; steps without value and values without step are left out."""
    n = min(len(steps), len(values))
    (t, has_step), (value, has_value) = _column(steps[:n]), _column(values[:n])
    kept = has_step & has_value & np.isfinite(t)
    return series_of(t[kept], value[kept])


def _column(raws: list[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers as float64 with null as NaN, and a mask of the entries that are numbers or null."""
    try:
        column = np.array(raws)  # fast, and correct if all entries are numbers or null
        if column.ndim == 1 and (column.dtype.kind in "biuf" or not any(isinstance(raw, str) for raw in raws)):
            return column.astype(np.float64), np.ones(len(column), bool)
    except (TypeError, ValueError):
        pass
    numbers = [number_of(raw) for raw in raws]
    column = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
    return column, np.array([number is not None for number in numbers], dtype=bool)


def number_of(raw: Any) -> float | None:
    """A float; NaN for null; None if ``raw`` is not a number.

    Sacred's jsonpickle writes NumPy scalars as ``{"py/object": ..., "dtype": ..., "value": x}``.
    """
    if raw is None:
        return np.nan
    if isinstance(raw, dict):
        raw = raw.get("value")
    try:
        return float(raw) if isinstance(raw, int | float) else None
    except OverflowError:  # an integer above all floats
        return np.nan


def series_of(steps: Iterable[float], values: Iterable[float]) -> Series:
    """Creates a series sorted by step; of equal steps, the last one is kept."""
    t = np.asarray(steps, dtype=np.float64)
    value = np.asarray(values, dtype=np.float64)
    order = np.argsort(t, kind="stable")
    t, value = t[order], value[order]
    return Series(t, value)[np.append(t[1:] != t[:-1], True)[: len(t)]]
