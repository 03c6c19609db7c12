"""Time and memory of training by the number of agents, copies, steps of an episode and features of the state.

    python benchmarks/scaling.py [--only ALGORITHM ...] [--repeats 3]

Each size is a process of its own, which trains in ``scaling_env.py`` with one thread. All but one number are those of
``USUAL``. A cycle collects one episode of each copy (IPPO: 25 steps) and makes one update on as many. The exponent is
that of a power law through the three largest sizes: 1 is linear. Writes ``benchmarks/speed/scaling.md``. About ten
minutes.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
ALGORITHMS = ["qmix", "omg_vae", "ippo"]
USUAL = {"agents": 4, "copies": 32, "steps": 25, "features": 64}
SIZES = {
    "agents": [2, 4, 8, 16, 32, 64],
    "copies": [8, 32, 128, 512, 2048, 8192],
    "steps": [25, 100, 400, 1000],
    "features": [16, 64, 256, 1024, 4096],
}
FITTED = 3  # sizes, the largest ones, through which the exponent is fitted


class Cost(NamedTuple):
    """Seconds of a cycle, and mebibytes."""

    collect: float
    update: float
    memory: float  # at most, beyond that after the imports


def peak() -> int:
    """The most kibibytes that this process has had in memory. ``getrusage`` would count its parent's at the fork."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def measure(algorithm: str, size: dict[str, int], repeats: int) -> Cost:
    """One size, in this process."""
    import omarl.training_loop  # noqa: F401  # all that a training imports
    import torch
    from omarl.components.replay_buffer import ReplayBuffer
    from omarl.configuration.request import from_keywords
    from omarl.run import Parts, opened
    from omarl.utils.allocator import keep_freed_memory
    from omarl.utils.metrics import Logger

    torch.set_num_threads(1)
    keep_freed_memory()
    before = peak()
    copies = size["copies"]
    keys: dict[str, Any] = {
        "env_args": {"key": "scaling_env:ScalingEnv", **{k: size[k] for k in ("agents", "steps", "features")}},
        "batch_size_run": copies, "env_workers": 0, "compiled_threads": 1, "seed": 1,
        "use_tensorboard": False, "save_model": False,
    }  # fmt: skip
    if algorithm != "ippo":
        keys |= {"batch_size": copies, "buffer_size": copies, "test_nepisode": 1, "t_max": 10_000_000}
    values = from_keywords(keys, algorithm, None).values

    def cycle(parts: Parts) -> tuple[float, float]:
        begun = time.perf_counter()
        runner: Any = parts.runner
        batch = runner.run()
        if not getattr(parts.learner, "on_policy", False):
            buffer = ReplayBuffer(
                parts.scheme, parts.groups, copies, parts.info.episode_limit, np.random.default_rng(0), "cpu"
            )
            buffer.insert(batch)
            batch = buffer.sample(copies)
        collected = time.perf_counter()
        parts.learner.train(batch, 0, 0)
        return collected - begun, time.perf_counter() - collected

    with opened(values, Logger(logging.getLogger("scaling"))) as parts:
        cycle(parts)
        times = [cycle(parts) for _ in range(repeats)]
    collect, update = (statistics.median(column) for column in zip(*times, strict=True))
    return Cost(collect, update, (peak() - before) / 1024)


def in_process(algorithm: str, size: dict[str, int], repeats: int) -> Cost | str:
    """The same in a new process; the last line of its output if it failed."""
    words = [sys.executable, __file__, "--measure", algorithm, json.dumps(size), "--repeats", str(repeats)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{HERE}"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        return next(iter(reversed(done.stderr.strip().splitlines())), f"exit status {done.returncode}")
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def exponent(sizes: list[int], values: list[float]) -> float:
    """The slope of the logarithms of the last values."""
    x, y = np.log(sizes[-FITTED:]), np.log(np.maximum(values[-FITTED:], 1e-9))
    return float(np.polyfit(x, y, 1)[0])


def rows_of(algorithm: str, axis: str, repeats: int) -> list[list[str]]:
    """The table's rows for one algorithm and axis; the last one has the exponents."""
    rows, sizes, found = [], [], []
    for value in SIZES[axis]:
        cost = in_process(algorithm, USUAL | {axis: value}, repeats)
        if isinstance(cost, str):
            rows.append([algorithm, axis, f"{value:,}", cost, "", ""])
            break
        sizes.append(value)
        found.append(cost)
        rows.append([algorithm, axis, f"{value:,}", f"{1e3 * cost.collect:.1f}", f"{1e3 * cost.update:.1f}",
                     f"{cost.memory:.0f}"])  # fmt: skip
        print(*rows[-1], flush=True)
    powers = [f"**{exponent(sizes, [cost[i] for cost in found]):.2f}**" for i in range(len(Cost._fields))]
    return [*rows, [algorithm, axis, "**exponent**", *powers]]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure[0], json.loads(args.measure[1]), args.repeats)))
        return
    from speed import machine, table

    rows = [row for name in args.only for axis in SIZES for row in rows_of(name, axis, args.repeats)]
    usual = ", ".join(f"{value} {name}" for name, value in USUAL.items())
    lines = [
        "# Scaling", "",
        f"Milliseconds of a cycle and mebibytes beyond the imports, on one thread; otherwise {usual}. A cycle is an "
        "episode of each copy (IPPO: 25 steps) and an update on them. The environment is a Python one, whose copies "
        "run one after the other. Exponents are fitted to the three largest sizes.", "",
        *table(["algorithm", "size", "", "collection, ms", "update, ms", "memory, MiB"], rows), "",
        f"{machine()}; median of {args.repeats}; `python benchmarks/scaling.py`.", "",
    ]  # fmt: skip
    (HERE / "speed" / "scaling.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
