"""Compares learning curves with EPyMARL's: the same tasks, steps, networks, batches and updates in both frameworks.

    python benchmarks/learning_curves.py ours   [--tasks ...] [--algs ...] [--seeds 5] --results FOLDER
    python benchmarks/learning_curves.py theirs --epymarl CHECKOUT [...]               --results FOLDER
    python benchmarks/learning_curves.py table                                         --results FOLDER

Existing runs in the folder are not repeated; ``--jobs`` runs are made at once. ``table`` draws each task with
``python main.py compare`` and writes ``benchmarks/learning/<task>.{md,png}``.

Equal in both frameworks: steps, copies, steps for each update, batch (episodes), network, a constant learning rate,
discount, epsilon, soft target, one common standardised reward, test episodes. Everything else is each framework's
own, for example EPyMARL's 5-step returns in MAPPO, terminations at the time limit, and initial weights.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import omarl
from speed import ROOT, epymarl_copy

HERE = Path(__file__).parent
ALGS = ("iql", "vdn", "qmix", "mappo")
# EPyMARL's wrapper loses the last reward of a PettingZoo episode. So its environments here last one step longer than
# its limit, and no reward is lost.
THEIR_TASKS = """
for _name, _lib, _env in (("spread", "mpe2", "simple_spread_v3"), ("tag", "benchmarks", "tag_with_prey")):
    gym.register(_name, entry_point="envs.pz_wrapper:PettingZooWrapper",
                 kwargs={"lib_name": _lib, "env_name": _env, "max_cycles": 26})
"""


class Task(NamedTuple):
    """One environment, in the settings of both frameworks."""

    ours: tuple[str, ...]
    theirs: str
    limit: int
    steps: int
    gamma: float
    recurrent: bool
    copies: int = 4  # of Q-learners, which make one update for one episode of each copy
    tau: float = 0.01  # of their target networks
    evaluation_epsilon: float = 0.0


TASKS = {
    "simple_spread": Task(("env_args.key=mpe2.simple_spread_v3",), "spread", 25, 60_000, 0.9, True),
    "simple_tag": Task(
        ("env_args.key=benchmarks.tag_with_prey", "env_args.episode_limit=25"), "tag", 25, 80_000, 0.9, True,
        copies=2, tau=0.05),
    "foraging": Task(
        ("env=gymnasium", "env_args.key=lbforaging:Foraging-8x8-2p-3f-v3"),
        "lbforaging:Foraging-8x8-2p-3f-v3", 50, 60_000, 0.95, False, copies=2, tau=0.05, evaluation_epsilon=0.05),
    "foraging_coop": Task(
        ("env=gymnasium", "env_args.key=lbforaging:Foraging-5x5-2p-2f-coop-v3"),
        "lbforaging:Foraging-5x5-2p-2f-coop-v3", 50, 60_000, 0.99, False, copies=2, tau=0.05,
        evaluation_epsilon=0.05),
}  # fmt: skip


def shared_words(task: Task, alg: str) -> list[str]:
    """The settings that both frameworks share."""
    words = [f"t_max={task.steps}", f"test_interval={task.steps // 10}", "test_nepisode=32", "common_reward=True",
             f"gamma={task.gamma}", "lr=0.001", "hidden_dim=64", "use_cuda=False", "obs_last_action=False",
             "log_interval=10000", "runner_log_interval=2000", "learner_log_interval=2000"]  # fmt: skip
    if alg == "mappo":  # both test sampled actions: with the most probable ones, early policies run in circles
        return [*words, "use_rnn=False", "batch_size_run=10", "epochs=4", "entropy_coef=0.01", "test_greedy=False"]
    return [*words, f"use_rnn={task.recurrent}", f"batch_size_run={task.copies}", "batch_size=32", "buffer_size=5000",
            "double_q=True", f"target_update_interval_or_tau={task.tau}", "epsilon_start=1.0", "epsilon_finish=0.05",
            "epsilon_anneal_time=30000", f"evaluation_epsilon={task.evaluation_epsilon}"]  # fmt: skip


def our_command(task: Task, alg: str, seed: int, results: Path) -> list[str]:
    """omarl's command, run in the repository's root."""
    own = [f"rollout_steps={task.limit}", "minibatches=1"]
    if alg == "mappo":
        own.append("lr_anneal=False")
    else:
        own = [f"env_steps_per_update={task.copies * task.limit}", "duelling=False", "standardise_rewards=True",
               "centre_rewards=True"]  # fmt: skip
    return [sys.executable, "main.py", f"--config={alg}", "with", *shared_words(task, alg), *own, *task.ours,
            f"seed={seed}", "save_model=False", "use_tensorboard=False", f"local_results_path={results}"]  # fmt: skip


def their_command(task: Task, alg: str, seed: int) -> list[str]:
    """EPyMARL's command, run in a copy of its repository."""
    own = ["batch_size=10", "buffer_size=10"] if alg == "mappo" else []
    return [sys.executable, "src/main.py", f"--config={alg}", "--env-config=gymma", "with",
            *shared_words(task, alg), *own, "runner=parallel", f"env_args.key={task.theirs}",
            f"env_args.time_limit={task.limit}", f"seed={seed}"]  # fmt: skip


def run(side: str, name: str, alg: str, seed: int, results: Path, checkout: Path | None) -> str:
    """Makes one run unless its folder exists. A failed run leaves its output and no folder."""
    place = results / side / name / alg / str(seed)
    if place.is_dir():
        return f"{place}: exists"
    partial = place.with_name(f"{seed}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command, cwd = our_command(TASKS[name], alg, seed, partial), ROOT
    if side == "theirs":
        assert checkout is not None
        cwd = epymarl_copy(checkout, partial)
        with (cwd / "src/envs/pz_wrapper.py").open("a", encoding="utf-8") as wrapper:
            wrapper.write(THEIR_TASKS)
        command = their_command(TASKS[name], alg, seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        (partial / "output.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
        return f"{partial}: failed, see output.txt"
    if side == "theirs":
        shutil.move(cwd / "results/sacred", partial / "sacred")
        shutil.rmtree(cwd)
    partial.rename(place)
    return f"{place}: done"


def table(name: str, results: Path) -> None:
    """Writes the table of one task for both frameworks, and the picture of ``compare``."""
    out, task = HERE / "learning", TASKS[name]
    out.mkdir(exist_ok=True)
    there = results / f"comparison_{name}"
    runs = [results / side / name for side in ("ours", "theirs")]
    omarl.compare(runs, by=["runner"], metric="test_return_mean", out=there)
    with (there / "comparison.csv").open(encoding="utf-8") as file:
        rows = {
            (row["algorithm"].endswith("runner=parallel"), row["algorithm"].split()[0]): row
            for row in csv.DictReader(file)
        }
    lines = [f"# {name}: learning compared with EPyMARL", "",
             f"Test return (32 episodes, summed over agents) of runs of {task.steps:,} steps: at the end (the last "
             "tenth) and averaged over the run. Interquartile means over seeds with 95% bootstrap intervals. The "
             "last column compares the intervals, at the end and averaged over the run: *above* and *below* do not "
             "overlap, *level* do. In the picture, EPyMARL's runs are labelled `runner=parallel`.", "",
             "| | seeds | omarl, end | EPyMARL, end | omarl, run | EPyMARL, run | omarl is |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for alg in ALGS:
        ours, theirs = rows[False, alg], rows[True, alg]
        cells = [_interval(row, what) for what in ("final", "curve") for row in (ours, theirs)]
        verdicts = " and ".join(_verdict(ours, theirs, what) for what in ("final", "curve"))
        lines.append(f"| {alg} | {ours['seeds']}, {theirs['seeds']} | {' | '.join(cells)} | {verdicts} |")
    commands = {side: " ".join(make(task, "iql", 1)) for side, make in (("omarl", _ours), ("EPyMARL", _theirs))}
    lines += ["", *(f"Example of a command, {side}: `{words}`\n" for side, words in commands.items())]
    (out / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    shutil.copy(there / "comparison.png", out / f"{name}.png")


def _ours(task: Task, alg: str, seed: int) -> list[str]:
    return ["python", *our_command(task, alg, seed, Path("results"))[1:]]


def _theirs(task: Task, alg: str, seed: int) -> list[str]:
    return ["python", *their_command(task, alg, seed)[1:]]


def _interval(row: dict[str, str], what: str) -> str:
    return f"{float(row[what]):.4g} [{float(row[what + '_low']):.4g}, {float(row[what + '_high']):.4g}]"


def _verdict(ours: dict[str, str], theirs: dict[str, str], what: str) -> str:
    if float(ours[what + "_low"]) > float(theirs[what + "_high"]):
        return "above"
    return "below" if float(ours[what + "_high"]) < float(theirs[what + "_low"]) else "level"


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ours", "theirs", "table"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--algs", nargs="+", choices=ALGS, default=list(ALGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--epymarl", type=Path)
    args = parser.parse_args()
    if args.what == "theirs" and args.epymarl is None:
        parser.error("--epymarl: give the folder of an EPyMARL checkout")
    results = args.results.resolve()
    if args.what == "table":
        for name in args.tasks:
            table(name, results)
        return
    wanted = [(n, a, s) for n in args.tasks for s in range(1, args.seeds + 1) for a in args.algs]
    with ThreadPoolExecutor(args.jobs) as pool:
        for line in pool.map(lambda one: run(args.what, one[0], one[1], one[2], results, args.epymarl), wanted):
            print(line, flush=True)


if __name__ == "__main__":
    main()
