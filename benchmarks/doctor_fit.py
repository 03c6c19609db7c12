"""The fit half of the doctor's benchmark: simulated curves, on which the rules were fitted.

    python benchmarks/doctor_fit.py [--seeds 0 1 2] [--show NAME] [--real]

Thirty healthy and thirty faulty runs a seed: 30 to 10,000 points, every usual reduction of the two losses, several
kinds of noise, changes of policy, KL weights that ramp (logged or not), faults that set in late, and pairs of faults.
``--real`` adds short trainings of a small VAE in the style of forks. Writes ``benchmarks/doctor/fit.md``. The
counts do not measure the doctor's accuracy, because the rules were fitted to these runs.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from doctor.fit_runs import Run, runs
from omarl.analysis.doctor import Diagnosis, diagnose_arrays

HERE = Path(__file__).parent


def diagnosis_of(run: Run) -> Diagnosis:
    """The doctor's diagnosis of a run."""
    return diagnose_arrays(run.arrays(), np.linspace(1, 50_000, run.points), run.settings())


def is_right(run: Run, diagnosis: Diagnosis) -> bool:
    """Whether a healthy run is found healthy, or the expected symptom is first and the others are found."""
    if not run.expected:
        return diagnosis.healthy
    found = [f.symptom for f in diagnosis.findings]
    every = {*found, *(s for f in diagnosis.findings for s in f.explains)}
    return bool(found) and found[0] in run.expected and set(run.also) <= every


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--show", default="", help="print the diagnoses of runs whose name begins with this")
    parser.add_argument("--real", action="store_true", help="short trainings too (needs torch, a minute)")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made: list[Any] = [run for seed in args.seeds for run in runs(seed)]
    if args.real:
        from doctor.real_runs import real_runs

        made += real_runs()
    wrong, counts = [], {"healthy": [0, 0], "faulty": [0, 0]}
    for run in made:
        diagnosis = diagnosis_of(run)
        kind = "faulty" if run.expected else "healthy"
        right = is_right(run, diagnosis)
        counts[kind][0] += right
        counts[kind][1] += 1
        verdict = ", ".join(f.symptom for f in diagnosis.findings) or "healthy"
        if not right:
            wrong.append(f"| {run.name} | {run.points} | {run.reduction} | {run.noise} {run.level} | "
                         f"{', '.join(run.logs)} | {', '.join((*run.expected, *run.also)) or 'healthy'} | "
                         f"{verdict} |")  # fmt: skip
        if args.show and run.name.startswith(args.show):
            print(run.name, run.points, run.reduction, run.noise, run.level, run.logs, "\n", diagnosis)
    lines = [
        "# The fit half of the doctor's benchmark",
        "",
        f"`python benchmarks/doctor_fit.py --seeds {' '.join(map(str, args.seeds))}{' --real' if args.real else ''}`",
        "",
        *(f"- {kind}: right on {right} of {all_}" for kind, (right, all_) in counts.items()),
        "",
        "The rules were fitted to these runs, so the counts do not measure the doctor's accuracy.",
        "",
        "| wrong on | points | reduction | noise | logged | expected | diagnosis |",
        "|---|---|---|---|---|---|---|",
        *wrong,
    ]
    print("\n".join(lines))
    if not args.show:
        (HERE / "doctor" / "fit.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
