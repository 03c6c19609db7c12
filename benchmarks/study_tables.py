"""Tables of ``study.py``: ``<task>.md``, made from the numbers in ``<task>.csv`` alone (``study_results.py``).

Scripted and learned opponents are always separate. Each mean has two 95% intervals (Student's t): over seeds, of the
means over opponents, and over opponents, of the means over seeds. Differences are paired in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from omarl.analysis.runs import read_metrics
from omarl.analysis.statistics import Interval, mean_interval
from study_arms import ARMS
from study_results import KNOWN, LEARNED, MECHANISM, NEW, SCRIPTS, Result

REFERENCES = ("history", "d3qn", "ppo", "base")  # the first one that a table has is the base of differences


def matrix(
    found: Sequence[Result], arm: str, kinds: Sequence[str], measure: str = "return"
) -> dict[tuple[int, str], float]:
    """The final return, or another measure, of each seed against each opponent of these kinds."""
    return {(one.seed, one.at): one.value for one in found
            if one.arm == arm and one.measure == measure and one.kind in kinds}  # fmt: skip


def both(values: Mapping[tuple[int, str], float]) -> tuple[Interval, Interval]:
    """Intervals over seeds and over opponents of the mean of values, which are keyed by both."""
    intervals = []
    for axis in (0, 1):
        groups: dict[object, list[float]] = {}
        for key, value in values.items():
            groups.setdefault(key[axis], []).append(value)
        intervals.append(mean_interval([float(np.mean(each)) for each in groups.values()]))
    return intervals[0], intervals[1]


def difference(
    a: Mapping[tuple[int, str], float], b: Mapping[tuple[int, str], float]
) -> dict[tuple[int, str], float]:
    """The differences of two arms where both have the same seed and opponent."""
    return {key: a[key] - b[key] for key in a.keys() & b.keys()}


def seconds_of_arm(found: Sequence[Result], arm: str) -> float:
    """Seconds that an arm trains: by its time for a step or, if it was not timed, those of its fastest seed."""
    mine = [one for one in found if one.arm == arm]
    steps = max(float(one.at) for one in mine if one.measure == "curve")
    timed = [1e-6 * one.value * steps for one in mine if one.measure == "step_us"]
    return min(timed or [one.value for one in mine if one.measure == "seconds"])


def seeds_of(found: Sequence[Result], arm: str) -> set[int]:
    """The seeds of an arm's runs."""
    return {one.seed for one in found if one.arm == arm and one.measure == "return"}


def return_at(found: Sequence[Result], arm: str, seconds: float) -> dict[int, float]:
    """The return of each seed of an arm after so many seconds of training; its last one if training was shorter."""
    values, whole = {}, seconds_of_arm(found, arm)
    for seed in sorted(seeds_of(found, arm)):
        mine = [one for one in found if one.arm == arm and one.seed == seed and one.measure == "curve"]
        curve = sorted((float(one.at), one.value) for one in mine)
        steps = [t for t, _ in curve]
        values[seed] = float(np.interp(seconds, [whole * t / steps[-1] for t in steps], [v for _, v in curve]))
    return values


def shown(interval: Interval) -> str:
    """An interval as tables show it, without bounds if there was one value only."""
    if np.isnan(interval.low):
        return f"{interval.point:.4g}"
    return f"{interval.point:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def groups_of(found: Sequence[Result]) -> dict[str, tuple[str, ...]]:
    """The groups of opponents that a table has, each with its kinds."""
    there = {one.kind for one in found if one.measure == "return"}
    groups = {SCRIPTS: (SCRIPTS,), LEARNED: (KNOWN, NEW)}
    if {KNOWN, NEW} <= there:
        groups |= {KNOWN: (KNOWN,), NEW: (NEW,)}
    return {name: kinds for name, kinds in groups.items() if there & {*kinds}}


def reference_of(found: Sequence[Result]) -> str:
    """The usual arm of the differences."""
    arms = list(dict.fromkeys(one.arm for one in found if one.measure == "return"))
    return next((arm for arm in REFERENCES if arm in arms), arms[0])


def on_test_of(found: Sequence[Result]) -> list[str]:
    """The arms that are trained against the test opponents, and so no methods."""
    return sorted({one.arm for one in found if one.arm in ARMS and ARMS[one.arm].on_test})


def page(name: str, found: Sequence[Result], team_steps: int, made: str, reference: str = "") -> str:
    """The table of a task; ``reference`` is the arm of the differences, by default one of ``REFERENCES``."""
    arms = list(dict.fromkeys(one.arm for one in found if one.measure == "return"))
    seeds = {arm: len(seeds_of(found, arm)) for arm in arms}
    reference = reference or reference_of(found)
    steps = max(int(one.at) for one in found if one.measure == "curve")
    seen = "".join(f"; `{arm}` is trained against the test opponents" for arm in on_test_of(found))
    lines = [f"# {name}", "",
             f"Runs of {steps:,} steps, against teams that were trained for {team_steps:,}. Training, validation and "
             f"test opponents share no component{seen}. Returns are means; brackets are 95% intervals (Student's t).",
             ""]  # fmt: skip
    for group, kinds in groups_of(found).items():
        opponents = len({one.at for one in found if one.measure == "return" and one.kind in kinds})
        lines += [f"## {group[0].upper()}{group[1:]} ({opponents} opponents)", "",
                  "| | seeds | return, interval over seeds | over opponents | minus "
                  f"{reference}, over seeds | over opponents |",
                  "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
        base = matrix(found, reference, kinds)
        for arm in arms:
            mine = matrix(found, arm, kinds)
            against = difference(mine, base) if arm != reference else {}
            cells = [shown(each) for each in both(mine)] + (
                [shown(each) for each in both(against)] if against else ["", ""]
            )
            lines.append(f"| {arm} | {seeds[arm]} | {' | '.join(cells)} |")
        lines.append("")
    lines += lengths(found, arms, reference)
    lines += [*by_seconds(found, arms, reference), *mechanism(found, arms), f"`{made}`", ""]
    return "\n".join(lines)


def lengths(found: Sequence[Result], arms: Sequence[str], reference: str) -> list[str]:
    """The steps of an episode, if they vary: in each group the mean, and the difference to the reference."""
    if len({one.value for one in found if one.measure == "length"}) < 2:
        return []
    groups = groups_of(found)
    lines = ["## Steps of an episode", "",
             f"Means and intervals over seeds; then differences to {reference}, paired by seed.", "",
             f"| | {' | '.join(f'{group} | minus {reference}' for group in groups)} |",
             f"| --- |{' --- | --- |' * len(groups)}"]  # fmt: skip
    for arm in arms:
        cells = []
        for kinds in groups.values():
            mine, base = (matrix(found, each, kinds, "length") for each in (arm, reference))
            against = difference(mine, base) if arm != reference else {}
            cells += [shown(both(mine)[0]) if mine else "", shown(both(against)[0]) if against else ""]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def by_seconds(found: Sequence[Result], arms: Sequence[str], reference: str) -> list[str]:
    """The returns of all test opponents together, after the seconds that the reference trains."""
    budget = seconds_of_arm(found, reference)
    in_turn = {*arms} <= {one.arm for one in found if one.measure == "step_us"}
    how = "all arms timed in turn" if in_turn else "timed in turn, or those of the arm's fastest seed"
    lines = ["## Equal seconds", "",
             f"Return with all test opponents after {budget:.0f} seconds of training, the time of `{reference}`: one "
             f"thread for each run, without tests and the compilation at the start; {how}. A slower arm is read from "
             "its own tests until then.", "",
             f"| | seconds of training | return | minus {reference} | return at its end |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    base = return_at(found, reference, budget)
    for arm in arms:
        early, late = (return_at(found, arm, t) for t in (budget, np.inf))
        paired = [early[seed] - base[seed] for seed in early.keys() & base.keys()] if arm != reference else []
        cells = [shown(mean_interval([*early.values()])), shown(mean_interval(paired)) if paired else "",
                 shown(mean_interval([*late.values()]))]  # fmt: skip
        lines.append(f"| {arm} | {seconds_of_arm(found, arm):.0f} | {' | '.join(cells)} |")
    return [*lines, ""]


def mechanism(found: Sequence[Result], arms: Sequence[str]) -> list[str]:
    """What models and selectors did at the end of training, if it was measured."""
    names = [name for name in MECHANISM if any(one.measure == name for one in found)]
    if not names:
        return []
    heads = [f"{MECHANISM[name]} (`{name}`)" for name in names]
    lines = ["## Mechanism", "", f"| | {' | '.join(heads)} |", f"| --- |{' --- |' * len(names)}"]
    for arm in arms:
        values = [[one.value for one in found if one.arm == arm and one.measure == name] for name in names]
        if any(values):
            cells = [shown(mean_interval(each)) if each else "" for each in values]
            lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def tables(name: str, found: Sequence[Result], out: Path, team_steps: int, made: str, reference: str = "") -> str:
    """Writes the page of a task; returns a line about it. ``made`` is the command that makes it."""
    if not found:
        return f"{name}: no finished runs"
    if reference and all(one.arm != reference for one in found):
        return f"{name}: no finished runs of {reference}, the --reference"
    (out / f"{name}.md").write_text(page(name, found, team_steps, made, reference), encoding="utf-8")
    return f"{name}: {out / f'{name}.md'}"


def hours(runs: Mapping[Path, str]) -> str:
    """How many runs of each label there are, how many are finished, and the hours of the others at the same speed."""
    lines, total = [], 0.0
    for label in dict.fromkeys(runs.values()):
        places = [place for place, of in runs.items() if of == label]
        done = [place for place in places if (place / "done").is_file()]
        line = f"{label}: {len(places)} runs, {len(done)} finished"
        if done:
            each = float(np.mean([read_metrics(place)["wall_s"].value[-1] for place in done])) / 3600
            total += each * (len(places) - len(done))
            line += f", {each:.2f} hours each"
        lines.append(line)
    return "\n".join([*lines, f"{total:.1f} hours of one core for the runs of labels with a finished run"])
