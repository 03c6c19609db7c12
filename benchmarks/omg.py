"""Compares opponent models and their baselines by the return with held-out opponents.

    python benchmarks/omg.py run   [--tasks ...] [--arms ...] [--seeds 10] [--steps N] [--jobs 2] --results FOLDER
    python benchmarks/omg.py tune  [--tasks ...] [--arms ...] [--seeds 10] [--steps N] [--jobs 2] --results FOLDER
    python benchmarks/omg.py table [--tasks ...] [--steps N] [--results FOLDER]

``run`` makes each task's pool and subgoal prior if they are missing, then one run for each arm and seed, and tests
each run after its end with 4,800 episodes. Existing runs are not repeated. ``tune`` runs ``SETTINGS`` and tests them
with the validation opponents. ``table`` adds the results of finished runs to ``benchmarks/omg/<task>.csv`` and writes
``<task>.{md,png}`` and, if there are such runs, ``<task>_<arm>_choices.{md,png}`` and ``<task>_tuning.md``, with
interquartile means over seeds and 95% intervals. With ``--steps`` other than the usual, the names of runs and tables
contain the length, as in ``<task>_1M``.

A pool has 10 training scripts and 30 test opponents: 20 other scripts, and 5 teams that were trained together (3 by
IPPO, 2 by PQN in predator-prey or by MAPPO in foraging), each at two ages. Settings are chosen with 14 validation
opponents: 10 scripts and 2 teams, each at two ages.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import omarl
from keywords import keywords
from omarl import evaluation, pooling
from omarl.configuration.request import from_keywords
from omarl.utils.metrics import Logger
from omg_tables import tables
from omg_tasks import (
    ARMS,
    MATURE,
    ONLY,
    RETEST,
    SEEDS,
    SETTINGS,
    STARTS,
    TASKS,
    TESTED,
    UNTUNED,
    USUAL,
    Task,
    called,
    information,
    words_of,
)


def processes(jobs: int) -> ProcessPoolExecutor:
    """Processes of one thread each, a fresh one for every run."""
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, spawn, initializer=begin, initargs=(dict(TASKS),), max_tasks_per_child=1)


def begin(tasks: dict[str, Task]) -> None:
    """Prepares a process: the tasks with the lengths that the command line asked for."""
    TASKS.update(tasks)
    omarl.keep_freed_memory()


def make_pool(task: Task, out: Path, who: dict[str, Any], prior: str = "") -> None:
    """Makes a task's pool of these opponents."""
    keys = {**keywords(task.words), **who, "checkpoints": "all", "out": out, "prior": prior}
    layers = from_keywords(keys, None, task.env_config, "pool", pooling.PoolConfig)
    pooling.make_pool(layers.values)


def team(name: str, alg: str, seed: int, results: Path) -> Path:
    """The run of a trained team, made if it is missing, with checkpoints half-way and at the end."""
    task, place = TASKS[name], results / "teams" / name / alg / str(seed)
    if not place.is_dir():
        unfinished = place.with_name(f"{seed}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        friends = task.mode == "optimistic" and task.env_config == "foraging"
        keys = keywords([*task.words, *task.team_words])
        keys |= {"t_max": MATURE, "save_model_interval": MATURE // 2, "test_interval": 0, "common_reward": friends}
        omarl.train(alg, task.env_config, **keys, seed=seed, use_tensorboard=False, local_results_path=unfinished)
        unfinished.rename(place)
    (run,) = place.glob("sacred/*/*/1")
    return run


def prepare(name: str, results: Path, jobs: int) -> Path:
    """The task's pool, made if it is missing: scripts, trained teams, and a prior from a run of the base."""
    task, pool = TASKS[name], results / "pools" / name
    if pool.is_dir():
        return pool
    with processes(jobs) as workers:
        made = workers.map(partial(team, name, results=results), *zip(*task.teams, strict=True))
        teams = dict(zip(task.teams, map(str, made), strict=True))
    # the last team of each algorithm is a validation opponent
    validation = {alg: (alg, seed) for alg, seed in task.teams}.values()
    who = {
        **task.scripts,
        "test_runs": [run for who, run in teams.items() if who not in validation],
        "validation_runs": [teams[who] for who in validation],
    }
    bare, prior = results / "pools" / f"{name}_bare", results / "priors" / name
    for folder in (bare, prior):
        shutil.rmtree(folder, ignore_errors=True)
    make_pool(task, bare, who)
    keys = keywords([*task.words, *information(task, "")])
    run = omarl.train("ppo_history", task.env_config, **keys, pool=bare, learner="omg_vae_learner",
                      base_learner="ppo_learner", vae_updates=32, vae_batch_states=256, t_max=400_000, seed=100,
                      local_results_path=prior)  # fmt: skip
    make_pool(task, pool, who, str(run.path))
    return pool


def run(name: str, arm: str, seed: int, results: Path, setting: str | None = None) -> str:
    """Makes one run unless its folder exists. With a ``setting`` the tests use the validation opponents."""
    task, alg = TASKS[name], ARMS[arm].alg
    place, split, label, settings = results / called(name) / arm / str(seed), "test", arm, ""
    if setting is not None:
        label, settings = f"{arm} {setting}".strip(), " ".join([UNTUNED, STARTS.get(alg, ""), setting])
        place, split = results / f"{called(name)}_tuning" / label / str(seed), "validation"
    if place.is_dir():
        if setting is None:
            retest(place)
        return f"{place}: exists"
    unfinished = place.with_name(f"{seed}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    keys = keywords([*words_of(task, ARMS[arm]), *settings.split()])
    keys |= {"pool": results / "pools" / name, "split": split, "t_max": task.steps, "test_interval": task.steps // 5,
             "test_nepisode": TESTED, "seed": seed, "label": label}  # fmt: skip
    omarl.train(alg, task.env_config, **keys, use_tensorboard=False, local_results_path=unfinished)
    unfinished.rename(place)
    if setting is None:
        retest(place)
    return f"{place}: done"


def retest(place: Path) -> None:
    """Tests the last checkpoint of a finished run with ``RETEST`` episodes, which makes sampling noise small."""
    (folder,) = place.glob("sacred/*/*/1")
    if not list(folder.glob("checkpoints/*/evaluation.json")):
        values = from_keywords({"checkpoint_path": folder, "test_nepisode": RETEST}, command="evaluate").values
        evaluation.evaluate(values, Logger(logging.getLogger("benchmark")))


def refuse(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exits with a message if a task, or tuning, does not have the arms of the command line."""
    for arm in {*ONLY} & {*args.arms} if args.arms is not USUAL else ():
        if no := [name for name in args.tasks if TASKS[name].env_config != ONLY[arm]]:
            parser.error(f"--arms: {arm} needs {ONLY[arm]}, which {', '.join(no)} is not")
    if args.what == "tune" and (odd := [arm for arm in args.arms if arm not in SETTINGS]):
        parser.error(f"--arms: tune has settings for {', '.join(SETTINGS)}, not for {', '.join(odd)}")


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "tune"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=USUAL)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, help="steps of each run; by default the task's own number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, help="folder of pools and runs; optional for table")
    args = parser.parse_args()
    refuse(parser, args)
    if args.steps:
        TASKS.update({name: TASKS[name]._replace(steps=args.steps) for name in args.tasks})
    if args.what == "table":
        for name in args.tasks:
            tables(name, args.results)
        return
    if args.results is None:
        parser.error("--results: give a folder for pools and runs")
    results = args.results.resolve()
    for name in args.tasks:
        prepare(name, results, args.jobs)
    seeds = range(1, args.seeds + 1)
    wanted: list[tuple[Any, ...]] = [(name, arm, seed) for name in args.tasks for seed in seeds for arm in args.arms
                                     if TASKS[name].env_config == ONLY.get(arm, TASKS[name].env_config)]  # fmt: skip
    if args.what == "tune":
        wanted = [(name, arm, seed, results, setting) for name, arm, seed in wanted for setting in SETTINGS[arm]]
    else:
        wanted = [(*one, results) for one in wanted]
    with processes(args.jobs) as workers:
        for line in workers.map(run, *zip(*wanted, strict=True)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
