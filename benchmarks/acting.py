"""Time that an opponent model adds to acting: one decision for 128 copies by each learner, measured in turn.

    python benchmarks/acting.py --pool FOLDER      # a pool of a foraging environment, with a subgoal prior

Writes ``benchmarks/omg/acting.md``.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from pathlib import Path

import torch
from omarl import run
from omarl.configuration.request import from_keywords
from omarl.opponents.pool import read_pool
from omarl.utils.metrics import Logger

HERE = Path(__file__).parent
BLOCK = 25  # consecutive decisions of one learner: few, so that other load on the machine affects all alike
ARMS = ("ppo_history", "omg_ppo", "place_prediction", "object_prediction", "liam", "naive_om")


def actor(algorithm: str, pool: str) -> run.Parts:
    """The objects of a run, as its command makes them."""
    said = read_pool(pool)
    keys = {"pool": pool, "env_args": said.env_args, "seed": 1}
    return run.build(from_keywords(keys, algorithm, "foraging").values, Logger(logging.getLogger("acting")))


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--repeats", type=int, default=150)
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = {name: actor(name, args.pool) for name in ARMS}
    acts: dict[str, list[float]] = {name: [] for name in ARMS}
    steps: dict[str, list[float]] = {name: [] for name in ARMS}
    for _ in range(args.repeats):
        for name, made in parts.items():
            runner = made.runner
            seen = runner.begin()
            begun = time.perf_counter()
            for _ in range(BLOCK):
                runner.mac.act(seen, runner.last_actions, runner.carry, 0, False)
            acts[name].append((time.perf_counter() - begun) / BLOCK)
            begun = time.perf_counter()
            for _ in range(BLOCK):
                runner.step()
            steps[name].append((time.perf_counter() - begun) / BLOCK)
    lines = ["# Time of acting with an opponent model", "", "Milliseconds for 128 copies on one thread: medians of "
             f"{args.repeats} blocks of {BLOCK}, all learners in turn, and the ratio to `ppo_history`. "
             "`python benchmarks/acting.py --pool FOLDER`.", "",
             "| | one decision | ratio | one step with environment and opponents | ratio |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for name in ARMS:
        cells = []
        for found in (acts, steps):
            ratios = [mine / base for mine, base in zip(found[name], found[ARMS[0]], strict=True)]
            cells += [f"{1e3 * statistics.median(found[name]):.2f}", f"{statistics.median(ratios):.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    text = "\n".join([*lines, ""])
    print(text)
    (HERE / "omg").mkdir(exist_ok=True)
    (HERE / "omg" / "acting.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
