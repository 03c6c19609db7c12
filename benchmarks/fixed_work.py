"""Times fixed pieces of work relative to a matrix product, to show when a change makes one of them slower.

    python benchmarks/fixed_work.py [--rounds 21] [--threads 1] [--only NAME]     # compares with the stored times
    python benchmarks/fixed_work.py --write                                       # stores them

The pieces are updates of learners on one batch, decisions and steps of copies. In each round, every piece and a
product of two 512 x 512 matrices run in turn, each several times; a piece's time is the lower quartile over rounds of
its time divided by the product's. The machine's speed and other work thus change it little: repeated measurements
differ by up to 4%, those of IPPO's update, whose arrays exceed the caches, by up to 15% (repeat it with ``--only``).
Prints a line for each piece and exits with 1 if one takes more than 1.1 times the stored time. The stored file,
``benchmarks/speed/fixed.json``, holds for the kind of processor that it names; on another one, write it from an
earlier commit first. Half a minute.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omarl.components.replay_buffer import ReplayBuffer
from omarl.configuration.request import from_keywords
from omarl.modules.compiled import threads_set
from omarl.run import Parts, opened
from omarl.utils.allocator import keep_freed_memory
from omarl.utils.metrics import Logger
from speed import machine

STORED = Path(__file__).parent / "speed" / "fixed.json"
SLOWER = 1.1
REPLAY = {"batch_size_run": 8, "batch_size": 32, "hidden_dim": 64, "test_nepisode": 8}
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "iql": ("iql", "simple_spread", REPLAY),
    "vdn": ("vdn", "simple_spread", REPLAY),
    "qmix": ("qmix", "simple_spread", REPLAY),
    "iql, 128 units": ("iql", "simple_spread", {**REPLAY, "hidden_dim": 128}),
    "omg_vae": ("omg_vae", "simple_tag", REPLAY),
    "ippo": ("ippo", "simple_spread", {"batch_size_run": 128}),
}
WITH_STEPS = ("iql", "omg_vae", "ippo")  # the others decide and step as iql does


def pieces(parts: Parts) -> Iterator[tuple[str, Callable[[], object]]]:
    """A run's update on one batch, the decision of all copies, and their step."""
    runner: Any = parts.runner
    batch = runner.run()
    if not getattr(parts.learner, "on_policy", False):
        limit, sizes = parts.info.episode_limit, parts.config
        buffer = ReplayBuffer(parts.scheme, parts.groups, sizes.batch_size, limit, np.random.default_rng(0), "cpu")
        while buffer.n_episodes < sizes.batch_size:
            buffer.insert(batch)
            batch = runner.run()
        batch = buffer.sample(sizes.batch_size)
    yield "update", lambda: parts.learner.train(batch, 0, 0)
    yield "decision", lambda: runner.mac.act(runner.observation, runner.last_actions, runner.carry, 0, False)
    actions = np.zeros((parts.env.n_envs, parts.info.n_agents), np.int64)
    yield "step", lambda: parts.env.step(actions)


@contextmanager
def work() -> Iterator[dict[str, Callable[[], object]]]:
    """All pieces by name."""
    quiet = Logger(logging.getLogger("fixed_work"))
    with ExitStack() as stack:
        found: dict[str, Callable[[], object]] = {}
        for name, (config, env, keys) in RUNS.items():
            layers = from_keywords({"seed": 1, "use_tensorboard": False, "save_model": False, **keys}, config, env)
            for piece, call in pieces(stack.enter_context(opened(layers.values, quiet))):
                if piece == "update" or name in WITH_STEPS:
                    found[f"{name}: {piece}"] = call
        yield found


def seconds(call: Callable[[], object], times: int) -> float:
    """Mean over ``times`` calls."""
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times


def measured(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Each piece's time in units of the product's."""
    a, b, out = torch.randn(512, 512), torch.randn(512, 512), torch.empty(512, 512)
    times: dict[str, int] = {}
    for name, call in calls.items():
        call()
        times[name] = max(5, min(200, round(0.02 / seconds(call, 3))))
    ratios: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            product = seconds(lambda: torch.mm(a, b, out=out), 4)
            ratios[name].append(seconds(call, times[name]) / product)
    return {name: float(np.quantile(values, 0.25)) for name, values in ratios.items()}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="pieces whose name contains this")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    keep_freed_memory()
    with work() as calls:
        torch.set_num_threads(args.threads)
        with threads_set(args.threads):
            now = measured({name: call for name, call in calls.items() if args.only in name}, args.rounds)
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {"times": {}}
    slower = False
    for name, value in now.items():
        before = stored["times"].get(name)
        ratio = value / before if before else float("nan")
        slower |= ratio > SLOWER
        print(f"{name:26s} {value:8.3f} products" + (f"   {ratio:5.2f} of the stored time" if before else ""))
    if args.write:
        STORED.write_text(
            json.dumps({"machine": machine(), "times": stored["times"] | now}, indent=1) + "\n", encoding="utf-8"
        )
        return 0
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
