"""Results of the runs of ``omg.py`` as CSV, tables and pictures.

``benchmarks/omg/<task>.csv`` has the test results of each run. Tables and pictures are made from it alone, so later
runs can be added, and results of runs that are no longer on the disk are kept.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from omarl.analysis.comparison import Group, draw_comparison, on_grid, row_of
from omarl.analysis.runs import Series, read_metrics, series_of
from omarl.analysis.statistics import Interval, stratified_bootstrap_interval
from omg_tasks import CHOICES, RETEST, SEEDS, SETTINGS, STARTS, STEPS, TASKS, TESTED, UNTUNED, USUAL, called

OUT = Path(__file__).parent / "omg"
AGAINST = "test_return_against/"
NEW_PREY = "script, prey new"
FORMER_NAMES = {"omg_categorical": "place_prediction", "omg_objects": "object_prediction"}  # of runs made before 0.2
MEASURES = {"test_return_mean": "return", "test_ep_length_mean": "length", "test_omg_hit_ratio": "hits",
            "test_omg_hit_chance": "chance"}  # fmt: skip
COMPARED = ("omg", "place_prediction", "object_prediction")  # arms that pages compare with all others
EARLY = 0.4  # share of a run after which arms are compared for the first time
LEGEND = (
    "*Above* and *below* mean that 95% intervals do not overlap, *level with* that they do. The gap closed is "
    "(arm - history) / (other - history); it is given where the other arm is better than history."
)


class Result(NamedTuple):
    """One measure of one test of a run.

    Attributes:
        steps: training steps before the test.
        episodes: number of test episodes.
        measure: ``return``, ``return/<family>`` (or ``NEW_PREY``), ``length``, ``hits`` or ``chance``.
    """

    arm: str
    seed: int
    steps: int
    episodes: int
    measure: str
    value: float


def finished(folder: Path) -> list[Path]:
    """The finished runs of an arm. The name of each run's folder is its seed."""
    return sorted((place for place in folder.glob("*") if place.name.isdigit()), key=lambda place: int(place.name))


def with_new_prey(name: str) -> set[str]:
    """The test scripts whose prey does not occur in training; empty if that is true of all or of none."""
    task = TASKS[name]
    trained = {script.partition("+")[2] for script in task.train}
    new = {script for script in task.test if script.partition("+")[2] not in trained}
    return new if len(new) < len(task.test) else set()


def measured(name: str, arm: str, place: Path) -> list[Result]:
    """Returns of a finished run at each test, and all measures of its final test.

    The final test is the one that ``omg.py`` made after the run, or the run's own last test.
    """
    (run,) = place.glob("sacred/*/*/1")
    seed, metrics = int(place.name), read_metrics(run)
    curve = metrics["test_return_mean"]
    found = [Result(arm, seed, int(t), TESTED, "return", float(v)) for t, v in zip(curve.t, curve.value, strict=True)]
    files = sorted(run.glob("checkpoints/*/evaluation.json"), key=lambda file: int(file.parent.name))
    if files:
        values, episodes = json.loads(files[-1].read_text(encoding="utf-8")), RETEST
    else:
        values, episodes = {name: series.value[-1] for name, series in metrics.items()}, TESTED
    each = {line["name"]: line["return"] for line in values.get("by_opponent", ()) if line["of"] == "opponent"}
    if each and (new := with_new_prey(name)):
        values[AGAINST + NEW_PREY] = np.mean([each[script] for script in new])
    for number, value in values.items():
        against = f"return/{number.removeprefix(AGAINST)}" if number.startswith(AGAINST) else ""
        measure = MEASURES.get(number) or against
        if measure and (files or measure != "return"):
            found.append(Result(arm, seed, int(curve.t[-1]), episodes, measure, float(value)))
    return found


def gather(name: str, results: Path | None) -> list[Result]:
    """Results of the runs of a task: from finished runs, and from the CSV for runs that are not on the disk."""
    file = OUT / f"{name}.csv"
    known: dict[tuple[str, int], list[Result]] = {}
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                arm = FORMER_NAMES.get(row["arm"], row["arm"])
                one = Result(arm, int(row["seed"]), int(row["steps"]), int(row["episodes"]), row["measure"],
                             float(row["value"]))  # fmt: skip
                known.setdefault((one.arm, one.seed), []).append(one)
    task = next((task for task in TASKS if name == task or name.startswith(f"{task}_")), "")
    for folder in sorted((results / name).glob("*")) if results else ():
        arm = FORMER_NAMES.get(folder.name, folder.name)
        known |= {(arm, int(place.name)): measured(task, arm, place) for place in finished(folder)}
    found = [one._replace(value=float(f"{one.value:.6g}")) for key in sorted(known) for one in known[key]]
    if found:
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(Result._fields)
            writer.writerows([*one[:-1], f"{one.value:.6g}"] for one in found)
    return found


def curves(found: Iterable[Result], arm: str) -> list[Series]:
    """The learning curve of each run of an arm, in the order of seeds."""
    tests: dict[int, list[Result]] = {}
    for one in found:
        if one.arm == arm and one.measure == "return" and one.episodes == TESTED:
            tests.setdefault(one.seed, []).append(one)
    return [series_of([one.steps for one in each], [one.value for one in each]) for each in tests.values()]


def ends(found: Iterable[Result], arm: str, measure: str) -> list[float]:
    """A measure at the end of each run of an arm: of the last test with the most episodes."""
    last: dict[int, Result] = {}
    for one in found:
        if one.arm == arm and one.measure == measure:
            last[one.seed] = max(last.get(one.seed, one), one, key=lambda each: (each.steps, each.episodes))
    return [one.value for one in last.values()]


def columns(found: Sequence[Result], arm: str, name: str) -> dict[str, Interval]:
    """The table's row of an arm: column -> interval."""
    task, lines = TASKS[name], curves(found, arm)
    early = [float(on_grid(curve, np.array([EARLY * task.steps]))[0]) for curve in lines]
    values = {"early, all 30": early, "all 30": ends(found, arm, "return")}
    values |= {family: ends(found, arm, f"return/{family}") for family in families(name)}
    if with_new_prey(name):
        values[NEW_PREY] = ends(found, arm, f"return/{NEW_PREY}")
    if task.has_end:
        values["steps to finish"] = ends(found, arm, "length")
    over_the_run = {"over the run, all 30": row_of(Group(name, arm, tuple(lines))).area}
    return over_the_run | {column: stratified_bootstrap_interval(each) for column, each in values.items()}


def families(name: str) -> tuple[str, ...]:
    """The families of a task's test opponents: scripts, and teams by the algorithm that trained them."""
    return ("script", *dict.fromkeys(alg for alg, _ in TASKS[name].teams))


def tables(name: str, results: Path | None) -> None:
    """Writes all tables of a task for which there are runs or a CSV."""
    folder = called(name)
    found = gather(folder, results)
    table(name, USUAL, "return of each method", folder, found)
    for arm, choices in CHOICES.items():
        if any(one.arm in choices for one in found):
            table(name, [arm, *choices], f"{arm}'s choices", f"{folder}_{arm}_choices", found)
    if tuned := gather(f"{folder}_tuning", results):
        tuning(name, tuned)


def table(name: str, arms: Sequence[str], title: str, out: str, found: Sequence[Result]) -> None:
    """Writes one table and its picture, with the arms that have at least two runs."""
    task = TASKS[name]
    seeds = {arm: len(curves(found, arm)) for arm in arms}
    arms = [arm for arm in arms if seeds[arm] > 1]
    if not arms:
        return
    rows = {arm: columns(found, arm, name) for arm in arms}
    _, first, second = families(name)
    file = f"{called(name)}.csv"
    heads = " | ".join(rows[arms[0]])
    lines = [f"# {name}: {title}", "",
             f"Each run trains for {task.steps:,} steps with 10 scripts. Tests use 30 held-out opponents: 20 other "
             f"scripts, 6 {first} teams and 4 {second} teams. Columns: the return averaged over the run, after "
             f"{EARLY * task.steps:,.0f} steps (early), and at the end with all opponents and with each family. "
             "Values are interquartile means over seeds with 95% bootstrap intervals; the results of each run are in "
             f"[{file}]({file}).",
             "", f"| | seeds | {heads} |", f"| --- |{' --- |' * (heads.count('|') + 2)}"]  # fmt: skip
    if new := with_new_prey(name):
        lines[2] += f" *{NEW_PREY}* are the {len(new)} test scripts with a prey that does not occur in training."
    lines += [f"| {arm} | {seeds[arm]} | {' | '.join(map(shown, row.values()))} |" for arm, row in rows.items()]
    if any(arm in COMPARED for arm in arms):
        lines += ["", LEGEND]
    for arm in (arm for arm in COMPARED if arm in arms):
        lines += comparisons(name, arm, rows) + accuracy(arm, found)
    last = {arm: max(one.seed for one in found if one.arm == arm) for arm in arms}
    made = [command(name, [arm for arm in arms if last[arm] == seed], seed) for seed in sorted({*last.values()})]
    lines += ["", f"![curves]({out}.png)", "", f"{', '.join(made[::-1])}, then `table`.", ""]
    (OUT / f"{out}.md").write_text("\n".join(lines), encoding="utf-8")
    groups = [Group(name, arm, tuple(curves(found, arm))) for arm in arms]
    draw_comparison(groups, OUT / f"{out}.png", "test return")


def comparisons(name: str, arm: str, rows: dict[str, dict[str, Interval]]) -> list[str]:
    """Lines that compare an arm with all others, by return and, where there is an end, by steps to it."""
    task = TASKS[name]
    moments = [(f"after {EARLY * task.steps:,.0f} steps", "early, all 30", 1),
               ("averaged over the run", "over the run, all 30", 1),
               ("at the end", "all 30", 1)]  # fmt: skip
    if task.has_end:
        moments.append(("in steps to finish (fewer are better)", "steps to finish", -1))
    lines = ["", f"**{arm}**", ""]
    for when, column, good in moments:
        lines.append(f"- {beside(arm, when, {other: row[column] for other, row in rows.items()}, good)}")
    return lines


def accuracy(arm: str, found: Sequence[Result]) -> list[str]:
    """A line on how often an arm's predictions are right, if that was measured."""
    if not (hits := ends(found, arm, "hits")):
        return []
    often, chance = (shown(stratified_bootstrap_interval(v)) for v in (hits, ends(found, arm, "chance")))
    if arm == "object_prediction":
        return [f"- the opponent rests next at the likeliest food in {often} of cases, at any food in {chance}"]
    return [f"- hit ratio {often}, chance level {chance} (predictions of other episodes)"]


def command(name: str, arms: Sequence[str], seeds: int) -> str:
    """The command that makes these runs."""
    words = f"python benchmarks/omg.py run --tasks {name} --arms {' '.join(arms)}"
    words += f" --seeds {seeds}" if seeds != SEEDS else ""
    words += f" --steps {TASKS[name].steps}" if TASKS[name].steps != STEPS[name] else ""
    return f"`{words} --results FOLDER`"


def tuning(name: str, found: Sequence[Result]) -> None:
    """Writes the return of each setting with the validation opponents."""
    task, place = TASKS[name], f"{called(name)}_tuning"
    lines = [f"# {name}: settings", "",
             f"Each run trains for {task.steps:,} steps with the 10 training scripts. Returns are with 14 validation "
             "opponents, which occur neither in training nor in the tests; interquartile means over seeds. Settings "
             f"that a row does not name are the former defaults: `{' '.join([UNTUNED, *STARTS.values()])}`.",
             "", "| | seeds | over the run | at the end |", "| --- | --- | --- | --- |"]  # fmt: skip
    for label in (f"{arm} {setting}".strip() for arm, settings in SETTINGS.items() for setting in settings):
        runs = curves(found, label)
        if len(runs) > 1:
            over_the_run = row_of(Group(name, label, tuple(runs))).area
            end = stratified_bootstrap_interval(ends(found, label, "return"))
            lines.append(f"| {label} | {len(runs)} | {over_the_run.point:.4g} | {end.point:.4g} |")
    made = f"python benchmarks/omg.py tune --tasks {name} --seeds 2 --steps {task.steps} --results FOLDER"
    (OUT / f"{place}.md").write_text("\n".join([*lines, "", f"`{made}`.", ""]), encoding="utf-8")


def beside(which: str, when: str, intervals: dict[str, Interval], good: int = 1) -> str:
    """Compares an arm's interval with those of all others, and gives the gap that it closes.

    Args:
        which: the arm.
        when: the moment or measure, as the line's beginning.
        intervals: of all arms.
        good: 1 if more is better, -1 if less is.
    """
    own = intervals[which]
    above = [arm for arm, other in intervals.items() if own.low > other.high]
    below = [arm for arm, other in intervals.items() if own.high < other.low]
    level = [arm for arm in intervals if arm != which and arm not in above + below]
    words = {"above": above, "below": below, "level with": level}
    parts = [f"{word} {', '.join(arms)}" for word, arms in words.items() if arms]
    for arm in ("bayes", "oracle"):
        if arm not in intervals or "history" not in intervals:
            continue
        low, high = intervals["history"], intervals[arm]
        if high.low > low.high if good > 0 else high.high < low.low:
            share = (own.point - low.point) / (high.point - low.point)
            parts.append(f"gap to {arm} closed by {share:.0%}")
        else:
            parts.append(f"{arm} is no better than history")
    return f"{when}: {'; '.join(parts)}"


def shown(interval: Interval) -> str:
    """An interval as tables show it."""
    return f"{interval.point:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
