"""Training speed of IQL, VDN and QMIX beside JaxMARL's baselines, run in turn on the same cores.

    python benchmarks/speed_jaxmarl.py --jaxmarl CHECKOUT --python PYTHON [--algorithms iql vdn qmix] [--units 64 128]

CHECKOUT is JaxMARL's repository (github.com/FLAIROx/JaxMARL, tested at c793d09) and PYTHON an interpreter with
jaxmarl, flashbax, hydra-core, omegaconf, wandb, safetensors, optax and six: its packages exclude ours. JaxMARL runs
with all cores and with one. Writes ``benchmarks/speed/jaxmarl.md``. A minute for each algorithm, number of units and
repetition. ``make bench ARGS="jaxmarl --jaxmarl CHECKOUT --python PYTHON"`` does the same.
"""

import argparse
import json
import os
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from speed import HERE, machine, our_rate, spread_of, table

OURS = ["--env-config=simple_spread", "with", "t_max=40000", "batch_size_run=8", "env_steps_per_update=200",
        "test_interval=0", "save_model=False", "use_tensorboard=False", "learner_log_interval=5000",
        "runner_log_interval=5000", "seed=1"]  # fmt: skip
ALGORITHMS, UNITS = ["iql", "vdn", "qmix"], [64, 128]


def their_rate(python: Path, checkout: Path, algorithm: str, units: int, cores: int) -> float:
    """JaxMARL's environment steps per second on the first ``cores`` cores, compilation excluded."""
    pinned = ["taskset", "-c", f"0-{cores - 1}"]
    words = [str(HERE / "jaxmarl_training.py"), algorithm, str(checkout), "--units", str(units)]
    done = subprocess.run([*pinned, str(python), *words], capture_output=True, text=True, cwd=checkout)
    if done.returncode:
        raise SystemExit("JaxMARL failed:\n" + done.stderr[-2000:])
    return float(json.loads(done.stdout.splitlines()[-1])["rate"])


def rates(algorithm: str, units: int, python: Path, checkout: Path) -> dict[str, float]:
    """One repetition of each program."""
    ours = [f"--config={algorithm}", *OURS, f"hidden_dim={units}"]
    theirs = python, checkout, algorithm, units
    found = {f"omarl, {n} thread{'s' * (n > 1)}": our_rate([*ours, f"compiled_threads={n}"]) for n in (1, 2)}
    return found | {f"JaxMARL, {n} core{'s' * (n > 1)}": their_rate(*theirs, n) for n in (1, 2)}


def compare(
    python: Path, checkout: Path, repeats: int, algorithms: Sequence[str] = ALGORITHMS, units: Sequence[int] = UNITS
) -> list[str]:
    """The lines of a page with both programs' rates."""
    rows = []
    for size in units:
        for algorithm in algorithms:
            found = [rates(algorithm, size, python, checkout.resolve()) for _ in range(repeats)]
            columns = {name: [each[name] for each in found] for name in found[0]}
            best = [max(v for k, v in each.items() if k.startswith("omarl"))
                    / max(v for k, v in each.items() if k.startswith("JaxMARL")) for each in found]  # fmt: skip
            row = [algorithm, str(size), *map(spread_of, columns.values()), spread_of(best, 2)]
            print(*row, f"{statistics.median(best):.2f}", flush=True)
            rows.append(row)
    return [
        "# Training speed compared with JaxMARL", "",
        "simple_spread with a GRU, 8 copies, and one update on 32 episodes for each 200 steps (JaxMARL: 208). "
        "Environment steps per second, omarl from step 5,000 to 40,000, JaxMARL over 100,000 steps without its "
        "compilation of 10 to 12 s. The ratio is the faster of omarl's two columns over the faster of JaxMARL's.", "",
        *table(["", "units", *columns, "ratio"], rows),
    ]  # fmt: skip


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jaxmarl", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--units", nargs="+", type=int, default=UNITS)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    page = compare(args.python, args.jaxmarl, args.repeats, args.algorithms, args.units)
    about = f"{machine()}; median [lowest, highest] of {args.repeats}; `python benchmarks/speed_jaxmarl.py`."
    (HERE / "speed" / "jaxmarl.md").write_text("\n".join([*page, "", about, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
