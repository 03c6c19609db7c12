"""OMG and what it must beat: who learns how much against opponents never met, and how much there is to be learned.

    python benchmarks/omg.py run   [--tasks ...] [--arms ...] [--seeds 10] [--jobs 2] --results FOLDER
    python benchmarks/omg.py table [--tasks ...] --results FOLDER

``run`` makes each task's pool and subgoal prior where they are missing, then one run for each arm and seed (those
there already are not repeated); ``table`` writes ``benchmarks/omg/<task>.{md,png}``: returns and lengths of
episodes with the test opponents, means over seeds with 95% intervals.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from omarl.opponents import foraging as foraging_scripts
from omarl.opponents import tag as tag_scripts

HERE = Path(__file__).parent
ROOT = HERE.parent


class Task(NamedTuple):
    """An environment, its pool, and what its oracle is told."""

    env_config: str
    words: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    seen: str
    oracle: str
    has_filter: bool
    mode: str
    steps: int


def foraging(key: str, mode: str, *words: str) -> Task:
    """A foraging task."""
    own = (f"env_args.key=lbforaging:{key}", "env_args.backend=batched", "gamma=0.97")
    train, test = foraging_scripts.ForagingScripts.usual
    return Task("foraging", (*own, *words), train, test, "offsets,actions", "goal", True, mode, 1_000_000)


TASKS = {
    "coop_deadline": foraging("Foraging-8x8-2p-4f-coop-v3", "optimistic", "env_args.episode_limit=20"),
    "foraging": foraging("Foraging-8x8-2p-3f-v3", "optimistic"),
    "competitive": foraging("Foraging-8x8-2p-3f-v3", "conservative", "env_args.max_food_level=[1,1,1]"),
    "predator_prey": Task(
        "simple_tag",
        ("env_args.key=mpe2.simple_tag_v3", "env_args.max_cycles=25", "env_args.backend=batched",
         "omg_learners=adversary_0", "gamma=0.9"),
        *tag_scripts.TagScripts.usual, "actions", "goal", False, "optimistic", 1_000_000),
}  # fmt: skip
# What each arm is: the algorithm, and what it is told beside the history.
ARMS = {
    "base": ("ppo_history", "blind"),
    "history": ("ppo_history", ""),
    "liam": ("liam", ""),
    "naive_om": ("naive_om", ""),
    "omg": ("omg_ppo", ""),
    "bayes": ("ppo_history", "belief"),
    "next_actions": ("ppo_history", "next_actions"),
    "oracle": ("ppo_history", "oracle"),
}


def main_py(*words: str, cwd: Path = ROOT) -> str:
    """The output of a command, which must succeed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "main.py", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"main.py {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def prepare(name: str, results: Path) -> Path:
    """The task's pool: scripts to train and to test with, and a prior from a run of the base in their company."""
    task, pool = TASKS[name], results / "pools" / name
    if pool.is_dir():
        return pool
    task_words = [f"--env-config={task.env_config}", "with", *task.words]
    bare = results / "pools" / f"{name}_bare"
    shutil.rmtree(bare, ignore_errors=True)
    lists = [f"scripts=[{','.join(task.train)}]", f"test_scripts=[{','.join(task.test)}]"]
    main_py("pool", *task_words, *lists, f"out={bare}")
    prior = results / "priors" / name
    shutil.rmtree(prior, ignore_errors=True)
    main_py("--config=ppo_history", *task_words, *told(task, ""), f"pool={bare}", "learner=omg_vae_learner",
            "base_learner=ppo_learner", "vae_updates=32", "vae_batch_states=256", "t_max=400000", "seed=100",
            f"local_results_path={prior}")  # fmt: skip
    (run,) = prior.glob("sacred/*/*/1")
    main_py("pool", *task_words, *lists, f"out={pool}", f"prior={run}")
    return pool


def told(task: Task, more: str) -> list[str]:
    """What learners are told of their opponents."""
    if more == "blind":
        return [f"opponents_told=[{task.seen.replace('actions', '').strip(',')}]", "use_rnn=False"]
    extra = {"": "", "oracle": f",{task.oracle}"}.get(more, f",{more}")
    return [f"opponents_told=[{task.seen}{extra}]"]


def run(name: str, arm: str, seed: int, results: Path) -> str:
    """One run, unless its folder is there."""
    place = results / name / arm / str(seed)
    if place.is_dir():
        return f"{place}: there"
    task, (alg, more) = TASKS[name], ARMS[arm]
    partial = place.with_name(f"{seed}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    extra = [f"omg_mode={task.mode}"] if arm == "omg" else []
    main_py(f"--config={alg}", f"--env-config={task.env_config}", "with", *task.words, *told(task, more), *extra,
            f"pool={results / 'pools' / name}", "split=test", f"t_max={task.steps}",
            f"test_interval={task.steps // 10}", "test_nepisode=1280", "test_greedy=False",
            f"seed={seed}", f"label={arm}", "use_tensorboard=False",
            f"local_results_path={partial}")  # fmt: skip
    partial.rename(place)
    return f"{place}: done"


def table(name: str, results: Path) -> None:
    """One task's tables and pictures: returns, and steps of an episode."""
    (HERE / "omg").mkdir(exist_ok=True)
    metrics = [("test_return_mean", ""), ("test_ep_length_mean", "_length")]
    for metric, suffix in metrics if TASKS[name].has_filter else metrics[:1]:  # predators have no end to reach
        runs = ",".join(str(results / name / arm) for arm in ARMS if (results / name / arm).is_dir())
        there = results / "tables" / f"{name}{suffix}"
        main_py("compare", "with", f"runs=[{runs}]", "by=[label]", f"metric={metric}", f"out={there}")
        shutil.copy(there / "comparison.png", HERE / "omg" / f"{name}{suffix}.png")
        text = (there / "comparison.md").read_text(encoding="utf-8").replace("comparison.png", f"{name}{suffix}.png")
        said = f"Tests: the pool's {len(TASKS[name].test)} test opponents, never met in training, equally often."
        command = f"`python benchmarks/omg.py run --tasks {name} --results FOLDER`"
        (HERE / "omg" / f"{name}{suffix}.md").write_text(f"{text}\n{said} {command}\n", encoding="utf-8")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, required=True)
    args = parser.parse_args()
    results = args.results.resolve()
    wanted = []
    for name in args.tasks:
        for seed in range(1, args.seeds + 1):
            for arm in args.arms:
                if arm != "bayes" or TASKS[name].has_filter:
                    wanted.append((name, arm, seed))
    if args.what == "run":
        for name in args.tasks:
            prepare(name, results)
        with ThreadPoolExecutor(args.jobs) as workers:
            for said in workers.map(lambda one: run(*one, results), wanted):
                print(said, flush=True)
        return
    for name in args.tasks:
        table(name, results)


if __name__ == "__main__":
    main()
