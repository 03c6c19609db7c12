"""Memory of a long training: the resident memory of its process and workers, sampled every ten seconds.

    python benchmarks/reliability/soak.py                                   # two hours each
    python benchmarks/reliability/soak.py --algorithms omg_vae --minutes 15

Trains omg_vae and place_prediction by default, one after the other, through ``main.py`` and with frequent logs, and
interrupts them at the end. Writes ``soak_<algorithm>.csv`` next to this file (``--out``): seconds, MiB and steps of
the environment, a line at each sample. Prints for each algorithm the memory after five minutes and at the end
(medians over a minute), and their difference. Exits with 1 if the memory grew by 2% or more, or if a training ended
early.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PERIOD = 10.0  # seconds between samples
SETTLED = 300.0  # seconds after which memory must not grow
MEDIAN = 60.0  # seconds over which the first and the last value are taken
LIMIT = 0.02  # share by which memory may grow
# logs as frequent as in the longest runs, and all that runs write
KEYS = ("t_max=1000000000", "learner_log_interval=2000", "runner_log_interval=2000", "log_interval=10000", "seed=1")
ENVIRONMENTS = {"omg_vae": "simple_spread"}  # the opponent models play their default game, against the default pool
# buffers that are full within the first five minutes: memory grows while they fill
FILLED_EARLY = {"omg_vae": ["buffer_size=500"], "place_prediction": ["model_memory=5"]}


class Sample(NamedTuple):
    """``seconds`` since the start, ``mib`` of resident memory, ``steps`` of the environment."""

    seconds: float
    mib: float
    steps: int


def children_of(pid: int) -> Iterator[int]:
    """The processes that ``pid`` has started, and theirs."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from children_of(child)


def resident(pid: int) -> float:
    """MiB of resident memory of a process and its children."""
    total = 0
    for process in (pid, *children_of(pid)):
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except FileNotFoundError:  # it has ended in the meantime
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total / 1024


def last_step(results: Path) -> int:
    """The environment step of the last line of the run's metrics."""
    for path in (results / "sacred").rglob("metrics.jsonl"):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 100_000))
            lines = file.read().splitlines()
        if lines:
            return int(lines[-1].partition(b'"t_env": ')[2].partition(b",")[0])
    return 0


def soak(algorithm: str, minutes: float, keys: list[str], table: Path) -> tuple[list[Sample], int | None]:
    """Trains for ``minutes`` and writes samples; the exit status is None if the training was still running."""
    with tempfile.TemporaryDirectory() as folder, table.open("w", encoding="utf-8") as rows:
        print(*Sample._fields, sep=",", file=rows)
        words = [sys.executable, str(ROOT / "main.py"), f"--config={algorithm}"]
        if algorithm in ENVIRONMENTS:
            words.append(f"--env-config={ENVIRONMENTS[algorithm]}")
        words += ["with", *KEYS, *FILLED_EARLY.get(algorithm, ()), f"local_results_path={folder}", *keys]
        samples: list[Sample] = []
        with (Path(folder) / "output.txt").open("w") as output:
            process = subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
            begin = time.monotonic()
            try:
                while process.poll() is None and time.monotonic() - begin < 60 * minutes:
                    time.sleep(PERIOD)
                    if process.poll() is None:
                        steps = last_step(Path(folder))
                        samples.append(Sample(time.monotonic() - begin, resident(process.pid), steps))
                        print(f"{samples[-1].seconds:.0f},{samples[-1].mib:.1f},{steps}", file=rows, flush=True)
                status = process.poll()
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()
        if status is not None:
            print((Path(folder) / "output.txt").read_text()[-2000:], file=sys.stderr)
    return samples, status


def growth(samples: list[Sample]) -> tuple[float, float]:
    """MiB after the first five minutes and at the end; medians over a minute."""
    end = samples[-1].seconds
    settled = min(SETTLED, end / 2)
    first = statistics.median(s.mib for s in samples if settled <= s.seconds <= settled + MEDIAN)
    return first, statistics.median(s.mib for s in samples if s.seconds >= end - MEDIAN)


def main() -> int:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", default=["omg_vae", "place_prediction"])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--keys", nargs="*", default=[], help="further KEY=VALUE of the trainings")
    args = parser.parse_args()
    failed = False
    for algorithm in args.algorithms:
        samples, status = soak(algorithm, args.minutes, args.keys, args.out / f"soak_{algorithm}.csv")
        if status is not None or len(samples) < 3:
            print(f"{algorithm}: the training ended early, with status {status}")
            failed = True
            continue
        first, last = growth(samples)
        share = last / first - 1.0
        failed |= share >= LIMIT
        print(f"{algorithm}: {first:.1f} MiB after five minutes, {last:.1f} MiB after {samples[-1].seconds / 60:.0f} "
              f"minutes: {share:+.2%} ({samples[-1].steps} steps)", flush=True)  # fmt: skip
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
