"""The command ``report``: reads runs and writes one self-contained HTML file about them."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import comb
from pathlib import Path

import numpy as np

from ..analysis.comparison import CompareConfig, finals_of, read_groups, row_of, words
from ..analysis.comparison_table import Row, format_interval, format_seconds
from ..analysis.groups import Group, problems
from ..analysis.improvement import Floats, Improvement, improvements, interval_over_tasks, normalised
from ..analysis.statistics import Interval
from ..config.keys import CurvesKeys
from ..config.schema import key, new_default
from ..utils.files import write_files
from .curves import charts_of, profiles_of
from .facts import Health, against_opponents, health_of, matrices, origin_of
from .films import films
from .page import bullets, chart, code, details, page, paragraph, shaded, table

log = logging.getLogger(__name__)

NUMBER = "number"  # class of a column
CLEAR = 0.05  # corrected p-values below it count as clear


@dataclass(frozen=True)
class ReportConfig(CurvesKeys):
    """Keys of the command ``report``."""

    title: str = key("", help="heading of the report")
    out: str = new_default(CurvesKeys, "out", "report.html", "the file; where empty, report.html")


@dataclass(frozen=True)
class Study:
    """What a report is about."""

    metric: str
    groups: list[Group]
    rows: list[Row]
    pairs: list[Improvement]
    scaled: dict[str, list[Floats]]  # algorithm -> normalised scores on each environment; empty for one environment
    health: dict[Path, Health]  # of the runs that have a VAE


def report(config: ReportConfig) -> str:
    """Writes the report and returns a line with its path.

    Raises:
        ConfigError: there are no runs, or none logged the metric.
        OmarlError: the file cannot be written.
    """
    groups = read_groups(CompareConfig(runs=config.runs, metric=config.metric, by=config.by, until=config.until))
    scores: dict[str, dict[str, list[float]]] = {}
    for group in groups:
        scores.setdefault(group.task, {})[group.label] = finals_of(group)
    health = {r.run: found for group in groups for r in group.records if (found := health_of(r)) is not None}
    scaled = normalised(scores) if len(scores) > 1 else {}
    study = Study(config.metric or "test return", groups, [row_of(group) for group in groups], improvements(scores),
                  scaled, health)  # fmt: skip
    lines = problems(groups)
    for line in lines:
        log.warning(line)
    sections = [("Summary", summary(study) + (bullets(lines, "warnings") if lines else "")), *parts(study, config)]
    data = {"charts": charts_of(groups, study.metric), "profiles": profiles_of(scaled) if scaled else None}
    target = Path(config.out or "report.html").expanduser()
    if target.suffix not in (".html", ".htm"):
        target = target / "report.html"
    title = config.title or f"{', '.join(dict.fromkeys(g.label for g in groups))} on {', '.join(scores)}"
    (file,) = write_files(target.parent, {target.name: page(title[:200], sections, data)})
    return f"written: {file}"


def summary(study: Study) -> str:
    """Three sentences: what was run, what is better, how sure that is or how the VAEs are."""
    groups = study.groups
    count, tasks = sum(len(g.curves) for g in groups), list(dict.fromkeys(g.task for g in groups))
    labels = list(dict.fromkeys(g.label for g in groups))
    seeds = sorted({len(g.curves) for g in groups})
    span = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    steps = max(row.steps for row in study.rows)
    first = (
        f"{_count(count, 'run')} of {_count(len(labels), 'algorithm')} on {_count(len(tasks), 'environment')}, with "
        f"{span} seed{'' if span == '1' else 's'} each and up to {steps:,.0f} environment steps."
    )
    return paragraph(" ".join([first, winner(study, labels, tasks), certainty(study)]), "summary")


def winner(study: Study, labels: Sequence[str], tasks: Sequence[str]) -> str:
    """The sentence about the highest score."""
    if study.scaled:
        overall = {label: interval_over_tasks(strata) for label, strata in study.scaled.items()}
        best = max(overall, key=lambda label: overall[label].point)
        return (f"Over all environments {best} has the highest normalised score, {format_interval(overall[best])} "
                "(0: the lowest run of each environment, 1: the highest).")  # fmt: skip
    best_row = max(study.rows, key=lambda row: row.final.point)
    if len(labels) == 1:
        return f"{best_row.label} reaches a {study.metric} of {format_interval(best_row.final)} on {best_row.task}."
    return f"{best_row.label} has the highest {study.metric} on {tasks[0]}, {format_interval(best_row.final)}."


def certainty(study: Study) -> str:
    """The sentence about the evidence: corrected tests, or the health of the VAEs where nothing was compared."""
    clear = [pair for pair in study.pairs if pair.corrected < CLEAR]
    if study.health:
        good = sum(health.healthy for health in study.health.values())
        vae = f"the VAE of {good} of {len(study.health)} runs is healthy"
    else:
        vae = "no run trains a VAE"
    if not study.pairs:
        return f"Nothing was tested, because no two algorithms have several seeds on one environment; {vae}."
    if not any(could_be_clear(study, pair) for pair in study.pairs):
        return (f"With so few seeds, none of the {_count(len(study.pairs), 'difference')} between two algorithms can "
                f"be clear (corrected p below {CLEAR}); {vae}.")  # fmt: skip
    return (f"{len(clear)} of {_count(len(study.pairs), 'difference')} between two algorithms "
            f"{'is' if len(clear) == 1 else 'are'} clear (corrected p below {CLEAR}); {vae}.")  # fmt: skip


def could_be_clear(study: Study, pair: Improvement) -> bool:
    """Whether the corrected p-value would be small if every run of one algorithm were above all of the other."""
    seeds = {group.label: len(group.curves) for group in study.groups if group.task == pair.task}
    n, m = seeds[pair.better], seeds[pair.worse]
    return 2 / comb(n + m, n) * len(study.pairs) < CLEAR


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def parts(study: Study, config: ReportConfig) -> list[tuple[str, str]]:
    """The sections after the summary; those without content are left out."""
    found = [("Results", results(study)), ("Curves", curves(study)), ("Differences", differences(study)),
             ("Health of the VAEs", vae_health(study)), ("Held-out opponents", held_out(study)),
             ("Cross-play", crossplay(config)), ("Replays", films(study.groups)), ("Runs", runs(study))]  # fmt: skip
    return [(name, html) for name, html in found if html]


def results(study: Study) -> str:
    """The main table."""
    header = ["Environment", "Algorithm", "Final", "Mean of the curve", "Seeds", "Steps", "Seconds"]
    rows = [
        (row.task, row.label, format_interval(row.final), format_interval(row.area), str(row.seeds),
         f"{row.steps:,.0f}", format_seconds(row))
        for row in study.rows
    ]  # fmt: skip
    caption = (f"{study.metric}: interquartile mean over seeds with a 95% interval (stratified bootstrap). Final: "
               "mean over the last tenth of the steps.")  # fmt: skip
    return table(caption, header, rows, ["", "", *[NUMBER] * 5])


def curves(study: Study) -> str:
    """A chart for each environment, and the performance profiles."""
    tasks = dict.fromkeys(group.task for group in study.groups)
    html = "".join(chart(str(i), f"{task}: interquartile mean over seeds, band: 95% interval")
                   for i, task in enumerate(tasks))  # fmt: skip
    profile = chart("profiles", "Performance profiles: share of runs above a normalised score, band: 95% interval")
    return html + (profile if study.scaled else "")


def differences(study: Study) -> str:
    """The table of all pairs."""
    if not study.pairs:
        return ""
    rows = [
        (p.task, p.better, p.worse, format_interval(p.probability), f"{p.p_value:.2g}", f"{p.corrected:.2g}")
        for p in study.pairs
    ]
    caption = ("Probability that a run of the better algorithm has a higher final score than a run of the other one, "
               "with a 95% interval; Mann-Whitney U test, corrected by Holm's method.")  # fmt: skip
    header = ["Environment", "Better", "Than", "Probability", "p", "p, corrected"]
    return table(caption, header, rows, ["", "", "", *[NUMBER] * 3])


def vae_health(study: Study) -> str:
    """The diagnosis of each run with a VAE."""
    if not study.health:
        return ""
    rows = []
    for group in study.groups:
        for record in group.records:
            if found := study.health.get(record.run):
                name = f"{group.label} on {group.task}, seed {record.config.get('seed', '?')}"
                rows.append((name, ("✓ " if found.healthy else "✗ ") + found.verdict, found.detail))
    counts = Counter(health.verdict for health in study.health.values())
    lead = paragraph(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) + ".")
    return lead + details("Every run", table("Diagnosis of each run", ["Run", "Verdict", "Cause"], rows))


def held_out(study: Study) -> str:
    """Returns against each opponent and each family, where runs were evaluated against a pool."""
    html = ""
    for found in against_opponents(study.groups):
        rows = [(name if kind != "all" else "all opponents", kind, *map(_cell, cells))
                for kind, name, cells in found.rows]  # fmt: skip
        caption = (f"{found.task}: mean return in evaluation.json, interquartile mean over seeds with a 95% "
                   "interval; all opponents: over seeds and opponents")  # fmt: skip
        html += table(caption, ["Opponents", "Kind", *found.columns], rows, ["", "", *[NUMBER] * len(found.columns)])
    return html


def _cell(interval: Interval | None) -> str:
    return "-" if interval is None or not np.isfinite(interval.point) else format_interval(interval)


def crossplay(config: ReportConfig) -> str:
    """The matrices of crossplay below the folders of the runs."""
    return "".join(
        shaded(f"{folder}: mean over runs; columns are shaded from lowest to highest",
               [first or "Algorithm", *opponents], rows, 2)
        for folder, ((first, *opponents), *rows) in matrices(words(config.runs))
    )  # fmt: skip


def runs(study: Study) -> str:
    """Commands, versions and machines."""
    records = [(group, record) for group in study.groups for record in group.records]
    origins = [origin_of(record) for _, record in records]
    rows = [
        (str(record.run), group.label, group.task, str(record.config.get("seed", "?")), origin.status or "?")
        for (group, record), origin in zip(records, origins, strict=True)
    ]
    html = ""
    for name, counts in (("Versions", Counter(origin.version for origin in origins)),
                         ("Machines", Counter(origin.machine for origin in origins))):  # fmt: skip
        known = [f"{text} ({_count(count, 'run')})" for text, count in counts.most_common() if text]
        html += f"<h3>{name}</h3>" + (bullets(known) if known else paragraph("not recorded"))
    commands = list(dict.fromkeys(origin.command for origin in origins if origin.command))
    html += details("Commands", code(commands)) if commands else paragraph("Commands were not recorded.")
    html += details("Folders", table("Every run", ["Folder", "Algorithm", "Environment", "Seed", "Status"], rows))
    return html + paragraph(f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.", "note")
