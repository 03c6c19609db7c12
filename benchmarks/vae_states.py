"""Trains the state VAE on families of states x regimes x settings x seeds, and tabulates the measures.

    python benchmarks/vae_states.py [train] [--jobs 2] [--seeds 10] [--only FAMILY ...]   # then makes the table
    python benchmarks/vae_states.py table

``train`` records each family's stream once per seed under ``results/vae_states``, runs the trainings that
``benchmarks/vae_states/trainings.csv`` does not contain, and appends a row after each training, so it can be
stopped and restarted. ``table`` makes ``vae_states.md`` and the picture from the CSV files only.
rware's states need ``pip install rware``.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import vae_states_table as report
from state_families import BATCHES, EXTRA, TABLE, make_family, record

HERE = Path(__file__).parent
OUT = HERE / "vae_states"
STREAMS = HERE.parent / "results" / "vae_states"
CURVE_FAMILY = "stag_hunt"  # its curves under refresh are stored for the picture
CURVE_SEEDS = 5
CEILING_SEEDS = 3
ORDER = ("default", "ceiling", "before", "final", "first")


class Job(NamedTuple):
    """One training."""

    family: str
    regime: str
    setting: str
    seed: int


class Scale(NamedTuple):
    """The length of each training."""

    batches: int
    updates: int


def jobs(seeds: int) -> list[Job]:
    """All trainings of the benchmark, ordered by setting and then by seed; the default is first."""
    found = []
    for seed in range(seeds):
        for regime in report.REGIMES:
            for family in TABLE:
                settings = [*report.SETTINGS, *(["ceiling"] if seed < CEILING_SEEDS else [])]
                found += [Job(family, regime, setting, seed) for setting in settings]
        for family in report.BEFORE_AFTER:
            names = ["before", *(["default"] if family in EXTRA else [])]
            found += [Job(family, "replay", setting, seed) for setting in names]
    return sorted(found, key=lambda job: ORDER.index(job.setting))


def run_job(job: Job, scale: Scale) -> tuple[Job, dict[str, Any], list[float]]:
    """Trains in a worker process; torch is imported only here, with one thread."""
    import logging

    import torch
    from vae_training import train

    torch.set_num_threads(1)
    logging.getLogger("omarl").setLevel(logging.ERROR)
    family = make_family(job.family, job.seed)
    row, curve = train(family, record(family, STREAMS), job.regime, job.setting, scale.batches, scale.updates)
    return job, row, curve


def append(file: Path, row: dict[str, Any]) -> None:
    """Adds one line to a CSV file in one write, the header before the first."""
    is_new = not file.exists() or file.stat().st_size == 0
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)
        out.flush()
        os.fsync(out.fileno())


def finished(file: Path) -> set[Job]:
    """The trainings in the CSV; an incomplete last line is removed from the file."""
    if not file.exists():
        return set()
    text = file.read_text()
    if text and not text.endswith("\n"):
        file.write_text(text[: text.rfind("\n") + 1])
    return {Job(r["family"], r["regime"], r["setting"], int(r["seed"])) for r in report.read_rows(file)}


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Floats with 6 significant digits."""
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}


def train_all(wanted: Sequence[Job], scale: Scale, n_processes: int, out: Path = OUT) -> None:
    """Runs the missing trainings; a failed training is reported and does not stop the others.

    Raises:
        SystemExit: at the end, if a training failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    file, curves = out / "trainings.csv", out / "curves.csv"
    done = finished(file)
    missing = [job for job in wanted if job not in done]
    begun, n_failed = time.monotonic(), 0
    with ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(run_job, job, scale): job for job in missing}
        for i, future in enumerate(as_completed(waiting), 1):
            job = waiting[future]
            if future.exception() is not None:
                print(f"failed: {job}: {future.exception()!r}", flush=True)
                n_failed += 1
                continue
            _, row, curve = future.result()
            if job.family == CURVE_FAMILY and job.regime == "refresh" and job.seed < CURVE_SEEDS:
                append(curves, {**job._asdict(), "kl": " ".join(f"{value:.4g}" for value in curve)})
            append(file, rounded({**job._asdict(), **row}))
            spent = time.monotonic() - begun
            left = spent / i * (len(missing) - i)
            print(
                f"{i}/{len(missing)} {' '.join(map(str, job))} {row['seconds']} s; {left / 60:.0f} min left",
                flush=True,
            )
    if n_failed:
        raise SystemExit(f"{n_failed} trainings failed; the same command tries them again")


def selected(all_jobs: Iterable[Job], args: argparse.Namespace) -> list[Job]:
    """The jobs that the command line asks for."""
    return [
        job
        for job in all_jobs
        if (not args.only or job.family in args.only) and (not args.setting or job.setting in args.setting)
    ]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("train", "table"), default="train")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--batches", type=int, default=BATCHES, help="of about 900 states each")
    parser.add_argument("--updates", type=int, default=700, help="on each batch")
    parser.add_argument("--only", nargs="*", help="families")
    parser.add_argument("--setting", nargs="*", help="settings")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the CSV files and the picture")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.command == "train":
        train_all(selected(jobs(args.seeds), args), Scale(args.batches, args.updates), args.jobs, args.out)
    report.write(args.out, HERE / "vae_states.md" if args.out == OUT else args.out / "vae_states.md")


if __name__ == "__main__":
    main()
