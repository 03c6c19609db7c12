"""The page of ``vae_states.py``: tables, checks and the picture, from its CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import vae_states_picture as picture
from omarl.analysis.statistics import Interval, stratified_bootstrap_interval
from state_families import TABLE, Spec, make_family

REGIMES = ("replay", "refresh")
SETTINGS = ("first", "final", "default")
BEFORE_AFTER = ("simple_tag", "foraging", "spread")

# Requirements on the default.
BINARY, CONTINUOUS, OF_CEILING = 0.95, 0.90, 0.95  # explained variance; the last is a share of the autoencoder's
OF_ENTROPY, STAG_HUNT_NATS = 1.5, 20.0
ACTIVE, DRIFT, OSCILLATION, SAWTOOTH = 4, 0.10, 0.05, 0.05

Row = dict[str, str]


class Column(NamedTuple):
    """A measure in the table."""

    name: str
    title: str
    format: Callable[[float], str]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _share(value: float) -> str:
    return f"{100 * value:.1f}%"


def _fraction(value: float) -> str:
    return f"{value:.3f}"


COLUMNS = (
    Column("explained_variance", "explained variance", _fraction),
    Column("group_accuracy", "one-hot accuracy", _fraction),
    Column("bit_accuracy", "bit accuracy", _fraction),
    Column("kl", "KL, nats", _number),
    Column("active_units", "active", _number),
    Column("kl_drift", "KL drift", _share),
    Column("kl_oscillation", "KL oscillation", _share),
    Column("kl_sawtooth", "KL sawtooth", _share),
    Column("recon_sawtooth", "reconstruction sawtooth", _share),
)


def read_rows(file: Path) -> list[Row]:
    """The rows of a CSV file."""
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def values_of(rows: Iterable[Row], measure: str, **where: str) -> np.ndarray:
    """A measure in the rows that match ``where``: one number for each seed."""
    chosen = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return np.array([float(row[measure]) for row in chosen])


def median_interval(values: np.ndarray) -> Interval:
    """The median over seeds with its bootstrap interval, 95%; NaN if a value is not finite or there is none."""
    if not len(values) or not np.isfinite(values).all():
        return Interval(math.nan, math.nan, math.nan)
    return stratified_bootstrap_interval(values, np.median, reps=1000)


def cell(values: np.ndarray, form: Callable[[float], str]) -> str:
    """``median [low, high]``; a dash if the measure does not exist."""
    if not len(values) or np.isnan(values).all():
        return "–"
    if not np.isfinite(values).all():
        return f"not finite in {int((~np.isfinite(values)).sum())} of {len(values)}"
    found = median_interval(values)
    if not math.isfinite(found.low):
        return form(found.point)
    low, high = form(found.low), form(found.high)
    return form(found.point) if low == high else f"{form(found.point)} [{low}, {high}]"


class Check(NamedTuple):
    """One requirement on the median over seeds."""

    what: str
    holds: bool


def checks(spec: Spec, measured: dict[str, float], ceiling: float) -> list[Check]:
    """The requirements on the default for a family, from the medians over seeds.

    Args:
        spec: of the family.
        measured: the medians by measure; NaN if a measure does not apply (no groups, no bits, no sawtooth).
        ceiling: explained variance of a plain autoencoder.
    """
    explained = measured["explained_variance"]
    if spec.is_binary:
        found = [Check(f"explained variance >= {BINARY:g}", explained >= BINARY)]
        for name, title in (("group_accuracy", "one-hot accuracy"), ("bit_accuracy", "bit accuracy")):
            if not math.isnan(measured[name]):
                found.append(Check(f"{title} >= {BINARY:g}", measured[name] >= BINARY))
    else:
        reached = explained >= CONTINUOUS or explained >= OF_CEILING * ceiling
        found = [Check(f"explained variance >= {CONTINUOUS:.2f} or {OF_CEILING:.0%} of the ceiling", reached)]
    if spec.entropy is not None:
        most = min(OF_ENTROPY * spec.entropy, STAG_HUNT_NATS)
        found.append(Check(f"KL <= {most:.1f} nats", measured["kl"] <= most))
    found += [
        Check(f"active units >= {ACTIVE}", measured["active_units"] >= ACTIVE),
        Check(f"KL drift within {DRIFT:.0%}", abs(measured["kl_drift"]) <= DRIFT),
        Check(f"KL oscillation <= {OSCILLATION:.0%}", measured["kl_oscillation"] <= OSCILLATION),
    ]
    for name, title in (("kl_sawtooth", "KL sawtooth"), ("recon_sawtooth", "reconstruction sawtooth")):
        if not math.isnan(measured[name]):
            found.append(Check(f"{title} <= {SAWTOOTH:.0%}", measured[name] <= SAWTOOTH))
    return found


def medians(rows: list[Row], **where: str) -> dict[str, float]:
    """The median over seeds of every measure; NaN if a value is not finite."""
    return {column.name: float(np.median(values_of(rows, column.name, **where))) for column in COLUMNS}


def _fewer(rows: list[Row]) -> str:
    """The number of seeds of each setting, in words."""
    counts: dict[str, dict[tuple[str, str], int]] = {}
    for row in rows:
        runs = counts.setdefault(row["setting"], {})
        runs[row["family"], row["regime"]] = runs.get((row["family"], row["regime"]), 0) + 1
    seeds = {name: sorted(set(runs.values())) for name, runs in sorted(counts.items())}
    return ", ".join(f"{name}: {' or '.join(map(str, numbers))}" for name, numbers in seeds.items())


def ceiling_of(rows: list[Row], family: str, regime: str) -> float:
    """Median explained variance of the plain autoencoder."""
    found = values_of(rows, "explained_variance", family=family, regime=regime, setting="ceiling")
    return float(np.median(found)) if len(found) else math.nan


def verdicts(rows: list[Row], regime: str) -> dict[str, list[Check]]:
    """The default's checks for each family that has been trained."""
    found = {}
    for family in TABLE:
        where = {"family": family, "regime": regime, "setting": "default"}
        if len(values_of(rows, "kl", **where)):
            spec = make_family(family, 0).spec
            found[family] = checks(spec, medians(rows, **where), ceiling_of(rows, family, regime))
    return found


def verdict(results: list[Check]) -> str:
    """PASS, or FAIL with the missed requirements."""
    missed = [check.what for check in results if not check.holds]
    return "PASS" if not missed else "**FAIL**: " + "; ".join(missed)


def results_table(rows: list[Row], regime: str) -> list[str]:
    """One row for every family and setting, in Markdown."""
    columns = [column for column in COLUMNS if regime == "refresh" or "sawtooth" not in column.name]
    lines = [
        "| family | setting | " + " | ".join(column.title for column in columns) + " | ceiling | verdict |",
        "|---|---|" + "---|" * (len(columns) + 2),
    ]
    judged = verdicts(rows, regime)
    for family in TABLE:
        for setting in SETTINGS:
            where = {"family": family, "regime": regime, "setting": setting}
            if not len(values_of(rows, "kl", **where)):
                continue
            cells = [cell(values_of(rows, column.name, **where), column.format) for column in columns]
            last = ["", ""]
            if setting == "default":
                ceiling = ceiling_of(rows, family, regime)
                last = ["" if math.isnan(ceiling) else _fraction(ceiling), verdict(judged[family])]
            lines.append("| " + " | ".join([family, setting, *cells, *last]) + " |")
    return lines


def families_table() -> list[str]:
    """Size, types, entropy and policy of each family, in Markdown."""
    lines = ["| family | features | types | entropy, nats | played by |", "|---|---|---|---|---|"]
    for family in TABLE:
        spec = make_family(family, 0).spec
        entropy = "unknown" if spec.entropy is None else f"at most {spec.entropy:.1f}"
        lines.append(f"| {family} | {picture.size_of(spec)} | {spec.types} | {entropy} | {spec.behaviour} |")
    return lines


def before_after_table(rows: list[Row]) -> list[str]:
    """The loss of omarl 0.1 and the current default, with replay, in Markdown."""
    columns = [column for column in COLUMNS if "sawtooth" not in column.name and "accuracy" not in column.name]
    lines = [
        "| family | loss | " + " | ".join(column.title for column in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for family in BEFORE_AFTER:
        for setting, title in (("before", "omarl 0.1"), ("default", "now")):
            where = {"family": family, "regime": "replay", "setting": setting}
            cells = [cell(values_of(rows, column.name, **where), column.format) for column in columns]
            lines.append("| " + " | ".join([family, title, *cells]) + " |")
    return lines


INTRODUCTION = """\
`python benchmarks/vae_states.py` trains the VAE on recorded streams of states; `python benchmarks/vae_states.py \
table` makes this page from `vae_states/trainings.csv`. Medians over {seeds} seeds with 95% bootstrap \
intervals ({fewer}); a seed changes the recorded stream and the network. {updates} updates of 128 states each.

[vae-stability.md](../docs/vae-stability.md#rare-bits-and-combinations-not-seen-before) shows the effect of each of \
the default's settings.

- **replay**: each update draws from all episodes so far; episodes arrive at even intervals.
- **refresh**: batches of about 900 states (complete episodes), {per_batch} updates on each, then the batch is \
discarded; a setting with `vae_window: K` keeps the last K batches.
- **first**, **final**: the user's first and final settings (`src/ablation/settings.py`) with PyMARL's literal loss \
(`vae_formula: raw_mean`, `vae_likelihood: gaussian`, `vae_encoder: mlp`, `vae_window: 1`). **default**: \
`VAEConfig()`, the same on every family.
- **ceiling**: explained variance of a plain autoencoder, the median of {ceiling_seeds} seeds: the default's \
network, latents, likelihoods and updates, no KL term and no sampling.
- The states shift during a stream: see "played by" below. Two further batches, played after the \
training batches, are held out.
- **Explained variance**: mean over the features that vary in the held-out states, each standardised by its own \
mean and standard deviation there; decoded from the posterior mean. **One-hot accuracy**: largest value of a \
plane or group. **Bit accuracy**: balanced, threshold 0.5, mean over the bits that vary. KL and **active** units \
are held-out too. **Drift** and **oscillation** of the logged KL over the last half of the training: \
`src/analysis/symptoms.py`. **Sawtooth**: mean difference between the last 5% of a batch's updates and the first \
5% of the next, over the boundaries in the last half, relative to the mean there.
- The default **passes** with: binary and categorical families, explained variance and accuracies at least 0.95 \
each; others, explained variance at least 0.90 or 95% of the ceiling; KL at most 1.5 times the entropy if \
it is known and at most 20 nats on the stag hunt; at least 4 active units; drift within 10%, oscillation and \
both sawtooths (of the KL and of the reconstruction) at most 5%.
"""


def write(folder: Path, page: Path) -> None:
    """Makes the page and the picture from ``trainings.csv`` and ``curves.csv`` in ``folder``."""
    rows = read_rows(folder / "trainings.csv")
    seeds = len({row["seed"] for row in rows if row["setting"] == "default"})
    updates = sorted({int(row["updates"]) for row in rows})
    per_batch = sorted({int(row["updates"]) // int(row["batches"]) for row in rows})
    ceiling_seeds = len({row["seed"] for row in rows if row["setting"] == "ceiling"})
    lines = ["# The state VAE on the states that users have", ""]
    lines += [
        INTRODUCTION.format(
            seeds=seeds,
            fewer=_fewer(rows),
            updates=_listed(updates),
            per_batch=_listed(per_batch),
            ceiling_seeds=ceiling_seeds,
        )
    ]
    for regime in REGIMES:
        judged = verdicts(rows, regime)
        passed = sum(all(check.holds for check in found) for found in judged.values())
        lines += [f"## {regime.capitalize()}: the default passes on {passed} of {len(judged)}", ""]
        lines += [*results_table(rows, regime), ""]
    curves = folder / "curves.csv"
    picture.draw(rows, read_rows(curves) if curves.exists() else [], folder / "vae_states.png")
    link = Path(folder.name, "vae_states.png") if page.parent != folder else Path("vae_states.png")
    lines += [f"![KL curves and explained variance]({link.as_posix()})", ""]
    lines += ["## Before and after", "", BEFORE, "", *before_after_table(rows), ""]
    lines += ["## Families", "", *families_table(), ""]
    seconds = sum(float(row["seconds"]) for row in rows)
    lines += [f"{len(rows)} trainings, {seconds / 3600:.1f} core-hours.", ""]
    page.write_text("\n".join(lines), encoding="utf-8")


BEFORE = (
    "The loss of omarl 0.1 (`vae_formula: mean`: mean squared error over standardised features plus alpha times the "
    "KL, all features Gaussian) and the current default, with replay."
)


def _listed(values: list[int]) -> str:
    return " or ".join(f"{value:,}" for value in values)
