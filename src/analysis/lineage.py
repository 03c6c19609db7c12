"""Reads runs with their wall-clock times, and joins resumed runs to their predecessors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .runs import EMPTY, METRICS, SACRED_METRICS, Series, read_config, read_metrics, series_of


class Record(NamedTuple):
    """A run's files.

    Attributes:
        run: its folder.
        config: its configuration.
        metrics: by name; a joined run's metrics include those of its predecessors.
        wall: seconds since the command's start, by environment step; empty if the run did not record them.
        before: the predecessors that it resumes, oldest first.
    """

    run: Path
    config: dict[str, Any]
    metrics: Mapping[str, Series]
    wall: Series
    before: tuple[Path, ...] = ()


def is_run(folder: Path) -> bool:
    """Whether a folder contains a run's metrics."""
    return (folder / METRICS).is_file() or (folder / SACRED_METRICS).is_file()


def read_record(run: Path) -> Record:
    """Reads a run."""
    metrics = read_metrics(run)
    return Record(run, read_config(run), metrics, metrics["wall_s"] if "wall_s" in metrics else sacred_clock(run))


def sacred_clock(run: Path) -> Series:
    """Seconds since run.json's start by step, from the timestamps in Sacred's metrics.json; empty if unknown."""
    try:
        start = datetime.fromisoformat(json.loads((run / "run.json").read_text(encoding="utf-8"))["start_time"])
        columns = json.loads((run / SACRED_METRICS).read_text(encoding="utf-8")).values()
        pairs = [pair for column in columns for pair in zip(column["steps"], column["timestamps"], strict=False)]
        stamps = sorted((float(step), datetime.fromisoformat(stamp)) for step, stamp in pairs)
        seconds = [(stamp.replace(tzinfo=None) - start.replace(tzinfo=None)).total_seconds() for _, stamp in stamps]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return EMPTY
    return series_of([step for step, _ in stamps], seconds)


def join_resumed(records: Sequence[Record]) -> list[Record]:
    """Puts the curves of each resumed run's predecessors before its own.

    ``checkpoint_path`` names the predecessor, which may be among the records or elsewhere. A predecessor is removed
    from the result if a successor of the same name includes its curves.
    """
    known = {record.run.resolve(): record for record in records}
    joined = [_with_predecessors(record, known, ()) for record in records]
    included = {(run.resolve(), _name(record)) for record in joined for run in record.before}
    kept = [record for record in joined if (record.run.resolve(), _name(record)) not in included]
    return kept or list(records)  # empty if runs resume each other in a circle


def _name(record: Record) -> tuple[Any, Any]:
    return record.config.get("name"), record.config.get("label")


def _with_predecessors(record: Record, known: Mapping[Path, Record], after: tuple[Path, ...]) -> Record:
    """``record`` joined to all its predecessors; ``after`` stops at runs that resume each other in a circle."""
    place = predecessor(str(record.config.get("checkpoint_path") or ""), known)
    if place is None or place in (*after, record.run.resolve()):
        return record
    past = known[place] if place in known else read_record(place)
    past = _with_predecessors(past, known, (*after, record.run.resolve()))
    start = min((float(series.t[0]) for series in record.metrics.values() if len(series)), default=0.0)
    names = dict.fromkeys([*past.metrics, *record.metrics])
    metrics = {name: _concatenated(past.metrics.get(name), record.metrics.get(name), start) for name in names}
    wall = record.wall
    if len(wall) and len(past.wall):
        offset = float(np.interp(start, past.wall.t, past.wall.value))
        wall = _concatenated(past.wall, Series(wall.t, wall.value + offset), start)
    return record._replace(metrics=metrics, wall=wall, before=(*past.before, past.run))


def predecessor(checkpoint: str, known: Mapping[Path, Record]) -> Path | None:
    """The folder of the run that a checkpoint belongs to.

    ``checkpoint`` may be the path of the run, of its folder ``checkpoints``, or of one checkpoint. A relative path
    refers to the folder of the earlier command, so it is compared with the ends of the known runs' paths.
    """
    if not checkpoint:
        return None
    path = Path(checkpoint).expanduser()
    own = re.sub(r"/checkpoints(/[^/]+)?/?$", "", str(path).rstrip("/"))
    for place in (path, Path(own)):
        if place.resolve() in known or is_run(place):
            return place.resolve()
    ending = Path(own).parts
    matches = [run for run in known if not Path(own).is_absolute() and run.parts[-len(ending) :] == ending]
    return matches[0] if len(matches) == 1 else None


def _concatenated(past: Series | None, present: Series | None, start: float) -> Series:
    """``past`` before the step ``start``, then ``present``."""
    parts = [Series(past.t[past.t < start], past.value[past.t < start])] if past is not None else []
    parts += [present] if present is not None else []
    return Series(np.concatenate([p.t for p in parts]), np.concatenate([p.value for p in parts]))
