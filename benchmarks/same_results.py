"""Whether two revisions of omarl train the same: one seed, every algorithm, every logged number.

    python benchmarks/same_results.py BEFORE AFTER [--steps 20000] [--only iql omg] [--work DIR]

Each revision is a git revision of this repository, checked out into a folder of its own. Both train every algorithm
of ``ALGORITHMS`` with the same seed and settings; opponents come from one pool, which BEFORE makes. All numbers of
``metrics.jsonl`` are compared except wall-clock times. Results that are there already are not trained again.
Prints one line for each algorithm and exits with 1 where any number differs. About 10 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
GAME = "--env-config=foraging"
TRAINED = ["test_interval=5000", "test_nepisode=16", "learner_log_interval=1000", "runner_log_interval=1000",
           "save_model=False", "use_tensorboard=False", "env_workers=0", "seed=7"]  # fmt: skip
ROLLOUTS = ["batch_size_run=16"]
IN_POOL = [*ROLLOUTS, "env_args.episode_limit=20", "pool={pool}", "split=test"]
VAE = ["vae_latent_dim=16", "vae_hidden_dim=32"]  # explicit: the pool's prior has this shape

# configuration, environment, settings; opponents of OMG and the others come from the pool
ALGORITHMS = {
    "omg_vae": ("simple_tag", [*VAE]),
    "iql": ("simple_spread", []),
    "qmix": ("simple_spread", []),
    "ippo": ("simple_spread", ROLLOUTS),
    "mappo": ("simple_spread", ROLLOUTS),
    "pqn": ("simple_spread", ROLLOUTS),
    "omg": ("foraging", [*IN_POOL, *VAE]),
    "omg_ppo": ("foraging", [*IN_POOL, *VAE]),
    "omg_categorical": ("foraging", IN_POOL),
    "omg_objects": ("foraging", IN_POOL),
    "liam": ("foraging", IN_POOL),
    "naive_om": ("foraging", IN_POOL),
}
# metrics that have another name after the change: (algorithm, before) -> after; None: no longer logged
RENAMED: dict[tuple[str, str], str | None] = {
    ("omg_categorical", "omg_loss"): "model_loss",
    ("omg_categorical", "omg_kl_loss"): None,  # the same number as the loss: a cross-entropy
    ("omg_categorical", "omg_grad_norm"): "model_grad_norm",
    ("omg_categorical", "omg_selected_k"): "model_target_k",
    ("omg_objects", "omg_kl_loss"): None,  # the same number as model_loss
}
COMPANION = re.compile(r"(.*?)(/\d+)?(_std|_min|_max)?")  # a metric, its share at one k, and its spread
TIMES = ("wall_s", "steps_per_second")


def checkout(revision: str, work: Path) -> Path:
    """The files of a revision, in a folder named after its commit."""
    command = ["git", "rev-parse", "--short", f"{revision}^{{commit}}"]
    commit = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    folder = work / commit
    if not (folder / "main.py").exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def run(tree: Path, words: list[str], results: Path) -> Path:
    """Runs ``main.py`` of one revision; the run's folder.

    Raises:
        RuntimeError: the run failed; the message ends with what it printed.
    """
    done = sorted(results.glob("sacred/*/*/*/metrics.jsonl"))
    if done and json.loads((done[0].parent / "run.json").read_text())["status"] == "COMPLETED":
        return done[0].parent
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    command = [sys.executable, "main.py", *words, f"local_results_path={results}"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "typings"), "OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"{tree.name}: {' '.join(words)}: {made.stderr.strip().splitlines()[-1]}")
    return next(results.glob("sacred/*/*/*/metrics.jsonl")).parent


def make_pool(tree: Path, work: Path) -> Path:
    """Four scripts, one trained team and a subgoal prior, made by one revision."""
    pool = work / "pool"
    if (pool / "pool.yaml").exists():
        return pool
    short = ["with", "env_args.episode_limit=20", "seed=1", "t_max=3000", "test_interval=0", "use_tensorboard=False",
             "env_workers=0"]  # fmt: skip
    prior = run(tree, ["--config=omg_vae", GAME, *short, *VAE], work / "prior")
    team = run(tree, ["--config=iql", GAME, *short], work / "team")
    words = ["pool", GAME, "with", "env_args.episode_limit=20", "scripts=[nearest,farthest]",
             "test_scripts=[west,last:0.1]", f"runs=[{team}]", f"prior={prior}", f"out={pool}"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(tree / "typings")}
    subprocess.run([sys.executable, "main.py", *words], cwd=tree, env=environment, check=True, capture_output=True)
    return pool


def numbers(folder: Path) -> dict[tuple[str, int, int], float]:
    """Every logged number but times, by metric, step and how often the metric was logged at that step before."""
    found: dict[tuple[str, int, int], float] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        step = entry["t_env"]
        for name, value in entry.items():
            if name == "t_env" or name.startswith(TIMES):
                continue
            occurrence = 0
            while (name, step, occurrence) in found:
                occurrence += 1
            found[name, step, occurrence] = value
    return found


def renamed(algorithm: str, values: dict[tuple[str, int, int], float]) -> dict[tuple[str, int, int], float]:
    """The same numbers under the names that they have after the change."""
    result = {}
    for (name, step, occurrence), value in values.items():
        match = COMPANION.fullmatch(name)
        assert match is not None  # its first group matches any name
        stem, share, spread = match.groups(default="")
        new = RENAMED.get((algorithm, stem), stem)
        if new is not None:
            result[new + share + spread, step, occurrence] = value
    return result


def difference(one: float | None, other: float | None) -> float:
    """Relative to the larger absolute value; infinite where one is missing."""
    if one is None or other is None:
        return math.inf
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    return abs(one - other) / max(abs(one), abs(other))


def compare(algorithm: str, before: Path, after: Path) -> tuple[bool, str]:
    """Whether all numbers are equal, and a line that says so or names the largest difference."""
    old, new = renamed(algorithm, numbers(before)), numbers(after)
    missing = sorted({name for name, *_ in old.keys() - new.keys()})
    added = sorted({name for name, *_ in new.keys() - old.keys()})
    apart = {key: difference(old[key], new[key]) for key in old.keys() & new.keys()}
    worst = max(apart, key=lambda key: apart[key])
    count = len(apart)
    line = f"{algorithm:16} {count} numbers of {len({name for name, *_ in apart})} metrics"
    unequal = sum(value > 0 for value in apart.values())
    if unequal:
        line += f"; {unequal} differ, first at step {min(k[1] for k in apart if apart[k])}, most {worst[0]} at step "
        line += f"{worst[1]}: {old[worst]:.8g} and {new[worst]:.8g} ({apart[worst]:.1e} apart)"
    else:
        line += ", all equal"
    line += f"; missing: {', '.join(missing)}" if missing else ""
    line += f"; new: {', '.join(added)}" if added else ""
    return not unequal and not missing, line


def main() -> int:
    """Trains what is missing and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps of each training")
    parser.add_argument("--only", nargs="+", choices=sorted(ALGORITHMS), help="these algorithms alone")
    parser.add_argument("--work", type=Path, default=ROOT / "results" / "same_results", help="folder for the runs")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    args = parser.parse_args()
    work = args.work.resolve()
    trees = [checkout(revision, work) for revision in (args.before, args.after)]
    pool = make_pool(trees[0], work)
    names = args.only or list(ALGORITHMS)

    def trained(algorithm: str, tree: Path) -> Path:
        env, settings = ALGORITHMS[algorithm]
        words = [f"--config={algorithm}", f"--env-config={env}", "with", f"t_max={args.steps}", *TRAINED]
        words += [setting.format(pool=pool) for setting in settings]
        return run(tree, words, work / f"{tree.name}_{args.steps}_{algorithm}")

    with ThreadPoolExecutor(args.jobs) as executor:
        pending = {name: [executor.submit(trained, name, tree) for tree in trees] for name in names}
        verdicts = []
        for name, pair in pending.items():
            equal, line = compare(name, *(each.result() for each in pair))
            print(line, flush=True)
            verdicts.append(equal)
    print(f"{sum(verdicts)} of {len(verdicts)} algorithms give the same numbers at {args.before} and {args.after}")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
