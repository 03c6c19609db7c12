"""What an opponent model costs: time of acting and of training with each one, relative to its recurrent base.

    python benchmarks/model_cost.py --pool FOLDER      # of an environment whose config is --env, with a subgoal prior

All learners take turns, so that other load on the machine affects all alike. Writes ``benchmarks/omg/cost.md``.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from omarl import run
from omarl.configuration.request import from_keywords
from omarl.opponents.pool import read_pool
from omarl.utils.metrics import Logger

HERE = Path(__file__).parent
BASE = "ppo_history"
MODELS = ("naive_om", "liam", "plastic", "meliba", "omg_ppo", "omg_paper_ppo", "place_prediction",
          "object_prediction")  # fmt: skip
BLOCK = 25  # consecutive decisions or steps of one learner
COLUMNS = ("one decision", "one step with environment and opponents", "one iteration of training")


def built(algorithm: str, pool: str, env: str) -> run.Parts:
    """The objects of a run, as its command makes them."""
    keys = {"pool": pool, "env_args": read_pool(pool).env_args, "seed": 1}
    return run.build(from_keywords(keys, algorithm, env).values, Logger(logging.getLogger("model_cost")))


def seconds(call: Callable[[], object], times: int) -> float:
    """Seconds of one call, the mean of several."""
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times


def measured(made: run.Parts) -> Iterator[float]:
    """Seconds of each of ``COLUMNS``."""
    runner, learner = made.runner, made.learner
    seen = runner.begin()
    yield seconds(lambda: runner.mac.act(seen, runner.last_actions, runner.carry, 0, False), BLOCK)
    yield seconds(runner.step, BLOCK)
    runner.begin()
    yield seconds(lambda: learner.train(runner.run(), runner.t_env, 0), 1)


def page(found: dict[str, list[list[float]]], command: str, repeats: int) -> str:
    """The table of the times that ``measured`` found in each turn; ``command`` makes it."""
    turns = f"{repeats} turns of all learners on one thread, of which medians are shown"
    heads = " | ".join(f"{name}, ms | ratio" for name in COLUMNS)
    lines = ["# What an opponent model costs", "",
             f"{turns}, and the ratio to `{BASE}`. An iteration is a rollout of all copies and what is learned from "
             f"it. `{command}`.", "",
             f"| | {heads} |", "| --- |" + " --- |" * 2 * len(COLUMNS)]  # fmt: skip
    for name, times in found.items():
        cells = []
        for mine, base in zip(zip(*times, strict=True), zip(*found[BASE], strict=True), strict=True):
            ratio = statistics.median(a / b for a, b in zip(mine, base, strict=True))
            cells += [f"{1e3 * statistics.median(mine):.3g}", f"{ratio:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--env", default="foraging", help="name of the environment's configuration")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, metavar="MODEL")
    parser.add_argument("--repeats", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = {name: built(name, args.pool, args.env) for name in (BASE, *args.models)}
    for made in parts.values():  # compiles, and fills memories
        list(measured(made))
    found: dict[str, list[list[float]]] = {name: [] for name in parts}
    for _ in range(args.repeats):
        for name, made in parts.items():
            found[name].append(list(measured(made)))
    command = f"python benchmarks/model_cost.py --pool FOLDER --env {args.env} --models {' '.join(args.models)}"
    text = page(found, command, args.repeats)
    print(text)
    (HERE / "omg" / "cost.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
