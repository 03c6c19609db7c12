"""What runs of ``omg.py`` got: as CSV, tables and pictures.

``benchmarks/omg/<task>.csv`` keeps what each run's tests gave. Tables and pictures are made of it alone, so that runs
can be added to it later, and those that are not on the disk any more stay.
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
MEASURES = {"test_return_mean": "return", "test_ep_length_mean": "length", "test_omg_hit_ratio": "hits",
            "test_omg_hit_chance": "chance"}  # fmt: skip
EARLY = 0.4  # share of a run after which arms are compared once before the end


class Result(NamedTuple):
    """One number of one test of a run.

    Attributes:
        steps: that the run had then trained for.
        episodes: of the test.
        measure: ``return``, ``return/<family>`` (or ``NEW_PREY``), ``length``, ``hits`` or ``chance``.
    """

    arm: str
    seed: int
    steps: int
    episodes: int
    measure: str
    value: float


def finished(folder: Path) -> list[Path]:
    """An arm's whole runs, each in a folder that is called by its seed."""
    return sorted((place for place in folder.glob("*") if place.name.isdigit()), key=lambda place: int(place.name))


def with_new_prey(name: str) -> set[str]:
    """The test scripts whose prey does what no training script's does, where others' does: models are about prey."""
    task = TASKS[name]
    met = {script.partition("+")[2] for script in task.train}
    new = {script for script in task.test if script.partition("+")[2] not in met}
    return new if len(new) < len(task.test) else set()


def measured(name: str, arm: str, place: Path) -> list[Result]:
    """A finished run's returns at each of its tests, and all measures of the last, or of the one after its end."""
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
    """What is known of runs that go by ``name``: from the CSV, and from finished runs, which take its place."""
    file = OUT / f"{name}.csv"
    known: dict[tuple[str, int], list[Result]] = {}
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                one = Result(row["arm"], int(row["seed"]), int(row["steps"]), int(row["episodes"]), row["measure"],
                             float(row["value"]))  # fmt: skip
                known.setdefault((one.arm, one.seed), []).append(one)
    task = next((task for task in TASKS if name == task or name.startswith(f"{task}_")), "")
    for arm in sorted((results / name).glob("*")) if results else ():
        known |= {(arm.name, int(place.name)): measured(task, arm.name, place) for place in finished(arm)}
    found = [one._replace(value=float(f"{one.value:.6g}")) for key in sorted(known) for one in known[key]]
    if found:
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(Result._fields)
            writer.writerows([*one[:-1], f"{one.value:.6g}"] for one in found)  # the numbers that tables are made of
    return found


def curves(found: Iterable[Result], arm: str) -> list[Series]:
    """The learning curves of an arm's runs, each of them seed after seed."""
    tests: dict[int, list[Result]] = {}
    for one in found:
        if one.arm == arm and one.measure == "return" and one.episodes == TESTED:
            tests.setdefault(one.seed, []).append(one)
    return [series_of([one.steps for one in each], [one.value for one in each]) for each in tests.values()]


def ends(found: Iterable[Result], arm: str, measure: str) -> list[float]:
    """What each of an arm's runs got in its last test, which is the one with the most episodes."""
    last: dict[int, Result] = {}
    for one in found:
        if one.arm == arm and one.measure == measure:
            last[one.seed] = max(last.get(one.seed, one), one, key=lambda each: (each.steps, each.episodes))
    return [one.value for one in last.values()]


def columns(found: Sequence[Result], arm: str, name: str) -> dict[str, Interval]:
    """A line of the table."""
    task, lines = TASKS[name], curves(found, arm)
    early = [float(on_grid(curve, np.array([EARLY * task.steps]))[0]) for curve in lines]
    said = {"early, all 30": early, "all 30": ends(found, arm, "return")}
    said |= {family: ends(found, arm, f"return/{family}") for family in families(name)}
    if with_new_prey(name):
        said[NEW_PREY] = ends(found, arm, f"return/{NEW_PREY}")
    if task.has_end:
        said["steps to finish"] = ends(found, arm, "length")
    whole = {"over the run, all 30": row_of(Group(name, arm, tuple(lines))).area}
    return whole | {column: stratified_bootstrap_interval(values) for column, values in said.items()}


def families(name: str) -> tuple[str, ...]:
    """Whom a task's tests are played with."""
    return ("script", *dict.fromkeys(alg for alg, _ in TASKS[name].teams))


def tables(name: str, results: Path | None) -> None:
    """All tables of a task, where there are runs or a CSV of it."""
    folder = called(name)
    found = gather(folder, results)
    table(name, USUAL, "what each method gets", folder, found)
    for arm, choices in CHOICES.items():
        if any(one.arm in choices for one in found):
            table(name, [arm, *choices], f"{arm}'s choices", f"{folder}_{arm}_choices", found)
    if tuned := gather(f"{folder}_tuning", results):
        tuning(name, tuned)


def table(name: str, arms: Sequence[str], title: str, out: str, found: Sequence[Result]) -> None:
    """One task's table and picture, where there are two runs of an arm or more."""
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
             f"{task.steps:,} steps against 10 scripts; tests with 30 opponents that are never met in training, 20 "
             f"other scripts, 6 {first} teams and 4 {second} teams. Returns averaged over the run, after "
             f"{EARLY * task.steps:,.0f} steps, and at the end with all and with each family. Interquartile means "
             f"over seeds, 95% bootstrap intervals; each run's numbers are in [{file}]({file}).",
             "", f"| | seeds | {heads} |", f"| --- |{' --- |' * (heads.count('|') + 2)}"]  # fmt: skip
    lines += [f"| {arm} | {seeds[arm]} | {' | '.join(map(shown, row.values()))} |" for arm, row in rows.items()]
    for arm in (arm for arm in ("omg", "omg_categorical", "omg_objects") if arm in arms):
        for when, column in ((f"After {EARLY * task.steps:,.0f} steps", "early, all 30"),
                             ("Over the run", "over the run, all 30"), ("At the end", "all 30")):  # fmt: skip
            lines += ["", beside(arm, when, {other: row[column] for other, row in rows.items()})]
        if task.has_end:
            steps = {other: row["steps to finish"] for other, row in rows.items()}
            lines += ["", beside(arm, "In steps to finish, of which less is better", steps, good=-1)]
        if hits := ends(found, arm, "hits"):
            often, chance = (stratified_bootstrap_interval(v) for v in (hits, ends(found, arm, "chance")))
            hit = f"Opponents pass where {arm} has them {{}} of the time, where it has them in other episodes {{}}."
            if arm == "omg_objects":
                hit = "Opponents next rest at the food that is held for likeliest {} of the time, at any one {}."
            lines += ["", hit.format(shown(often), shown(chance))]
    last = {arm: max(one.seed for one in found if one.arm == arm) for arm in arms}
    made = [command(name, [arm for arm in arms if last[arm] == seed], seed) for seed in sorted({*last.values()})]
    lines += ["", f"![curves]({out}.png)", "", f"{', '.join(made[::-1])}, then `table`.", ""]
    (OUT / f"{out}.md").write_text("\n".join(lines), encoding="utf-8")
    groups = [Group(name, arm, tuple(curves(found, arm))) for arm in arms]
    draw_comparison(groups, OUT / f"{out}.png", "test return")


def command(name: str, arms: Sequence[str], seeds: int) -> str:
    """What makes these runs."""
    said = f"python benchmarks/omg.py run --tasks {name} --arms {' '.join(arms)}"
    said += f" --seeds {seeds}" if seeds != SEEDS else ""
    said += f" --steps {TASKS[name].steps}" if TASKS[name].steps != STEPS[name] else ""
    return f"`{said} --results FOLDER`"


def tuning(name: str, found: Sequence[Result]) -> None:
    """What each setting gets with the opponents that settings are chosen by."""
    task, place = TASKS[name], f"{called(name)}_tuning"
    lines = [f"# {name}: which settings", "",
             f"{task.steps:,} steps against the 10 scripts to train with; returns with 14 opponents to choose by, "
             "who are neither among those nor among the 30 of the tests. Interquartile means over seeds. What is not "
             f"said is as it was before: `{' '.join([UNTUNED, *STARTS.values()])}`.",
             "", "| | seeds | over the run | at the end |", "| --- | --- | --- | --- |"]  # fmt: skip
    for label in (f"{arm} {setting}".strip() for arm, settings in SETTINGS.items() for setting in settings):
        runs = curves(found, label)
        if len(runs) > 1:
            whole = row_of(Group(name, label, tuple(runs))).area
            end = stratified_bootstrap_interval(ends(found, label, "return"))
            lines.append(f"| {label} | {len(runs)} | {whole.point:.4g} | {end.point:.4g} |")
    made = f"python benchmarks/omg.py tune --tasks {name} --seeds 2 --steps {task.steps} --results FOLDER"
    (OUT / f"{place}.md").write_text("\n".join([*lines, "", f"`{made}`.", ""]), encoding="utf-8")


def beside(which: str, when: str, intervals: dict[str, Interval], good: int = 1) -> str:
    """What an arm's interval is apart from, and how much of the way to those who know more it makes.

    Args:
        which: the arm, one of OMG's.
        when: the sentence's beginning.
        intervals: all arms'.
        good: 1 where more is better, -1 where less is.
    """
    own, verdicts = intervals[which], []
    for arm, other in intervals.items():
        if arm != which:
            apart = "above" if own.low > other.high else "below" if own.high < other.low else "level with"
            verdicts.append(f"{apart} {arm}")
    said = f"{when}, by intervals, {'OMG' if which == 'omg' else which} is {', '.join(verdicts)}. "
    for arm in ("bayes", "oracle"):
        if arm not in intervals or "history" not in intervals:
            continue
        low, high = intervals["history"], intervals[arm]
        if high.low > low.high if good > 0 else high.high < low.low:
            share = (own.point - low.point) / (high.point - low.point)
            said += f"It makes {share:.0%} of the way from history to {arm}. "
        else:
            said += f"{arm.capitalize()} is, by intervals, no better than history. "
    return said.strip()


def shown(interval: Interval) -> str:
    """As it stands in tables."""
    return f"{interval.point:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
