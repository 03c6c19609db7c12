"""Measures speed: environments, training compared with EPyMARL, time to a trained team, the cost of the VAE.

    python benchmarks/speed.py [raw] [spread] [return] [ppo] [vae] [jaxmarl] [--repeats 5] [--epymarl CHECKOUT]
                               [--jaxmarl CHECKOUT --python PYTHON]

Compared programs run in turn, repeatedly, on the same cores; tables give medians, ratios and their ranges. Writes
``benchmarks/speed/<part>.md`` for the given parts (all by default). EPyMARL is not part of this repository:
``--epymarl`` takes a checkout (github.com/uoe-agents/epymarl, tested at cbc38c0), whose packages must be installed.
The script runs a copy of it, changed to work with the current PettingZoo. The part ``jaxmarl`` needs a checkout and
an interpreter, see ``speed_jaxmarl.py``; without them it is left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.envs.make import make_vec_env
from omarl.utils.allocator import keep_freed_memory

HERE = Path(__file__).parent
ROOT = HERE.parent
PARTS = ["raw", "spread", "return", "ppo", "vae", "jaxmarl"]
FORAGING = ("gymnasium", "lbforaging:Foraging-8x8-2p-3f-v3")
WORKED = 32  # copies for worker processes: with fewer, messages take longer than the steps
TAG, SPREAD = ("pettingzoo", "mpe2.simple_tag_v3"), ("pettingzoo", "mpe2.simple_spread_v3")


def machine() -> str:
    """The machine and the package versions of the measurements."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba", "mpe2", "lbforaging"))
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}, {packages}"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table, as lines."""
    return ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]


def spread_of(values: list[float], digits: int = 0) -> str:
    """Median and range, as text."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def raw_rate(env: tuple[str, str], backend: str, n_envs: int, workers: int = 0, seconds: float = 1.0) -> float:
    """Joint steps per second of random play, including observations and masks."""
    with closing(make_vec_env(env[0], {"key": env[1], "backend": backend}, n_envs, workers, 1)) as copies:
        rng = np.random.default_rng(0)
        shape = (n_envs, copies.info.n_agents)
        actions = [rng.integers(0, np.array(copies.info.action_sizes), shape) for _ in range(64)]
        copies.reset()
        copies.step(actions[0])
        steps, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            for joint in actions:
                copies.step(joint)
            steps += len(actions) * n_envs
        return steps / (time.perf_counter() - begun)


def raw(repeats: int) -> list[str]:
    """The page on environments without training."""
    rows = []
    for env in (FORAGING, TAG, SPREAD):
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(repeats):
            for kind in (("batched", 1024), ("batched", 8), ("pettingzoo", 8)):
                rates.setdefault(kind, []).append(raw_rate(env, *kind))
        ratio = statistics.median(rates["batched", 1024]) / statistics.median(rates["pettingzoo", 8])
        rows.append([env[1], *(spread_of(values) for values in rates.values()), f"{ratio:,.0f}"])
    header = ["environment", "array version, 1,024 copies", "array version, 8 copies", "original package, 8 copies",
              "ratio"]  # fmt: skip
    note = "Joint steps per second in one process with random actions, including observations, states and masks."
    others = ["## Environments without an array version", "", f"Joint steps per second of {WORKED} copies in one "
              "process; in two worker processes (`env_workers=2`), which wait for each other at every step; and in "
              "two independent processes with half of the copies each, which is the most that the two cores can give "
              "at that moment.", ""]  # fmt: skip
    return ["# Speed of environments", "", note, "", *table(header, rows), "", *others, *by_workers(repeats)]


def by_workers(repeats: int) -> list[str]:
    """The table of environments without an array version, in one and in two processes."""
    rows = []
    for key in ("mpe2.simple_speaker_listener_v4", "sisl/pursuit-v5", "butterfly/knights_archers_zombies-v11"):
        found = []
        for _ in range(repeats):
            one = raw_rate(("pettingzoo", key), "pettingzoo", WORKED, 0, 2.0)
            found.append((one, raw_rate(("pettingzoo", key), "pettingzoo", WORKED, 2, 2.0), apart(key)))
        ones, twos, aparts = (list(values) for values in zip(*found, strict=True))
        ratios, ceilings = [two / one for one, two, _ in found], [both / one for one, _, both in found]
        rows.append([key, *map(spread_of, (ones, twos, aparts)), spread_of(ratios, 2), spread_of(ceilings, 2)])
    header = ["environment", "one process", "two workers", "two independent", "workers / one", "independent / one"]
    return table(header, rows)


def apart(key: str) -> float:
    """Joint steps per second of two independent processes together, which start at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(2), context.Queue()
    both = [context.Process(target=_alone, args=(key, barrier, rates)) for _ in range(2)]
    for process in both:
        process.start()
    total = sum(rates.get() for _ in both)
    for process in both:
        process.join()
    return total


def _alone(key: str, barrier: Any, rates: Any) -> None:
    barrier.wait()
    rates.put(raw_rate(("pettingzoo", key), "pettingzoo", WORKED // 2, 0, 2.0))


def our_rate(words: list[str], from_step: int = 5000) -> float:
    """Steps per second of a run of ``main.py``, from step ``from_step`` to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "main.py", *words, f"local_results_path={folder}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        (metrics,) = Path(folder).glob("sacred/*/*/*/metrics.jsonl")
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    points = [(line["t_env"], line["wall_s"]) for line in lines if line["t_env"] >= from_step]
    return (points[-1][0] - points[0][0]) / (points[-1][1] - points[0][1])


def epymarl_copy(checkout: Path, folder: Path) -> Path:
    """A copy of EPyMARL that works without smaclite and with MPE in the package mpe2."""
    copy = folder / "epymarl"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git", "results"))
    init, wrapper = copy / "src/envs/__init__.py", copy / "src/envs/pz_wrapper.py"
    text = init.read_text()
    init.write_text(text.replace("from .smaclite_wrapper import SMACliteWrapper", "SMACliteWrapper = None"))
    text = wrapper.read_text().replace('f"pettingzoo.{lib_name}.{env_name}"', 'f"{lib_name}.{env_name}"')
    text = text.replace("import pettingzoo\n", "import mpe2\n").replace("pettingzoo.__path__", "mpe2.__path__")
    wrapper.write_text(text)
    return copy


def epymarl_rate(copy: Path, words: list[str], from_step: int = 5000) -> float:
    """EPyMARL's steps per second, from the times at which its console prints the step."""
    command = [sys.executable, "-u", "src/main.py", *words]
    process = subprocess.Popen(command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    points: list[tuple[float, float]] = []
    tail: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        tail = [*tail[-20:], line]
        found = re.search(r"t_env:\s+(\d+)", line)
        if found and int(found[1]) >= from_step:
            points.append((int(found[1]), time.perf_counter()))
    if process.wait() or len(points) < 2:
        raise SystemExit("EPyMARL failed:\n" + "".join(tail))
    return (points[-1][0] - points[0][0]) / (points[-1][1] - points[0][1])


def spread(repeats: int, checkout: Path | None) -> list[str]:
    """The page on IQL with a GRU of 64 on simple_spread: 8 copies, one update on 32 episodes for each 200 steps."""
    ours = ["--config=iql", "--env-config=simple_spread", "with", "t_max=60000", "batch_size_run=8", "hidden_dim=64",
            "env_steps_per_update=200", "test_interval=0", "save_model=False", "use_tensorboard=False",
            "torch_threads=2", "learner_log_interval=10000", "runner_log_interval=10000", "seed=1"]  # fmt: skip
    theirs = ["--config=iql", "--env-config=gymma", "with", "env_args.time_limit=25",
              "env_args.key=pz-mpe2-simple-spread-v3", "t_max=25000", "runner=parallel", "batch_size_run=8",
              "hidden_dim=64", "use_cuda=False", "test_interval=1000000", "test_nepisode=8", "log_interval=5000",
              "common_reward=False"]  # fmt: skip
    package = [*ours, "env_args.backend=pettingzoo", "t_max=30000"]
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], float]] = {
            "omarl": lambda: our_rate(ours),
            "omarl, mpe2's environment": lambda: our_rate(package),
        }
        if checkout is not None:
            copy = epymarl_copy(checkout, Path(folder))
            runs["EPyMARL"] = lambda: epymarl_rate(copy, theirs)
        for _ in range(repeats):
            for name, run in runs.items():
                rates.setdefault(name, []).append(run())
                print(name, f"{rates[name][-1]:,.0f} steps/s", flush=True)
    against = rates.get("EPyMARL")
    rows = []
    for name, values in rates.items():
        pairs = [ours / theirs for ours, theirs in zip(values, against, strict=True)] if against else []
        rows.append([name, spread_of(values), spread_of(pairs, 1) if pairs else ""])
    note = (
        "simple_spread with IQL, a GRU of 64, 8 copies, and one update on 32 episodes for each 200 environment "
        "steps. Environment steps per second from step 5,000 to the end; medians and ranges of runs in turn. Both "
        "frameworks use both cores and log equally often."
    )
    commands = [f"`python main.py {' '.join(ours)}`", "", f"`python src/main.py {' '.join(theirs)}` in EPyMARL"]
    lines = table(["", "steps/s", "ratio to EPyMARL"], rows)
    return ["# Training speed compared with EPyMARL", "", note, "", *lines, "", *commands]


RETURN = ["--config=pqn_vdn", "--env-config=simple_spread", "with", "log_interval=1", "save_model=False"]


def time_to_return(seed: int, thresholds: tuple[float, ...]) -> tuple[dict[float, float], list[float]]:
    """Seconds from the command to the first test at or above each threshold, and all test returns."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        hit: dict[float, float] = {}
        tests: list[float] = []
        command = [sys.executable, "-u", "main.py", *RETURN, f"seed={seed}", f"local_results_path={folder}"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            found = re.match(r"t_env \d+: .*test (-?[\d.]+)", line)
            if not found or found[1] == last:
                continue
            last = found[1]
            tests.append(float(last))
            for threshold in thresholds:
                if tests[-1] >= threshold:
                    hit.setdefault(threshold, time.perf_counter() - begun)
        process.wait()
    return hit, tests


def returns(repeats: int) -> list[str]:
    """The page on the time from the command to a trained team on simple_spread."""
    rows: list[list[str]] = []
    times: dict[float, list[float]] = {-65.0: [], -60.0: []}
    for seed in range(1, repeats + 1):
        hit, tests = time_to_return(seed, tuple(times))
        for threshold, values in times.items():
            values.append(hit.get(threshold, float("inf")))
        later = tests[len(tests) // 2 :]
        rows.append([str(seed), *(f"{values[-1]:.1f}" for values in times.values()), f"{statistics.mean(later):.1f}",
                     f"{min(later):.1f}"])  # fmt: skip
        print(*rows[-1], flush=True)
    medians = [f"{statistics.median(values):.1f}" for values in times.values()]
    rows.append(["**median**", *medians, "", ""])
    header = ["seed", "seconds to -65", "seconds to -60", "mean of the second half of tests", "worst of them"]
    note = (
        f"`python main.py {' '.join(RETURN[:2])}`: wall-clock time from the command, including start-up, to the "
        "first test with at least this return (64 greedy episodes of 25 steps in mpe2's own simple_spread_v3, summed "
        "over agents); and the test returns in the second half of the run."
    )
    return ["# Time to a trained team", "", note, "", *table(header, rows)]


def vae_costs(repeats: int) -> list[str]:
    """The page on the time that the VAE adds to a run, and on an update compared with its matrix products."""
    with_vae, without = [], []
    words = ["with", "t_max=20000", "test_interval=0", "save_model=False", "use_tensorboard=False", "seed=1"]
    for _ in range(repeats):
        with_vae.append(our_rate(["--config=omg_vae", *words]))
        without.append(our_rate(["--config=iql", "--env-config=simple_tag", *words]))
    added = [100 * (b / a - 1) for a, b in zip(with_vae, without, strict=True)]
    torch.set_num_threads(1)
    keep_freed_memory()
    states, config = torch.randn(832, 62), VAEConfig()
    trainer = VAETrainer(62, config)
    ratios = []
    for _ in range(repeats):
        update = timed(lambda: trainer.update(states))
        bare = timed(lambda: bare_products(832, 62, config.vae_hidden_dim, config.vae_latent_dim))
        ratios.append(update / bare)
    rows = [
        ["omg_vae on simple_tag, steps/s", spread_of(with_vae)],
        ["the same without the VAE (iql)", spread_of(without)],
        ["time added by the VAE, %", spread_of(added, 1)],
        ["time of a VAE update / time of its matrix products (832 states of size 62)", spread_of(ratios, 2)],
    ]
    return ["# Cost of the VAE", "", *table(["", "median [range]"], rows)]


def timed(call: Callable[[], object], times: int = 100) -> float:
    """Median of the seconds of a call."""
    for _ in range(10):
        call()
    spans = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        spans.append(time.perf_counter() - begun)
    return statistics.median(spans)


def ppo(repeats: int) -> list[str]:
    """The page on IPPO with two layers of 64 on simple_spread."""
    words = ["--config=ippo", "--env-config=simple_spread", "with", "t_max=600000", "save_model=False",
             "test_nepisode=128", "test_interval=600000", "use_tensorboard=False"]  # fmt: skip
    rates, finals = [], []
    for seed in range(1, repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "main.py", *words, f"seed={seed}", f"local_results_path={folder}"]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            (metrics,) = Path(folder).glob("sacred/*/*/*/metrics.jsonl")
            lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        points = [(line["t_env"], line["wall_s"]) for line in lines if line["t_env"] < 600_000]
        rates.append((points[-1][0] - points[0][0]) / (points[-1][1] - points[0][1]))
        finals.append([line["test_return_mean"] for line in lines if "test_return_mean" in line][-1])
        print(f"{rates[-1]:,.0f} steps/s, {finals[-1]:.1f}", flush=True)
    header = ["", "median [range]"]
    rows = [
        ["environment steps per second", spread_of(rates)],
        ["test return after 600,000 steps", spread_of(finals, 1)],
    ]
    note = f"`python main.py {' '.join(words)}`, a different seed for each run."
    return ["# PPO", "", note, "", *table(header, rows)]


_weights: dict[tuple[int, int], torch.Tensor] = {}


def bare_products(rows: int, state: int, hidden: int, latent: int) -> None:
    """Only the matrix products of an update: each layer forward, then backward to its inputs and its weights."""
    sizes = [
        (state, hidden),
        (hidden, hidden),
        (hidden, 2 * latent),
        (latent, hidden),
        (hidden, hidden),
        (hidden, state),
    ]
    for i, (inputs, outputs) in enumerate(sizes):
        x = _weights.setdefault((rows, inputs), torch.randn(rows, inputs))
        w = _weights.setdefault((inputs, outputs), torch.randn(inputs, outputs))
        y = x @ w
        x.t() @ y
        if i:
            y @ w.t()


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epymarl", type=Path, help="a checkout of EPyMARL, timed in turn with omarl")
    parser.add_argument("--jaxmarl", type=Path, help="a checkout of JaxMARL, timed in turn with omarl")
    parser.add_argument("--python", type=Path, help="the interpreter that runs JaxMARL")
    args = parser.parse_args()
    if (args.jaxmarl is None) != (args.python is None) or ("jaxmarl" in args.parts and args.jaxmarl is None):
        parser.error("jaxmarl: give both --jaxmarl CHECKOUT and --python PYTHON")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parts: dict[str, Callable[[], list[str]]] = {
        "raw": lambda: raw(args.repeats),
        "spread": lambda: spread(args.repeats, args.epymarl),
        "return": lambda: returns(args.repeats),
        "ppo": lambda: ppo(args.repeats),
        "vae": lambda: vae_costs(args.repeats),
    }
    if args.jaxmarl is not None:
        from speed_jaxmarl import compare  # which imports this file

        parts["jaxmarl"] = lambda: compare(args.python, args.jaxmarl, args.repeats)
    (HERE / "speed").mkdir(exist_ok=True)
    for name in args.parts or parts:
        lines = [*parts[name](), "", f"{machine()}; median [lowest, highest] of {args.repeats}; "
                 f"`python benchmarks/speed.py {name}`.", ""]  # fmt: skip
        print("\n".join(lines))
        (HERE / "speed" / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
