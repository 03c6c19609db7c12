"""Learning curves on environments with images, small grids, and rows of numbers, beside random play.

    python benchmarks/images.py run   --results FOLDER [--tasks ...] [--seeds 3] [--steps 500000] [--jobs 1]
    python benchmarks/images.py table --results FOLDER [--tasks ...]

``run`` trains IPPO with default sizes, and plays 32 random episodes; existing results in the folder are not repeated.
``table`` writes ``benchmarks/images/images.md`` and ``images.png`` of what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import omarl
from omarl.analysis.statistics import mean_interval
from omarl.envs.actions import actions_by_score

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "images"
TASKS = {
    "pistonball": ("env_args.key=butterfly/pistonball", "env_args.frame_stack=3", "env_args.grayscale=True"),
    "cooperative_pong": ("env_args.key=butterfly/cooperative_pong", "env_args.frame_stack=3",
                         "env_args.grayscale=True"),
    "pursuit": ("env_args.key=sisl/pursuit",),
    "knights_archers_zombies": ("env_args.key=butterfly/knights_archers_zombies",),
}  # fmt: skip
EPISODES = 32  # random ones
HEAD = [
    "# Images: IPPO beside random play",
    "",
    "Returns of 16 test episodes with sampled actions, summed over agents: of each seed, and the means of the last "
    "three tests over seeds, with their 95% interval (Student's t); of 32 random episodes, the mean and its "
    "interval. Settings: `benchmarks/images.py`.",
    "",
    "| environment | steps | seeds | first test | last test | last three tests | random |",
    "|---|---|---|---|---|---|---|",
]


def command(task: str, seed: int, steps: int, place: Path) -> list[str]:
    """The training of one seed."""
    keys = {"t_max": steps, "seed": seed, "test_interval": max(steps // 10, 1), "test_nepisode": 16,
            "test_greedy": False, "batch_size_run": 32, "rollout_steps": 64, "save_model": False,
            "use_tensorboard": False, "local_results_path": place}  # fmt: skip
    words = [f"{name}={value}" for name, value in keys.items()]
    return [sys.executable, "main.py", "--config=ippo", "with", *TASKS[task], *words]


def train(task: str, seed: int, steps: int, results: Path) -> str:
    """Makes one run unless its folder exists. A failed run leaves its output and no folder."""
    place = results / task / str(seed)
    if place.is_dir():
        return f"{place}: exists"
    partial = place.with_name(f"{seed}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy"}
    done = subprocess.run(command(task, seed, steps, partial), cwd=ROOT, env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    if done.returncode:
        (partial / "output.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
        return f"{partial}: failed, see output.txt"
    partial.rename(place)
    return f"{place}: done"


def play_randomly(task: str, results: Path) -> None:
    """Returns of random episodes, summed over agents."""
    file = results / task / "random.json"
    if file.is_file():
        return
    key = TASKS[task][0].partition("=")[2]
    env, rng = omarl.make_env({"key": key}, test=True, seed=1), np.random.default_rng(1)
    observation, total = env.reset(), 0.0
    returns: list[float] = []
    while len(returns) < EPISODES:
        scores = rng.random(observation.avail.shape) * observation.avail
        step = env.step(actions_by_score(env.info.actions, scores))
        observation, total = step.observation, total + float(step.reward.sum())
        if (step.terminated | step.truncated).any():
            returns.append(total)
            total = 0.0
    env.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(returns), encoding="utf-8")


def curves(task: str, results: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and test returns of each seed."""
    found = {}
    for place in sorted((results / task).glob("*[0-9]")):
        for file in place.glob("sacred/**/metrics.jsonl"):
            metric = omarl.Run(file.parent).metrics["test_return_mean"]
            found[place.name] = (np.array(metric.steps, float), np.array(metric.values, float))
    return found


def table(tasks: list[str], results: Path) -> None:
    """Writes the table and the picture."""
    OUT.mkdir(exist_ok=True)
    present = [task for task in tasks if (results / task / "random.json").is_file() and curves(task, results)]
    size = 4 * len(present), 3
    figure, axes = plt.subplots(1, len(present), figsize=size, squeeze=False, layout="constrained")
    lines = [*HEAD]
    for axis, task in zip(axes[0], present, strict=True):
        returns = np.array(json.loads((results / task / "random.json").read_text(encoding="utf-8")))
        chance = mean_interval(returns)
        axis.axhspan(chance.low, chance.high, color="0.8", label="random")
        runs = curves(task, results)
        for seed, (steps, values) in runs.items():
            axis.plot(steps, values, label=f"seed {seed}")
        first, last = (", ".join(f"{values[at]:.4g}" for _, values in runs.values()) for at in (0, -1))
        until = max(int(steps[-1]) for steps, _ in runs.values())
        end = mean_interval(np.array([values[-3:].mean() for _, values in runs.values()]))
        intervals = " | ".join(f"{each.point:.4g} [{each.low:.4g}, {each.high:.4g}]" for each in (end, chance))
        lines.append(f"| {task} | {until:,} | {len(runs)} | {first} | {last} | {intervals} |")
        axis.set(title=task, xlabel="environment steps", ylabel="test return")
        axis.legend(fontsize="small")
    figure.savefig(OUT / "images.png", dpi=100)
    (OUT / "images.md").write_text("\n".join([*lines, "", "![learning curves](images.png)", ""]), encoding="utf-8")


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, required=True)
    args = parser.parse_args()
    results = args.results.resolve()
    if args.what == "table":
        table(args.tasks, results)
        return
    for task in args.tasks:
        play_randomly(task, results)
    wanted = [(task, seed) for seed in range(1, args.seeds + 1) for task in args.tasks]
    with ThreadPoolExecutor(args.jobs) as pool:
        for line in pool.map(lambda one: train(one[0], one[1], args.steps, results), wanted):
            print(line, flush=True)


if __name__ == "__main__":
    main()
