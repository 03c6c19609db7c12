"""Opponent models against held-out opponents that share nothing with those of training, from nothing to the tables.

    python benchmarks/study.py run   --results FOLDER [--tasks ...] [--arms ...] [--seeds 10] [--jobs 2] [--scale 1]
    python benchmarks/study.py plan  [the same]   the runs, and hours if --results has earlier ones
    python benchmarks/study.py time  [the same]   the seconds of each arm, in turn on one thread, for the tables
    python benchmarks/study.py table --results FOLDER [--tasks ...]

``run`` trains the teams that a task declares (``Task.generators``), makes its pool and refuses one whose splits share
a component (the leak check), trains each arm with each seed, tests it, and writes the tables. Finished runs are kept
and interrupted ones are resumed, so the same command continues. ``--scale 0.3`` shortens the training of teams, the
runs of arms (unless ``--steps`` states their length) and tests. The tables then go to the results unless ``--tables``
names another folder.

The subgoal prior of OMG is a VAE of states that the training teams visited while they were trained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import omarl
from keywords import keywords
from omarl import evaluation, pooling
from omarl.configuration.request import from_keywords
from omarl.utils.checkpoints import reason_of
from omarl.utils.metrics import Logger
from omg_tasks import DISJOINT, MATURE, REPRODUCTION, RETEST, SEEDS, TESTED, Task, Team, words_of
from study_arms import ARMS, arms_of
from study_results import gather, read_times
from study_tables import hours, tables
from study_times import seconds_per_step

TASKS = DISJOINT | REPRODUCTION
POLICY_GRADIENT = ("ippo", "mappo")  # the algorithms of teams that have a critic
# of the VAE that becomes the subgoal prior: the sizes that OMG's configurations have
PRIOR = {"learner": "omg_vae_learner", "vae_latent_dim": 16, "vae_linear_path": False, "vae_keep_states": 20_000}
BASES = {"iql": "q_learner", "ippo": "ppo_learner"}  # learners of the algorithms that may train the prior
LEAST = {"episodes": 30, "steps": 2_000}  # of a scaled test and of a scaled run


class Scale(NamedTuple):
    """The share of the usual lengths."""

    share: float

    def steps(self, usual: int) -> int:
        """The length of a run."""
        return usual if self.share == 1.0 else max(round(usual * self.share), LEAST["steps"])

    def episodes(self, usual: int) -> int:
        """The number of test episodes."""
        return usual if self.share == 1.0 else max(round(usual * self.share), LEAST["episodes"])


class Study(NamedTuple):
    """What the command line asks for."""

    results: Path
    scale: Scale
    steps: int  # of each arm's runs, whatever the scale; 0: the task's, scaled

    def length(self, task: Task) -> int:
        """Steps of an arm's run."""
        return self.steps or self.scale.steps(task.steps)

    def team(self, task: Task, team: Team) -> Path:
        """The folder of a team's run. Tasks with the same environment share teams."""
        words = hashlib.sha256(" ".join([*task.words, *task.team_words]).encode()).hexdigest()[:8]
        return self.results / "teams" / f"{task.env_config}_{words}" / str(self.scale.steps(MATURE)) / team.name

    def pool(self, name: str, on_test: bool = False) -> Path:
        """The folder of a task's pool, or of the one whose training opponents are the test opponents."""
        return self.results / "pools" / f"{name}_{self.scale.steps(MATURE)}{'_on_test' * on_test}"

    def times(self, name: str) -> Path:
        """The file with the times of a task's arms."""
        return self.results / "times" / f"{name}.json"

    def run(self, name: str, arm: str, seed: int) -> Path:
        """The folder of an arm's run."""
        return self.results / "runs" / name / str(self.length(TASKS[name])) / arm.replace(" ", ",") / str(seed)


def trained(place: Path, config: str, env: str, **keys: Any) -> bool:
    """Makes the run in ``place``, or resumes it; False if it was finished before."""
    if (place / "done").is_file():
        return False
    try:
        omarl.resume(place)
    except omarl.ConfigError:  # it does not exist, or has no checkpoint
        shutil.rmtree(place, ignore_errors=True)
        omarl.train(config, env, path=place, use_tensorboard=False, **keys)
    (place / "done").touch()
    return True


def train_team(study: Study, name: str, team: Team) -> str:
    """Trains a team with all of its members learning."""
    task, place = TASKS[name], study.team(TASKS[name], team)
    steps = study.scale.steps(MATURE)
    words = [word for word in task.team_words if "critic" not in word or team.algorithm in POLICY_GRADIENT]
    keys: dict[str, Any] = keywords([*task.words, *words])
    keys |= {"t_max": steps, "save_model_interval": max(steps // 2, 1), "test_interval": 0, "seed": team.seed,
             "common_reward": task.env_config == "foraging" and task.mode == "optimistic"}  # fmt: skip
    if team in prior_teams(task):
        keys |= {**PRIOR, "base_learner": BASES[team.algorithm]}
    made = trained(place, team.algorithm, task.env_config, **keys)
    return f"{place}: {'done' if made else 'exists'}"


def prior_teams(task: Task) -> list[Team]:
    """The teams on whose states the subgoal prior is trained: none of validation or tests, and of a known learner."""
    return [team for team in task.generators if team.split in ("train", "prior") and team.algorithm in BASES]


def make_pool(study: Study, name: str, on_test: bool = False) -> str:
    """Makes a task's pool, or checks the one that exists: the splits must share no component.

    The pool of arms that are trained against the test opponents has no others.
    """
    task, out = TASKS[name], study.pool(name, on_test)
    keys: dict[str, Any] = keywords(task.words)
    runs = {split: [str(study.team(task, team)) for team in task.generators if team.split == split]
            for split in ("train", "validation", "test")}  # fmt: skip
    if out.is_dir():
        keys |= {"pool": out, "disjoint": True}
    elif on_test:
        keys |= {"scripts": task.test, "runs": runs["test"], "out": out}
    else:
        keys |= {**task.scripts, "runs": runs["train"], "validation_runs": runs["validation"],
                 "test_runs": runs["test"], "prior": [str(study.team(task, team)) for team in prior_teams(task)],
                 "prior_updates": study.scale.steps(5_000), "out": out, "disjoint": True}  # fmt: skip
    layers = from_keywords(keys, None, task.env_config, "pool", pooling.PoolConfig)
    return pooling.described(layers.values)


def keys_of(study: Study, name: str, arm: str, seed: int) -> dict[str, Any]:
    """The keys of an arm's run."""
    task = TASKS[name]
    steps = study.length(task)
    keys: dict[str, Any] = keywords(words_of(task, ARMS[arm]))
    keys |= {"pool": study.pool(name, ARMS[arm].on_test), "t_max": steps, "seed": seed, "label": arm,
             "test_interval": max(steps // 5, 1), "test_nepisode": study.scale.episodes(TESTED),
             "save_model_interval": max(steps // 2, 1),
             "split": "train" if ARMS[arm].on_test else "test"}  # fmt: skip
    if task.teams_from:
        keys["trained_opponents_from"] = round(task.teams_from * steps)
    if study.scale.share != 1.0:
        keys |= dict.fromkeys(("runner_log_interval", "learner_log_interval"), max(steps // 20, 1))
    return keys


def run_arm(study: Study, name: str, arm: str, seed: int) -> str:
    """Trains an arm with one seed and tests its last checkpoint with every held-out opponent."""
    place = study.run(name, arm, seed)
    made = trained(place, ARMS[arm].alg, TASKS[name].env_config, **keys_of(study, name, arm, seed))
    if not list(place.glob("checkpoints/*/evaluation.json")):
        asked = {"checkpoint_path": place, "test_nepisode": study.scale.episodes(RETEST),
                 "pool": study.pool(name), "split": "test"}  # fmt: skip
        evaluation.evaluate(from_keywords(asked, command="evaluate").values, Logger(logging.getLogger("study")))
    return f"{place}: {'done' if made else 'exists'}"


def time_arms(study: Study, name: str, arms: list[str], turns: int) -> str:
    """Times all arms of a task with all of its training opponents, and keeps the times for the tables."""
    env, known = TASKS[name].env_config, read_times(study.times(name))
    keys = {arm: (ARMS[arm].alg, env, keys_of(study, name, arm, 1) | {"trained_opponents_from": 0}) for arm in arms}
    found = known | seconds_per_step(keys, turns)
    study.times(name).parent.mkdir(parents=True, exist_ok=True)
    study.times(name).write_text(json.dumps(found), encoding="utf-8")
    lines = [f"{name} {arm}: {1e6 * found[arm]:.2f} us for each step" for arm in arms]
    return "\n".join(lines)


def begin() -> None:
    """Prepares a process."""
    omarl.keep_freed_memory()


def in_processes(jobs: int, function: Callable[..., str], tasks: Iterable[tuple[Any, ...]]) -> None:
    """Calls the function in processes of one thread each, a fresh one for every call, and prints what it returns."""
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer=begin, max_tasks_per_child=1) as workers:
        for future in [workers.submit(function, *each) for each in tasks]:
            print(future.result(), flush=True)


def planned(study: Study, args: argparse.Namespace) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The teams and the runs of arms, each as arguments of its function; the arms of a seed follow each other."""
    teams = {study.team(TASKS[name], team): (study, name, team) for name in args.tasks
             for team in TASKS[name].generators}  # fmt: skip
    runs = [(study, name, arm, seed) for name in args.tasks for seed in range(1, args.seeds + 1)
            for arm in arms_of(name, TASKS[name], args.arms)]  # fmt: skip
    return list(teams.values()), runs


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "plan", "time", "table"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, metavar="TASK", default=list(TASKS),
                        help=f"of {', '.join(TASKS)}; by default all")  # fmt: skip
    parser.add_argument("--arms", nargs="+", choices=ARMS, metavar="ARM",
                        help=f"by default the usual ones of each task; of {', '.join(ARMS)}")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=0, help="of each run of an arm; by default the task's, scaled")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual lengths, above 0 and at most 1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--turns", type=int, default=25, help="of time")
    parser.add_argument("--results", type=Path, required=True, help="folder of teams, pools and runs")
    parser.add_argument("--reference", choices=ARMS, metavar="ARM", default="",
                        help="the arm of the tables' differences; by default the base")  # fmt: skip
    parser.add_argument("--tables", type=Path, help="folder of the tables; by default benchmarks/omg/study")
    args = parser.parse_args()
    if not 0 < args.scale <= 1:
        parser.error(f"--scale: {args.scale} is not above 0 and at most 1")
    if args.seeds < 1 or args.jobs < 1 or args.steps < 0:
        parser.error("--seeds, --jobs: at least 1; --steps: at least 0")
    return args


def command(name: str, args: argparse.Namespace) -> str:
    """The command that makes a task's table."""
    words = [f"python benchmarks/study.py run --tasks {name}"]
    words += [f"--arms {' '.join(repr(arm) if ' ' in arm else arm for arm in args.arms)}"] if args.arms else []
    usual = {"seeds": SEEDS, "steps": 0, "scale": 1.0, "reference": ""}
    words += [f"--{key} {getattr(args, key)}" for key, value in usual.items() if getattr(args, key) != value]
    return " ".join([*words, "--results FOLDER"])


def main() -> None:
    """Runs the command line that the module describes."""
    args = parsed()
    study = Study(args.results.resolve(), Scale(args.scale), args.steps)
    teams, runs = planned(study, args)
    if args.what == "plan":
        labels = {study.team(TASKS[name], team): f"{TASKS[name].env_config} team {team.algorithm}"
                  for _, name, team in teams}  # fmt: skip
        print(hours(labels | {study.run(name, arm, seed): f"{name} {arm}" for _, name, arm, seed in runs}))
        return
    if args.what == "run":
        in_processes(args.jobs, train_team, teams)
        for name in args.tasks:
            print(make_pool(study, name))
            if any(ARMS[arm].on_test for arm in arms_of(name, TASKS[name], args.arms)):
                print(make_pool(study, name, on_test=True))
        in_processes(args.jobs, run_arm, runs)
    if args.what == "time":
        for name in args.tasks:
            print(time_arms(study, name, arms_of(name, TASKS[name], args.arms), args.turns))
    is_trial = args.scale < 1 or args.steps
    out = args.tables or (study.results / "tables" if is_trial else Path(__file__).parent / "omg" / "study")
    for name in args.tasks:
        folder = study.run(name, "any", 1).parents[1]
        made = study.scale.steps(MATURE), command(name, args)
        found = gather(out / f"{name}.csv", folder, study.pool(name), read_times(study.times(name)))
        print(tables(name, found, out, *made, args.reference))


if __name__ == "__main__":
    try:
        main()
    except omarl.OmarlError as error:
        raise SystemExit(f"error: {reason_of(error)}") from None
