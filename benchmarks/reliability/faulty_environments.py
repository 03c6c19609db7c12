"""Trains in environments that hang, die, raise or return invalid values: each ends in one line, and leaves nothing.

    python benchmarks/reliability/faulty_environments.py [--only TEXT] [--out faulty_environments.md]

Each environment of faulty_worlds.py is trained for a few steps by the real command, in a copy of this process, with
no worker and with two; code that ends its process, or that nothing can interrupt, only with workers. env_timeout is 3
seconds, env_restarts 1. The table has a line for each run: its error, the seconds, and what is wrong: another message
than the expected one, a traceback, processes or files in /dev/shm that were left. About 20 minutes on two busy cores.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))
os.environ["PYTHONPATH"] = f"{FOLDER}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

from faulty_worlds import FAULTS, Fault  # noqa: E402
from omarl.experiment import main as omarl_main  # noqa: E402

TIMEOUT, MOST_SECONDS = 3, 60
WORDS = ["t_max=24", "batch_size_run=2", "batch_size=2", "hidden_dim=8", "test_interval=0", "use_tensorboard=False",
         "buffer_size=4", "save_model=False", f"env_timeout={TIMEOUT}", "env_restarts=1", "seed=1"]  # fmt: skip


class Outcome(NamedTuple):
    line: str  # the last line, or the restart of a run that succeeded
    seconds: float
    faults: list[str]  # what is wrong; empty: nothing


def run(name: str, workers: int, folder: Path) -> tuple[int, int, str, float]:
    """Trains in a child of this process with its own session. Returns its id, exit status, output and seconds."""
    folder.mkdir()
    words = ["main.py", "--config=iql", "with", "env=faulty_worlds:world", f"env_args.fault={name}", *WORDS,
             "env_args.episode_limit=20", f"env_workers={workers}", f"local_results_path={folder}"]  # fmt: skip
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.environ["FAULTY_WORLDS_MARKER"] = str(folder / "marker")
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1), os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        code = 1
        try:
            omarl_main(words)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    status = 0
    while time.monotonic() - begun < MOST_SECONDS:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.02)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        status = -1
    seconds = time.monotonic() - begun
    return child, status, (folder / "output").read_text(encoding="utf-8", errors="replace"), seconds


def members(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def left_over(session: int, shared: set[Path]) -> tuple[list[int], set[Path]]:
    """Processes of a session, which are killed, and new files in /dev/shm that remain for more than three seconds.

    Other programs should not leave files there at the same time.
    """
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        processes, files = members(session), set(Path("/dev/shm").iterdir()) - shared
        if not processes and not files:
            break
        time.sleep(0.05)
    for process in processes:
        os.kill(process, signal.SIGKILL)
    return processes, files


def play(name: str, fault: Fault, workers: int, folder: Path) -> Outcome:
    """Trains in one environment and judges the result."""
    shared = set(Path("/dev/shm").iterdir())
    child, status, output, seconds = run(name, workers, folder)
    processes, files = left_over(child, shared)
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    faults = []
    if status == -1:
        faults.append("did not end")
    if (status == 0) != fault.succeeds:
        faults.append(f"status {status}")
    if len(errors) != (not fault.succeeds):
        faults.append(f"{len(errors)} error lines")
    if not any(fault.message in line for line in (lines if fault.succeeds else errors)):
        faults.append("another message")
    if "Traceback" in output or "Warning:" in output:
        faults.append("traceback or warning")
    if processes:
        faults.append(f"{len(processes)} processes left")
    if files:
        faults.append("shared memory left")
    about = [line for line in lines if (fault.message and fault.message in line) or "restart" in line]
    shown = (errors or about or lines)[-1]
    return Outcome(shown.replace("faulty_worlds:world", "NAME"), seconds, faults)


def table(outcomes: dict[tuple[str, int], Outcome]) -> str:
    """The result as Markdown."""
    names = {name for name, _ in outcomes if name != "no fault"}
    good = sum(not outcome.faults for outcome in outcomes.values())
    slowest = max(outcome.seconds for outcome in outcomes.values())
    left = sum("left" in fault for outcome in outcomes.values() for fault in outcome.faults)
    lines = [
        f"{len(names)} faulty environments and a correct one, {len(outcomes)} runs: {good} ended as they should, "
        f"{left} left processes or shared memory, the slowest took {slowest:.0f} s (env_timeout=3).",
        "",
        "| environment | workers | its line | s | wrong |",
        "|---|---|---|---|---|",
    ]
    for (name, workers), outcome in outcomes.items():
        line = outcome.line.replace("|", "\\|")[:220]
        lines.append(f"| {name} | {workers} | {line} | {outcome.seconds:.0f} | {', '.join(outcome.faults)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only environments whose name contains this text")
    parser.add_argument("--out", default="", help="the file of the table")
    asked = parser.parse_args()
    outcomes: dict[tuple[str, int], Outcome] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, fault in FAULTS.items():
            for workers in fault.where if asked.only in name else ():
                outcome = play(name, fault, workers, Path(scratch, str(len(outcomes))))
                outcomes[name, workers] = outcome
                verdict = "BAD " + ", ".join(outcome.faults) if outcome.faults else "ok"
                print(f"{verdict} | {name} ({workers}) | {outcome.seconds:.1f} s | {outcome.line[:160]}", flush=True)
    text = table(outcomes)
    print(text.partition("\n")[0])
    if asked.out:
        Path(asked.out).write_text(text, encoding="utf-8")
    raise SystemExit(any(outcome.faults for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
