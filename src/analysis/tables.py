"""Reads metrics written by other programs: CSV files, JSON lines and TensorBoard event files.

The files of RLlib (``progress.csv``, ``result.json``), Stable-Baselines3 (CSV), CleanRL (event files) and custom
training loops become series by name. The step column is recognised by its name.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import OmarlError
from .runs import (
    MOST_LINE,
    Series,
    is_run,
    number_of,
    parsed,
    read_limited,
    read_metrics,
    sacred_series,
    series_of,
    short_lines,
)

EVENTS = "events.out.tfevents"
ABSENT = -np.inf  # marks a cell without a number; no loss has this value
# Names of the step column, in order of preference.
STEPS = ("t_env", "step", "_step", "steps", "global_step", "env_steps", "total_timesteps", "time/total_timesteps",
         "timesteps_total", "num_env_steps_sampled", "num_env_steps_sampled_lifetime", "timesteps", "n_updates",
         "updates", "update", "train_step", "iteration", "training_iteration", "time/iterations", "iter", "epoch",
         "episode", "episodes_total", "t")  # fmt: skip
TABLES = ("progress.csv", "result.json", "metrics.csv", "log.csv", "progress.json", "results.csv")


def read_any(path: Path) -> dict[str, Series]:
    """Reads all series of a run: a Sacred folder, a CSV file, JSON lines, or TensorBoard events or their folder.

    Raises:
        OmarlError: the path does not exist or cannot be read.
    """
    if path.is_file():
        return _read_file(path)
    if path.is_dir() and not is_run(path):
        # a table with a usual name, or the only CSV or JSON-lines file
        usual = [path / name for name in TABLES if (path / name).is_file()]
        tables = [p for p in sorted(path.iterdir()) if p.suffix in (".csv", ".jsonl", ".ndjson")]
        if usual or len(tables) == 1:
            return _read_file((usual or tables)[0])
        if any(path.rglob(f"*{EVENTS}*")):
            return _read_events(path)
    return read_metrics(path)


def run_directory(path: Path) -> Path:
    """The folder that contains a run's configuration."""
    return path.parent if path.is_file() else path


def _read_file(path: Path) -> dict[str, Series]:
    try:
        if EVENTS in path.name:
            return _read_events(path)
        if path.suffix in (".json", ".jsonl", ".ndjson"):
            return _read_json(path)
        if path.suffix in (".csv", ".tsv", ".txt"):
            return _read_csv(path)
    except (OSError, ValueError, csv.Error, RecursionError, OverflowError) as error:
        raise OmarlError(f"{path} cannot be read: {error}") from None
    raise OmarlError(f"{path} has an unknown format; known are .csv, .json, .jsonl and TensorBoard ({EVENTS}...)")


def _read_csv(path: Path) -> dict[str, Series]:
    """Reads a table with a header line; cells that are not numbers are left out."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        sample = lines.readline(MOST_LINE)
        lines.seek(0)
        separator = max(",;\t", key=sample.count)
        rows = csv.reader((line for line in short_lines(lines) if not line.startswith("#")), delimiter=separator)
        head = [name.strip() for name in next(rows, [])]
        if len(head) < 2 or any(_number(name) != ABSENT for name in head):
            raise OmarlError(f"{path} has no header line with at least two column names (step and losses)")
        columns = list(zip(*(row for row in rows if len(row) == len(head)), strict=True))
    if not columns:
        return {}
    return _over_steps({n: np.array(list(map(_number, cells))) for n, cells in zip(head, columns, strict=True)})


def _number(text: str) -> float:
    """The number in a cell; ``ABSENT`` if it has none."""
    try:
        return float(text)
    except ValueError:
        return ABSENT


def _read_json(path: Path) -> dict[str, Series]:
    """Reads one object per line, one list of objects, or Sacred's metrics file; nested names are joined to a path."""
    text = read_limited(path).decode(errors="replace")
    records = [record for line in text.splitlines() if (record := parsed(line)) is not None]
    if not records:
        content = parsed(text, (dict, list))
        columns = list(content.values()) if isinstance(content, dict) else []
        if columns and all(isinstance(column, dict) and "values" in column for column in columns):
            steps = {name: m.get("steps") or list(range(len(m["values"]))) for name, m in content.items()}
            return {name: sacred_series(steps[name], m["values"]) for name, m in content.items()}
        if columns and all(isinstance(column, list) for column in columns):
            numbers = {name: map(number_of, column) for name, column in content.items()}
            return _over_steps({n: np.array([ABSENT if x is None else x for x in v]) for n, v in numbers.items()})
        records = [r for r in content if isinstance(r, dict)] if isinstance(content, list) else []
    if not records:
        raise OmarlError(f"{path} contains no JSON objects, one per line: {{'step': 1, 'kl': 2.5, ...}}")
    flat = [dict(_flattened(record)) for record in records]
    names = dict.fromkeys(name for record in flat for name in record)
    return _over_steps({n: np.array([record.get(n, ABSENT) for record in flat]) for n in names})


def _flattened(record: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, float]]:
    """The numbers of nested objects, named by path: ``info/learner/vae/kl``."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{path}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{path}{name}", float(value)


def _over_steps(columns: dict[str, NDArray[np.float64]]) -> dict[str, Series]:
    """All other columns as series over the step column, or over the row number if there is no step column."""
    by_name = {name.lower(): name for name in columns}
    ends = {name.lower().rsplit("/", 1)[-1]: name for name in reversed(list(columns))}
    steps = None
    for wanted in STEPS:
        name = by_name.get(wanted, ends.get(wanted))
        if name is not None and _grows(columns[name]):
            steps = name
            break
    t = columns[steps] if steps is not None else np.arange(len(next(iter(columns.values()), ())), dtype=np.float64)
    result = {}
    for name, value in columns.items():
        present = (value != ABSENT) & np.isfinite(t)
        if name != steps and present.any():
            result[name] = series_of(t[present], value[present])
    return result


def _grows(column: NDArray[np.float64]) -> bool:
    """Whether a column can be the steps: at least half finite, never falling, and not constant."""
    known = column[np.isfinite(column)]
    rises = len(known) > 1 and (np.diff(known) >= 0).all() and known[-1] > known[0]
    return bool(rises and len(known) >= 0.5 * len(column))


def _read_events(path: Path) -> dict[str, Series]:
    """Reads the scalars of one TensorBoard file, or of all files below a folder.

    Tags of several subfolders are prefixed by the subfolder's path.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError:
        raise OmarlError(f"{path} is a TensorBoard file, but the package tensorboard is not installed") from None
    places = [path] if path.is_file() else sorted({file.parent for file in path.rglob(f"*{EVENTS}*")})
    result: dict[str, Series] = {}
    for place in places:
        prefix = "" if len(places) == 1 or place == path else f"{place.relative_to(path)}/"
        events = EventAccumulator(str(place), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        tags = events.Tags()
        scalars = {tag: [(p.step, p.value) for p in events.Scalars(tag)] for tag in tags.get("scalars", [])}
        for tag in tags.get("tensors", []):
            read = [(p.step, make_ndarray(p.tensor_proto)) for p in events.Tensors(tag)]
            scalars[tag] = [(t, float(v.item())) for t, v in read if v.size == 1 and v.dtype.kind in "fiu"]
        result |= {prefix + tag: series_of(*zip(*pairs, strict=True)) for tag, pairs in scalars.items() if pairs}
    return result
