"""CPU time of the same trainings at two revisions, run in turn.

    python benchmarks/paired_speed.py BEFORE AFTER [--pairs 15] [--only iql liam] [--out FILE.csv]

Each pair trains once with each revision, first and second by turns, through ``main.py`` with one thread of
torch and no workers. CPU seconds of the whole process count, not wall-clock time, so that other processes disturb
little. Prints for each training the median of the ratios AFTER / BEFORE with its quartiles, and writes every
pair to ``--out``. Exits with 1 if a median exceeds 1.05. About 30 minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from same_results import ROOT, checkout

LIMIT = 1.05
KEYS = ("test_interval=8000", "test_nepisode=16", "use_tensorboard=False", "env_workers=0", "seed=3")
VAE = ("vae_linear_path=False", "vae_latent_dim=16", "vae_window=4", "vae_lr=3e-4")  # the same at every revision
COPIES = ("batch_size_run=128",)  # the same at every revision, also in short runs
# environment, steps, further keys
TRAININGS = {
    "iql": ("simple_spread", 24_000, ()),
    "iql, package": ("simple_spread", 8_000, ("env_args.backend=pettingzoo",)),
    "ippo": ("simple_spread", 80_000, COPIES),
    "omg_vae": ("simple_tag", 10_000, VAE),
    "liam": ("foraging", 24_000, COPIES),
    "place_prediction": ("foraging", 24_000, COPIES),
}


def cpu_seconds(tree: Path, name: str, results: Path) -> float:
    """User and system time of one training at the revision in ``tree``.

    Raises:
        RuntimeError: the training failed; the message ends with what it printed.
    """
    env, steps, keys = TRAININGS[name]
    words = [sys.executable, "main.py", f"--config={name.partition(',')[0]}", f"--env-config={env}", "with"]
    words += [f"t_max={steps}", *KEYS, *keys, f"local_results_path={results}"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "typings"), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if made.returncode:
        raise RuntimeError(f"{tree.name}: {' '.join(words)}: {made.stderr.strip().splitlines()[-1]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=sorted(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "reliability" / "paired_speed.csv")
    args = parser.parse_args()
    ratios: dict[str, list[float]] = {name: [] for name in args.only}
    with tempfile.TemporaryDirectory() as folder, args.out.open("w", newline="", encoding="utf-8") as file:
        trees = [checkout(revision, Path(folder)) for revision in (args.before, args.after)]
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["training", "pair", "before_s", "after_s"])
        for name in args.only:  # the first run of a revision compiles kernels and makes pools
            for tree in trees:
                cpu_seconds(tree, name, Path(folder) / f"results_{tree.name}")
        for pair in range(args.pairs):
            for name in args.only:
                times = {}
                for which in (0, 1) if pair % 2 == 0 else (1, 0):
                    times[which] = cpu_seconds(trees[which], name, Path(folder) / f"results_{trees[which].name}")
                ratios[name].append(times[1] / times[0])
                rows.writerow([name, pair, f"{times[0]:.2f}", f"{times[1]:.2f}"])
                file.flush()
    slow = False
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        slow |= middle > LIMIT
        print(f"{name}: {middle:.3f} [{low:.3f}, {high:.3f}], {len(values)} pairs")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
