"""Measures the time of each part of the default run by sampling the stack, also for an earlier commit.

    python benchmarks/time_spent.py [--before CHECKOUT] [--steps 20000]

Every two milliseconds, or as soon as a longer call into C returns, the time since the last sample is added to the
innermost part of the run that is on the stack. A checkout of an earlier commit (``git worktree add CHECKOUT COMMIT``)
is run in turn.
Writes ``benchmarks/speed/profile.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

HERE = Path(__file__).parent
ROOT = HERE.parent
INTERVAL = 2e-3
# A stack belongs to the first part of which a mark is in it. Marks are names of files or functions.
PARTS = {
    "imports": ("<frozen importlib._bootstrap>",),
    "the picture": ("plots.py",),
    "tests": ("log_test",),
    "VAE: backward and step": ("vae_trainer.py+optimiser_step",),
    "VAE: the rest": ("vae_trainer.py", "drawn_states", "real_states"),
    "agents: backward and step": ("q_learner.py+optimiser_step",),
    "agents: the update of the target": ("_update_target",),
    "agents: the rest": ("q_learner.py",),
    "replay buffer": ("replay_buffer.py",),
    "environments": ("vector.py", "workers.py", "copies.py"),
    "acting": ("basic_controller.py", "player.py", "episode_runner.py"),
}


def sampled(argv: list[str], out: Path) -> None:
    """Runs ``main.py`` in this process and writes the seconds of each part."""
    spent: defaultdict[str, float] = defaultdict(float)
    last = time.perf_counter()

    def note(_: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.perf_counter()
        names = set()
        while frame is not None:
            code = frame.f_code
            names |= {Path(code.co_filename).name, code.co_name}
            frame = frame.f_back
        active = (part for part, marks in PARTS.items() if any(set(mark.split("+")) <= names for mark in marks))
        spent[next(active, "everything else")] += now - last
        last = now

    signal.signal(signal.SIGALRM, note)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        out.write_text(json.dumps(spent))


def seconds(checkout: Path, steps: int) -> dict[str, float]:
    """Seconds that the default run of a checkout spends in each part."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        (there / "omarl").symlink_to(checkout / "src")  # before whatever is installed
        out = there / "samples.json"
        words = ["--config=omg_vae", "with", "seed=1", f"t_max={steps}", f"local_results_path={folder}/results"]
        command = [sys.executable, __file__, "--here", str(out), str(checkout / "main.py"), *words]
        subprocess.run(command, cwd=checkout, env={**os.environ, "PYTHONPATH": folder}, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        return json.loads(out.read_text())


def main() -> None:
    """Runs the command line that the module describes."""
    if sys.argv[1:2] == ["--here"]:
        sampled(sys.argv[3:], Path(sys.argv[2]))
        return
    from speed import machine, table  # not in the sampled process, which may run an earlier commit

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--steps", type=int, default=20_000)
    args = parser.parse_args()
    columns = {"now, s": seconds(ROOT, args.steps)}
    if args.before:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=args.before, check=True,
                                capture_output=True, text=True).stdout.strip()  # fmt: skip
        columns = {f"{commit}, s": seconds(args.before.resolve(), args.steps), **columns}
    rows = [[part, *(f"{spent.get(part, 0.0):.1f}" for spent in columns.values())]
            for part in (*PARTS, "everything else")]  # fmt: skip
    rows.append(["all", *(f"{sum(spent.values()):.1f}" for spent in columns.values())])
    text = ["# Time of each part of the default run", "",
            f"`python main.py --config=omg_vae with seed=1 t_max={args.steps}`, with the stack sampled every "
            f"{INTERVAL * 1e3:g} ms.", "", *table(["", *columns], rows), "",
            f"{machine()}; `python benchmarks/time_spent.py --before CHECKOUT`.", ""]  # fmt: skip
    (HERE / "speed" / "profile.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
