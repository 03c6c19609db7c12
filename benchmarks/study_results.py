"""The numbers of ``study.py``: those of each finished run, in ``<task>.csv``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from omarl.analysis.runs import Series, read_metrics
from omarl.opponents.pool import read_pool

SCRIPTS, LEARNED = "scripts", "learned"
KNOWN, NEW = "learned, algorithm of training", "learned, new algorithm"
MECHANISM = {"omg_value_std": "std of values over candidates", "omg_value_range": "range",
             "valued_loss": "error of these values", "omg_selected_k": "steps to the selected state",
             "test_omg_hit_ratio": "hit ratio", "test_omg_hit_chance": "its chance level"}  # fmt: skip


class Result(NamedTuple):
    """One number of a run.

    Attributes:
        measure: ``return`` against the opponent ``at``, whose kind is ``kind``; ``length``, the mean steps of these
            episodes; ``curve``, the return of the test at step ``at``; ``seconds`` of training until the end, without
            tests; ``step_us``, microseconds for a step, timed in turn with the other arms (seed 0); or a name of
            ``MECHANISM``.
    """

    arm: str
    seed: int
    measure: str
    kind: str
    at: str
    value: float


def kinds_of(pool: Path) -> dict[str, str]:
    """The kind of each test opponent: a script, or a team whose algorithm occurs in training or does not."""
    members = read_pool(pool).members
    trained = {member.family for member in members if member.split == "train"}
    return {member.name: SCRIPTS if member.kind == "scripted" else KNOWN if member.family in trained else NEW
            for member in members if member.split == "test"}  # fmt: skip


def seconds_of(wall: Series, tested: Iterable[float]) -> float:
    """Seconds of training until the last step, without tests: the median rate of the logs between which was no test.

    The first interval, in which functions are compiled, is left out where there are others.

    Args:
        wall: seconds since the start, at the steps of the logs.
        tested: the steps of the tests.
    """
    at, seconds = np.asarray(wall.t, float), np.asarray(wall.value, float)
    tests = np.array(sorted(tested))
    # a test at step t is between the log of t and the next one, or in that of t itself
    free = [i for i in range(1, len(at)) if not ((tests >= at[i - 1]) & (tests <= at[i])).any()]
    free = free or list(range(1, len(at)))
    per_step = [(seconds[i] - seconds[i - 1]) / (at[i] - at[i - 1]) for i in free[1:] or free]
    return float(np.median(per_step) * at[-1]) if per_step else float("nan")


def measured(arm: str, place: Path, kinds: Mapping[str, str]) -> list[Result]:
    """All numbers of a finished run."""
    seed, metrics = int(place.name), read_metrics(place)
    (file,) = place.glob("checkpoints/*/evaluation.json")
    rows = json.loads(file.read_text(encoding="utf-8"))["by_opponent"]
    found = [Result(arm, seed, measure, kinds[row["name"]], row["name"], row[measure])
             for measure in ("return", "length") for row in rows if row["of"] == "opponent"]  # fmt: skip
    curve = metrics["test_return_mean"]
    found += [Result(arm, seed, "curve", "", f"{t:.0f}", v) for t, v in zip(curve.t, curve.value, strict=True)]
    found.append(Result(arm, seed, "seconds", "", "", seconds_of(metrics["wall_s"], curve.t)))
    found += [Result(arm, seed, name, "", "", metrics[name].value[-1]) for name in MECHANISM if name in metrics]
    return [one._replace(value=float(f"{one.value:.6g}")) for one in found]


def read_times(file: Path) -> dict[str, float]:
    """Seconds for each step of arms that were timed in turn; {} if none was."""
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def read_results(file: Path) -> list[Result]:
    """The numbers in a CSV; none if it does not exist."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [Result(row["arm"], int(row["seed"]), row["measure"], row["kind"], row["at"], float(row["value"]))
                for row in csv.DictReader(lines)]  # fmt: skip


def gather(file: Path, folder: Path, pool: Path, times: Mapping[str, float]) -> list[Result]:
    """The numbers of finished runs and, of runs that are not on the disk, those in the CSV; rewrites the CSV.

    ``times`` are the seconds for each step of arms that were timed in turn.
    """
    known: dict[tuple[str, int], list[Result]] = {}
    for one in read_results(file):
        known.setdefault((one.arm, one.seed), []).append(one)
    places = [
        place.parent
        for place in sorted(folder.glob("*/*/done"))
        if list(place.parent.glob("checkpoints/*/evaluation.json"))
    ]
    if places:
        kinds = kinds_of(pool)
        for place in places:
            arm = place.parent.name.replace(",", " ")
            known[arm, int(place.name)] = measured(arm, place, kinds)
    known |= {(arm, 0): [Result(arm, 0, "step_us", "", "", 1e6 * each)] for arm, each in times.items()}
    found = [one for key in sorted(known) for one in known[key]]
    if found:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(Result._fields)
            writer.writerows([*one[:-1], f"{one.value:.6g}"] for one in found)
    return found
