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
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from omg_tables import tables
from omg_tasks import (
    ARMS,
    MATURE,
    MODELS,
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
)

ROOT = Path(__file__).parent.parent


def main_py(*words: str) -> None:
    """Runs a command of ``main.py``; exits with its output if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "main.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"main.py {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def team(name: str, alg: str, seed: int, results: Path) -> Path:
    """The run of a trained team, made if it is missing, with checkpoints half-way and at the end."""
    task, place = TASKS[name], results / "teams" / name / alg / str(seed)
    if not place.is_dir():
        partial = place.with_name(f"{seed}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        friends = task.mode == "optimistic" and task.env_config == "foraging"
        main_py(f"--config={alg}", f"--env-config={task.env_config}", "with", *task.words, *task.team_words,
                f"t_max={MATURE}",
                f"save_model_interval={MATURE // 2}", f"common_reward={friends}", "test_interval=0", f"seed={seed}",
                "use_tensorboard=False", f"local_results_path={partial}")  # fmt: skip
        partial.rename(place)
    (run,) = place.glob("sacred/*/*/1")
    return run


def prepare(name: str, results: Path, jobs: int) -> Path:
    """The task's pool, made if it is missing: scripts, trained teams, and a prior from a run of the base."""
    task, pool = TASKS[name], results / "pools" / name
    if pool.is_dir():
        return pool
    with ThreadPoolExecutor(jobs) as workers:
        teams = dict(
            zip(task.teams, workers.map(lambda one: str(team(name, *one, results)), task.teams), strict=True)
        )
    task_words = [f"--env-config={task.env_config}", "with", *task.words]
    bare = results / "pools" / f"{name}_bare"
    shutil.rmtree(bare, ignore_errors=True)
    # the last team of each algorithm is a validation opponent
    validation = {alg: (alg, seed) for alg, seed in task.teams}.values()
    tested = [run for who, run in teams.items() if who not in validation]
    who = [f"scripts=[{','.join(task.train)}]", f"test_scripts=[{','.join(task.test)}]",
           f"test_runs=[{','.join(tested)}]", f"validation_scripts=[{','.join(task.validation)}]",
           f"validation_runs=[{','.join(teams[who] for who in validation)}]", "checkpoints=all"]  # fmt: skip
    main_py("pool", *task_words, *who, f"out={bare}")
    prior = results / "priors" / name
    shutil.rmtree(prior, ignore_errors=True)
    main_py("--config=ppo_history", *task_words, *information(task, ""), f"pool={bare}", "learner=omg_vae_learner",
            "base_learner=ppo_learner", "vae_updates=32", "vae_batch_states=256", "t_max=400000", "seed=100",
            f"local_results_path={prior}")  # fmt: skip
    (run,) = prior.glob("sacred/*/*/1")
    main_py("pool", *task_words, *who, f"out={pool}", f"prior={run}")
    return pool


def information(task: Task, more: str) -> list[str]:
    """The keys that set which information learners get about their opponents."""
    if more == "blind":
        return [f"opponent_information=[{task.seen.replace('actions', '').strip(',')}]", "use_rnn=False"]
    return [f"opponent_information=[{','.join(filter(None, (task.seen, more)))}]"]


def run(name: str, arm: str, seed: int, results: Path, setting: str | None = None) -> str:
    """Makes one run unless its folder exists. With a ``setting`` the tests use the validation opponents."""
    task, (alg, more, words) = TASKS[name], ARMS[arm]
    place, split, label, settings = results / called(name) / arm / str(seed), "test", arm, ""
    if setting is not None:
        label, settings = f"{arm} {setting}".strip(), " ".join([UNTUNED, STARTS.get(alg, ""), setting])
        place, split = results / f"{called(name)}_tuning" / label / str(seed), "validation"
    if place.is_dir():
        if setting is None:
            retest(place)
        return f"{place}: exists"
    partial = place.with_name(f"{seed}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    mode = [f"omg_mode={task.mode}"] if alg.startswith("omg") else []
    mode += [f"model_subjects={task.about}"] if alg in MODELS and task.about != "*" else []
    mode += [f"model_horizon={task.horizon}"] if alg == "place_prediction" else []
    main_py(f"--config={alg}", f"--env-config={task.env_config}", "with", *task.words,
            *information(task, more), *mode, *words, *settings.split(), f"pool={results / 'pools' / name}",
            f"split={split}", f"t_max={task.steps}", f"test_interval={task.steps // 5}",
            f"test_nepisode={TESTED}", f"seed={seed}", f"label={label}",
            "use_tensorboard=False", f"local_results_path={partial}")  # fmt: skip
    partial.rename(place)
    if setting is None:
        retest(place)
    return f"{place}: done"


def retest(place: Path) -> None:
    """Tests the last checkpoint of a finished run with ``RETEST`` episodes, which makes sampling noise small."""
    (folder,) = place.glob("sacred/*/*/1")
    if not list(folder.glob("checkpoints/*/evaluation.json")):
        main_py("evaluate", "with", f"checkpoint_path={folder}", f"test_nepisode={RETEST}")


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
    with ThreadPoolExecutor(args.jobs) as workers:
        for line in workers.map(lambda one: run(*one), wanted):
            print(line, flush=True)


if __name__ == "__main__":
    main()
