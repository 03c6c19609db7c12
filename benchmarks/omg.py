"""OMG and what it must beat: who learns how much against opponents never met, and how much there is to be learned.

    python benchmarks/omg.py run   [--tasks ...] [--arms ...] [--seeds 10] [--steps N] [--jobs 2] --results FOLDER
    python benchmarks/omg.py tune  [--tasks ...] [--arms ...] [--seeds 10] [--steps N] [--jobs 2] --results FOLDER
    python benchmarks/omg.py table [--tasks ...] [--steps N] [--results FOLDER]

``run`` makes each task's pool and subgoal prior where they are missing, then one run for each arm and seed (those
there already are not repeated), and tests it once more at its end, with 4,800 episodes. ``tune`` runs ``SETTINGS``
and tests them with the opponents to choose by. ``table`` adds what is there to ``benchmarks/omg/<task>.csv`` and
writes ``<task>.{md,png}`` and, where there are such runs, ``<task>_<arm>_choices.{md,png}`` and ``<task>_tuning.md``:
interquartile means over seeds with 95% intervals. Runs and tables of other than the usual ``--steps`` go by the task
and its length, as ``<task>_1M``.

A pool has 10 scripts to train with and 30 opponents to test with: 20 other scripts, and teams that were trained
together, 3 by IPPO and 2 by PQN (predators and prey) or MAPPO (foraging), at two ages each. Settings are chosen by
14 more: 10 scripts and 2 teams, at two ages.
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
    """A command, which must succeed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "main.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"main.py {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def team(name: str, alg: str, seed: int, results: Path) -> Path:
    """A trained team's run, of which half-way and last checkpoints are kept."""
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
    """The task's pool: scripts, trained teams, and a prior from a run of the base against those to train with."""
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
    # the last team of each algorithm is one to choose settings by
    chosen_by = {alg: (alg, seed) for alg, seed in task.teams}.values()
    tested = [run for who, run in teams.items() if who not in chosen_by]
    who = [f"scripts=[{','.join(task.train)}]", f"test_scripts=[{','.join(task.test)}]",
           f"test_runs=[{','.join(tested)}]", f"validation_scripts=[{','.join(task.validation)}]",
           f"validation_runs=[{','.join(teams[who] for who in chosen_by)}]", "checkpoints=all"]  # fmt: skip
    main_py("pool", *task_words, *who, f"out={bare}")
    prior = results / "priors" / name
    shutil.rmtree(prior, ignore_errors=True)
    main_py("--config=ppo_history", *task_words, *told(task, ""), f"pool={bare}", "learner=omg_vae_learner",
            "base_learner=ppo_learner", "vae_updates=32", "vae_batch_states=256", "t_max=400000", "seed=100",
            f"local_results_path={prior}")  # fmt: skip
    (run,) = prior.glob("sacred/*/*/1")
    main_py("pool", *task_words, *who, f"out={pool}", f"prior={run}")
    return pool


def told(task: Task, more: str) -> list[str]:
    """What learners are told of their opponents."""
    if more == "blind":
        return [f"opponents_told=[{task.seen.replace('actions', '').strip(',')}]", "use_rnn=False"]
    return [f"opponents_told=[{','.join(filter(None, (task.seen, more)))}]"]


def run(name: str, arm: str, seed: int, results: Path, setting: str | None = None) -> str:
    """One run, unless its folder is there; of a setting to be chosen, or not, by opponents that are kept for it."""
    task, (alg, more, words) = TASKS[name], ARMS[arm]
    place, split, label, settings = results / called(name) / arm / str(seed), "test", arm, ""
    if setting is not None:
        label, settings = f"{arm} {setting}".strip(), " ".join([UNTUNED, STARTS.get(alg, ""), setting])
        place, split = results / f"{called(name)}_tuning" / label / str(seed), "validation"
    if place.is_dir():
        if setting is None:
            retest(place)
        return f"{place}: there"
    partial = place.with_name(f"{seed}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    mode = [f"omg_mode={task.mode}"] if alg.startswith("omg") else []
    mode += [f"model_subjects={task.about}"] if alg in MODELS and task.about != "*" else []
    mode += [f"model_horizon={task.horizon}"] if alg == "place_prediction" else []
    main_py(f"--config={alg}", f"--env-config={task.env_config}", "with", *task.words, *told(task, more), *mode,
            *words, *settings.split(), f"pool={results / 'pools' / name}", f"split={split}",
            f"t_max={task.steps}", f"test_interval={task.steps // 5}", f"test_nepisode={TESTED}", f"seed={seed}",
            f"label={label}",
            "use_tensorboard=False", f"local_results_path={partial}")  # fmt: skip
    partial.rename(place)
    if setting is None:
        retest(place)
    return f"{place}: done"


def retest(place: Path) -> None:
    """A finished run's last checkpoint once more, with enough episodes that seeds differ by what was learned."""
    (folder,) = place.glob("sacred/*/*/1")
    if not list(folder.glob("checkpoints/*/evaluation.json")):
        main_py("evaluate", "with", f"checkpoint_path={folder}", f"test_nepisode={RETEST}")


def refuse(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends where arms are asked for that a task, or tuning, does not have."""
    for arm in {*ONLY} & {*args.arms} if args.arms is not USUAL else ():
        if no := [name for name in args.tasks if TASKS[name].env_config != ONLY[arm]]:
            parser.error(f"--arms: {arm} is for {ONLY[arm]} alone, not for {', '.join(no)}")
    if args.what == "tune" and (odd := [arm for arm in args.arms if arm not in SETTINGS]):
        parser.error(f"--arms: tune has no settings for {', '.join(odd)}; it has some for {', '.join(SETTINGS)}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "tune"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=USUAL)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, help="of each run, where not the task's own number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, help="where pools and runs are; table can do without")
    args = parser.parse_args()
    refuse(parser, args)
    if args.steps:
        TASKS.update({name: TASKS[name]._replace(steps=args.steps) for name in args.tasks})
    if args.what == "table":
        for name in args.tasks:
            tables(name, args.results)
        return
    if args.results is None:
        parser.error("--results: say where pools and runs are to be kept")
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
        for said in workers.map(lambda one: run(*one), wanted):
            print(said, flush=True)


if __name__ == "__main__":
    main()
