"""The result of a comparison of runs, as text."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .improvement import Improvement
from .statistics import Interval


class Row(NamedTuple):
    """One line of the table: a group's final return and the mean of its curve, with 95% intervals over seeds."""

    task: str
    label: str
    seeds: int
    steps: float
    final: Interval
    area: Interval
    seconds: float = float("nan")  # median time from the command's start to the last compared step; NaN if unknown


class Comparison(NamedTuple):
    """The result of a comparison; ``str`` gives a table for the console."""

    rows: list[Row]  # one for each environment and algorithm
    files: list[Path]  # the written files
    pairs: Sequence[Improvement] = ()  # every two algorithms on each environment, the better one first
    overall: Sequence[tuple[str, Interval]] = ()  # algorithm and its normalised score; empty for a single environment

    def __str__(self) -> str:
        lines = [
            f"{row.task:32} {row.label:24} {row.seeds:2} seeds  {format_seconds(row):>8} s  "
            f"final {format_interval(row.final):28} curve {format_interval(row.area)}"
            for row in self.rows
        ]
        lines += [f"{pair.task:32} {_sentence(pair)}" for pair in self.pairs]
        lines += [f"{'all':32} {label:24} {format_interval(score)}" for label, score in self.overall]
        return "\n".join([*lines, *(f"written: {file}" for file in self.files)])

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [
            "| environment | algorithm | seeds | steps | seconds | final | curve |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            intervals = [format_interval(interval) for interval in (row.final, row.area)]
            cells = (row.task, row.label, str(row.seeds), f"{row.steps:,.0f}", format_seconds(row), *intervals)
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def pairs_markdown(self) -> str:
        """The comparison of every two algorithms as Markdown."""
        lines = [
            "| environment | better | than | probability of improvement | p | p, corrected |",
            "|---|---|---|---|---|---|",
        ]
        for pair in self.pairs:
            numbers = (format_interval(pair.probability), f"{pair.p_value:.2g}", f"{pair.corrected:.2g}")
            lines.append("| " + " | ".join([pair.task, pair.better, pair.worse, *numbers]) + " |")
        return "\n".join(lines)

    def overall_markdown(self) -> str:
        """The normalised scores over all environments as Markdown."""
        lines = ["| algorithm | normalised score |", "|---|---|"]
        return "\n".join([*lines, *(f"| {label} | {format_interval(score)} |" for label, score in self.overall)])

    def _repr_markdown_(self) -> str:  # notebooks display it
        return self.markdown()

    def csv(self) -> str:
        """The table as CSV; the bounds are empty for a single seed."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["environment", "algorithm", "seeds", "steps", "final", "final_low", "final_high", "curve",
                         "curve_low", "curve_high", "seconds"])  # fmt: skip
        for row in self.rows:
            numbers = [value if np.isfinite(value) else "" for value in (*row.final, *row.area, row.seconds)]
            writer.writerow([row.task, row.label, row.seeds, int(row.steps), *numbers])
        return text.getvalue()


def format_interval(interval: Interval) -> str:
    if not np.isfinite(interval.low):
        return f"{interval.point:.4g}"
    return f"{interval.point:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def format_seconds(row: Row) -> str:
    return f"{row.seconds:,.0f}" if np.isfinite(row.seconds) else "-"


def _sentence(pair: Improvement) -> str:
    return (f"{pair.better} above {pair.worse} in {pair.probability.point:.0%} of pairs of runs "
            f"(p {pair.p_value:.2g}, corrected {pair.corrected:.2g})")  # fmt: skip
