"""Trains on a GPU and on the CPU, compares the results, and times both with many copies.

    python benchmarks/gpu.py [checks] [training] [rates] [--device cuda] [--jobs 8] [--scale 1] [--out FOLDER]

- ``checks``: the tests of tests/contracts/test_gpu.py, then a short run of every algorithm.
- ``training``: omg_vae, qmix, mappo and liam on the CPU and on the device, three seeds each.
- ``rates``: environment steps per second of ippo and pqn_vdn with 128 to 16,384 copies.

Runs of the first two parts share the machine, ``--jobs`` at a time; rates are measured one by one. ``--scale 0.02``
shortens all runs, for a test of this script; ``--device cpu`` needs no GPU. Writes ``gpu.md`` into FOLDER
(default: benchmarks/speed). On one H100 with 16 processor cores and ``--jobs 14`` the checks took 75 s, the training
116 s, and the rates 278 s with four batches of each; they now have three.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from speed import table

ROOT = Path(__file__).parents[1]
QUIET = ["use_tensorboard=False", "save_model=False"]
REPLAY, ROLLOUTS = ["iql", "vdn", "qmix", "omg_vae"], ["ippo", "mappo", "pqn", "pqn_vdn", "omg_vae_ppo"]
MODELS = ["naive_om", "liam", "poam", "plastic", "meliba", "omg_ppo", "place_prediction", "object_prediction"]
SEEDS = (1, 2, 3)
COPIES = (128, 2048, 16384)
SPREAD, TAG, FORAGING = (f"--env-config={name}" for name in ("simple_spread", "simple_tag", "foraging"))
TRAINED = {  # algorithm: environment, steps, metric
    "omg_vae": (TAG, 30_000, "test_vae_explained_variance"),
    "qmix": (SPREAD, 60_000, "test_return_mean"),
    "mappo": (SPREAD, 400_000, "test_return_mean"),
    "liam": (FORAGING, 200_000, "test_return_mean"),
}


class Result(NamedTuple):
    """A run of ``main.py``: its metrics by line, its output and its exit status."""

    lines: list[dict[str, float]]
    output: str
    status: int

    def last(self, metric: str) -> float:
        """The last value of a metric; NaN if it has none."""
        return next((line[metric] for line in reversed(self.lines) if metric in line), float("nan"))

    def rate(self) -> float:
        """Environment steps per second between the first and the last logged step; NaN if they do not differ."""
        times = [(line["t_env"], line["wall_s"]) for line in self.lines if "wall_s" in line]
        (first, begun), (last, ended) = (times[0], times[-1]) if times else ((0, 0), (0, 0))
        return (last - first) / (ended - begun) if ended > begun else float("nan")


def run(words: Sequence[str]) -> Result:
    """Runs ``main.py`` with the words of its command line."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "main.py", *words, f"local_results_path={folder}"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        files = list(Path(folder).rglob("metrics.jsonl"))
        lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return Result(lines, done.stdout, done.returncode)


def on(device: str) -> str:
    """The key that chooses a device."""
    return f"use_cuda={device == 'cuda'}"


def several(commands: Iterable[Sequence[str]], jobs: int) -> list[Result]:
    """The results of commands, ``jobs`` at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(run, commands))


def checks(args: argparse.Namespace) -> list[str]:
    """The tests, and whether each algorithm trains and logs finite losses."""
    tests = [sys.executable, "-m", "pytest", "tests/contracts/test_gpu.py"]
    testing = subprocess.Popen(tests, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    steps = max(int(4_000 * args.scale), 800)
    short = [*QUIET, f"t_max={steps}", "test_interval=0", "learner_log_interval=1", on(args.device)]
    replay = [[f"--config={name}", TAG if name == "omg_vae" else SPREAD, "with", *short] for name in REPLAY]
    rollouts = [[f"--config={name}", SPREAD, "with", *short, "batch_size_run=16"] for name in ROLLOUTS]
    models = [[f"--config={name}", FORAGING, "with", *short, "batch_size_run=16"] for name in MODELS]
    names = [*REPLAY, *ROLLOUTS, *MODELS]
    rows = []
    for name, result in zip(names, several([*replay, *rollouts, *models], args.jobs), strict=True):
        losses = {key for line in result.lines for key in line if key.endswith("loss")}
        finite = all(abs(result.last(key)) < float("inf") for key in losses)
        ok = result.status == 0 and losses and finite
        if not ok:
            print(f"{name}:\n{result.output[-1500:]}", flush=True)
        rows.append([name, "trained, finite losses" if ok else "FAILED", f"{result.last('grad_norm'):.3g}"])
    output = testing.communicate()[0]
    print(output, flush=True)
    summary = re.sub(r" in [\d.]+s.*", "", output.strip().splitlines()[-1].strip("= "))
    status = "passed" if testing.returncode in (0, 5) else "FAILED"
    return ["## Checks", "", f"Tests of the GPU: {summary} ({status}). Runs of {steps:,} steps:", "",
            *table(["algorithm", "result", "last gradient norm"], rows)]  # fmt: skip


def training(args: argparse.Namespace) -> list[str]:
    """Results of the same training on the CPU and on the device."""
    devices = list(dict.fromkeys(("cpu", args.device)))
    commands, keys = [], []
    for name, (env, steps, metric) in TRAINED.items():
        t_max = max(int(steps * args.scale), 800)
        words = [f"--config={name}", env, "with", *QUIET, f"t_max={t_max}", f"test_interval={t_max // 2}"]
        for device in devices:
            commands += [[*words, on(device), f"seed={seed}"] for seed in SEEDS]
            keys += [(name, device, metric)] * len(SEEDS)
    found: dict[tuple[str, str, str], list[Result]] = {}
    for key, result in zip(keys, several(commands, args.jobs), strict=True):
        found.setdefault(key, []).append(result)
        if result.status:
            print(f"{key[0]}:\n{result.output[-1500:]}", flush=True)
    rows = []
    for name, (_, steps, metric) in TRAINED.items():
        results = [[result.last(metric) for result in found[name, device, metric]] for device in devices]
        rows.append([name, f"{max(int(steps * args.scale), 800):,}", metric,
                     *(f"{statistics.mean(v):.2f} [{min(v):.2f}, {max(v):.2f}]" for v in results)])  # fmt: skip
    note = (f"The last test of each run; mean [lowest, highest] of {len(SEEDS)} seeds. The devices draw different "
            "random numbers, so runs of one seed differ.")  # fmt: skip
    return ["## Training", "", note, "", *table(["algorithm", "steps", "metric", *devices], rows)]


def rates(args: argparse.Namespace) -> list[str]:
    """Environment steps per second by number of copies, on the CPU and on the device."""
    rows, threads = [], min(os.cpu_count() or 1, 8)
    devices = list(dict.fromkeys(("cpu", args.device)))
    for name in ("ippo", "pqn_vdn"):
        for copies in COPIES:
            number = max(int(copies * args.scale), 4)
            words = [f"--config={name}", SPREAD, "with", *QUIET, "test_interval=0", f"batch_size_run={number}",
                     f"t_max={number * 25 * 3}", "runner_log_interval=1", "learner_log_interval=1",
                     f"torch_threads={threads}"]  # fmt: skip
            rows.append([name, f"{number:,}", *(f"{run([*words, on(device)]).rate():,.0f}" for device in devices)])
            print(*rows[-1], flush=True)
    header = ["algorithm", "copies", *(name if name != "cpu" else f"CPU, {threads} threads" for name in devices)]
    note = ("Environment steps per second on simple_spread, after the first of three batches of 25 steps of each "
            "copy. Environments run on the CPU.")  # fmt: skip
    return ["## Rates", "", note, "", *table(header, rows)]


def machine(device: str) -> str:
    """The device, the processor's number of cores and torch's version."""
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    return f"{name}, {os.cpu_count()} processor cores, torch {torch.__version__}"


def main() -> None:
    """See the module."""
    parts: dict[str, Callable[[argparse.Namespace], list[str]]] = {
        "checks": checks,
        "training": training,
        "rates": rates,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--jobs", type=int, default=8, help="runs at a time")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the length of all runs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "speed")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    lines = ["# Training on a GPU", ""]
    for name in args.parts or parts:
        begun = time.monotonic()
        lines += [*parts[name](args), "", f"{time.monotonic() - begun:.0f} s.", ""]
        args.out.mkdir(parents=True, exist_ok=True)
        text = "\n".join([*lines, f"{machine(args.device)}; `python benchmarks/gpu.py`.", ""])
        (args.out / "gpu.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit("FAILED" in text)


if __name__ == "__main__":
    main()
