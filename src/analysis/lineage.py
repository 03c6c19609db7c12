"""Runs with their clock, each joined to the run that it goes on from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .runs import METRICS, SACRED_METRICS, Series, read_config, read_metrics, series_of

NO_CLOCK = Series(np.empty(0), np.empty(0))


class Record(NamedTuple):
    """What a run has left.

    Attributes:
        run: its folder.
        config: its configuration.
        metrics: by name; with those of the runs before it, where it is joined to them.
        wall: seconds since the command's start at steps; empty where the run does not say.
        before: the runs that it goes on from, the first one first.
    """

    run: Path
    config: dict[str, Any]
    metrics: Mapping[str, Series]
    wall: Series
    before: tuple[Path, ...] = ()


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run's metrics."""
    return (folder / METRICS).is_file() or (folder / SACRED_METRICS).is_file()


def read_record(run: Path) -> Record:
    """A run as it lies there."""
    metrics = read_metrics(run)
    return Record(run, read_config(run), metrics, metrics["wall_s"] if "wall_s" in metrics else sacred_clock(run))


def sacred_clock(run: Path) -> Series:
    """Seconds since run.json's start at steps, by the timestamps in Sacred's metrics.json; empty if unknown."""
    try:
        begun = datetime.fromisoformat(json.loads((run / "run.json").read_text(encoding="utf-8"))["start_time"])
        columns = json.loads((run / SACRED_METRICS).read_text(encoding="utf-8")).values()
        pairs = [pair for column in columns for pair in zip(column["steps"], column["timestamps"], strict=False)]
        stamps = sorted((float(step), datetime.fromisoformat(stamp)) for step, stamp in pairs)
        seconds = [(stamp.replace(tzinfo=None) - begun.replace(tzinfo=None)).total_seconds() for _, stamp in stamps]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return NO_CLOCK
    return series_of([step for step, _ in stamps], seconds)


def joined(records: Sequence[Record]) -> list[Record]:
    """Each resumed run with the curves of its predecessor before its own.

    A predecessor is found by ``checkpoint_path``, among the records or where that path leads. It does not count as a
    run of its own where a successor of the same name has taken its curves over.
    """
    known = {record.run.resolve(): record for record in records}
    whole = [_with_past(record, known, ()) for record in records]
    taken = {(run.resolve(), _name(record)) for record in whole for run in record.before}
    kept = [record for record in whole if (record.run.resolve(), _name(record)) not in taken]
    return kept or list(records)  # runs that go on from each other have no last one


def _name(record: Record) -> tuple[Any, Any]:
    return record.config.get("name"), record.config.get("label")


def _with_past(record: Record, known: Mapping[Path, Record], after: tuple[Path, ...]) -> Record:
    """``record`` with all its predecessors; ``after`` guards against runs that go on from each other."""
    place = predecessor(str(record.config.get("checkpoint_path") or ""), known)
    if place is None or place in (*after, record.run.resolve()):
        return record
    past = known[place] if place in known else read_record(place)
    past = _with_past(past, known, (*after, record.run.resolve()))
    start = min((float(series.t[0]) for series in record.metrics.values() if len(series)), default=0.0)
    names = dict.fromkeys([*past.metrics, *record.metrics])
    metrics = {name: _one_behind_the_other(past.metrics.get(name), record.metrics.get(name), start) for name in names}
    wall = record.wall
    if len(wall) and len(past.wall):
        spent = float(np.interp(start, past.wall.t, past.wall.value))
        earlier = past.wall.t < start
        wall = Series(
            np.append(past.wall.t[earlier], wall.t), np.append(past.wall.value[earlier], wall.value + spent)
        )
    return record._replace(metrics=metrics, wall=wall, before=(*past.before, past.run))


def predecessor(checkpoint: str, known: Mapping[Path, Record]) -> Path | None:
    """The folder of the run that a checkpoint belongs to: ``checkpoint`` names the run, its checkpoints, or one."""
    if not checkpoint:
        return None
    path = Path(checkpoint).expanduser()
    own = re.sub(r"/checkpoints(/[^/]+)?/?$", "", str(path).rstrip("/"))
    for place in (path, Path(own)):
        if place.resolve() in known or is_run(place):
            return place.resolve()
    ending = Path(own).parts
    found = [run for run in known if not Path(own).is_absolute() and run.parts[-len(ending) :] == ending]
    return found[0] if len(found) == 1 else None  # relative to where that command was given


def _one_behind_the_other(past: Series | None, present: Series | None, start: float) -> Series:
    parts = [Series(past.t[past.t < start], past.value[past.t < start])] if past is not None else []
    parts += [present] if present is not None else []
    return Series(np.concatenate([p.t for p in parts]), np.concatenate([p.value for p in parts]))
