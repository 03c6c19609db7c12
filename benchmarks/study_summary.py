"""The summary of ``study.py``: the differences of all methods to the base of each task, with their intervals.

    python benchmarks/study_summary.py [--tables benchmarks/omg/study] [--tasks ...]

Reads the ``<task>.csv`` of a folder, and writes ``summary.md`` and ``differences.png`` there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from omg_tasks import DISJOINT
from study_results import SCRIPTS, Result, read_results
from study_tables import both, difference, groups_of, matrix, on_test_of, reference_of, seeds_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).parent / "omg" / "study"
OURS, TOLD = ("place_prediction", "object_prediction"), ("bayes", "oracle")
COLOURS = {"ours": "#0072B2", "told": "#999999", "other": "#333333"}


def colour_of(arm: str) -> str:
    """The colour of a method: our own, one that is told what it must infer elsewhere, or another."""
    return COLOURS["ours" if arm in OURS else "told" if arm in TOLD else "other"]


def draw(axis: Any, found: Sequence[Result], kinds: Sequence[str], arms: Sequence[str], reference: str) -> None:
    """The paired differences of the arms to the reference, with 95% intervals over seeds."""
    base = matrix(found, reference, kinds)
    for row, arm in enumerate(arms):
        paired = difference(matrix(found, arm, kinds), base)
        if paired:
            interval, colour = both(paired)[0], colour_of(arm)
            axis.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            axis.plot(interval.point, row, "o", color=colour, markersize=5)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(arms)), arms)
    axis.set_ylim(len(arms) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)


def order_of(results: Sequence[Result]) -> list[str]:
    """All methods except the base: our own, the others by name, then those that are told what others must infer."""
    arms = {one.arm for one in results if one.measure == "return"} - {reference_of(results), *on_test_of(results)}
    return sorted(arms, key=lambda arm: (arm in TOLD, arm not in OURS, arm))


def two_groups(found: Mapping[str, list[Result]]) -> dict[str, list[str]]:
    """The kinds of scripts and of trained teams, where there are any."""
    kinds: dict[str, list[str]] = {"scripts": [], "trained teams": []}
    for results in found.values():
        for group in groups_of(results).values():
            kinds["scripts" if SCRIPTS in group else "trained teams"] += group
    return {name: [*dict.fromkeys(each)] for name, each in kinds.items() if each}


def cell(results: Sequence[Result], arm: str, kinds: Sequence[str]) -> str:
    """The mean return of the base, or an arm's paired difference to it, with the interval over seeds."""
    reference = reference_of(results)
    mine = matrix(results, arm, kinds)
    shown = mine if arm == reference else difference(mine, matrix(results, reference, kinds))
    if not shown:
        return ""
    point, low, high = both(shown)[0]
    sign = "" if arm == reference else "+"
    return f"{point:{sign}.1f} [{low:.1f}, {high:.1f}]"


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """A row for each arm, two columns for each task."""
    groups = two_groups(found)
    heads = [f"{task}: {name}" for task in found for name in groups]
    arms = dict.fromkeys(arm for results in found.values() for arm in [reference_of(results), *order_of(results)])
    lines = [f"| | seeds | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    for arm in arms:
        seeds = [len(seeds_of(results, arm)) for results in found.values()]
        cells = [cell(results, arm, kinds) for results in found.values() for kinds in groups.values()]
        lines.append(f"| `{arm}` | {', '.join(map(str, seeds))} | {' | '.join(cells)} |")
    return lines


def picture(found: Mapping[str, list[Result]], file: Path) -> None:
    """A column for each task, a row for scripts and one for trained teams."""
    rows = two_groups(found)
    figure, axes = plt.subplots(len(rows), len(found), figsize=(4.2 * len(found), 3.3 * len(rows)), squeeze=False,
                                layout="constrained")  # fmt: skip
    for column, (task, results) in enumerate(found.items()):
        reference = reference_of(results)
        for axis, (name, kinds) in zip(axes[:, column], rows.items(), strict=True):
            draw(axis, results, kinds, order_of(results), reference)
            axis.set_title(f"{task}: {name}", fontsize=10)
            axis.set_xlabel(f"return minus {reference}")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=FOLDER)
    parser.add_argument("--tasks", nargs="+", help="by default the disjoint ones with a CSV in the folder")
    args = parser.parse_args()
    names = args.tasks or sorted(name for name in DISJOINT if (args.tables / f"{name}.csv").is_file())
    found = {name: read_results(args.tables / f"{name}.csv") for name in names}
    missing = [name for name, results in found.items() if not results]
    if missing or not found:
        parser.error(f"--tables: {args.tables} has no results of {', '.join(missing) or 'any task'}")
    picture(found, args.tables / "differences.png")
    lines = ["# Summary of the study", "",
             "The first row of a task has mean returns, the others differences to it, paired by seed; brackets are "
             "95% intervals over seeds (Student's t). `python benchmarks/study_summary.py`", "", *table(found), "",
             "![differences](differences.png)", ""]  # fmt: skip
    (args.tables / "summary.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
