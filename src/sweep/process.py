"""One run of a sweep as a process of its own, whose end, however it comes, stops no other run."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from ..configuration.resumed import is_complete
from ..types import ConfigError
from ..utils.run_directory import locked
from .plan import Job, word

PR_SET_PDEATHSIG = 1  # Linux: the signal that a process receives when the thread that started it ends
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before the fork
UNLOCKED = 60.0  # seconds until a run whose sweep was killed has saved its checkpoint and ended
LAST = 20_000  # bytes at the end of a log in which the reason of a failure is sought


class Task(NamedTuple):
    """What a worker, here or on another machine, needs to make a run."""

    words: list[str]  # after ``python -m omarl``, for a new run
    resume: list[str]  # the same for a run that exists
    run: str  # its folder
    log: str  # the file to which its output is appended
    cwd: str
    keeps: bool  # whether the run stores checkpoints


def task_of(job: Job, log: Path, one_core: bool) -> Task:
    """The task of a run; ``one_core``: it starts no worker processes, unless the user has set how many."""
    alone = [] if not one_core or "env_workers" in job.given else ["env_workers=0"]
    first, *rest = job.command()
    new = [first, f"--id={job.id}", *rest, *alone]
    trusted = [word("trust", job.values["trust"])] if job.values["trust"] else []
    resume = ["resume", "with", f"run={job.run}", *trusted, *alone]
    return Task(new, resume, str(job.run), str(log), str(Path.cwd()), job.values["save_model"])


def is_finished(job: Job) -> bool:
    """Whether a run has reached its ``t_max``."""
    return job.run.is_dir() and is_complete({**job.values, "run": str(job.run)})


def execute(task: Task) -> int:
    """Makes the run and returns its exit status (a signal is negative). An interrupt lets it save a checkpoint."""
    process = start(task)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def start(task: Task) -> subprocess.Popen[bytes]:
    """Starts the run's process. Its output is appended to ``task.log``.

    It has a session of its own: Ctrl-C in the terminal reaches the sweep alone, which then stops its runs. If the
    sweep is killed, the kernel tells the run, which saves a checkpoint and ends (Linux).

    Raises:
        ConfigError: a process that the sweep does not know trains in the run's folder.
    """
    words = task.words
    run = Path(task.run)
    if run.is_dir():
        wait_until_free(run)
        if task.keeps and (run / "config.json").is_file():
            words = task.resume
        else:  # it was stopped before it began, or it has nothing from which it could continue
            shutil.rmtree(run)
    Path(task.log).parent.mkdir(parents=True, exist_ok=True)
    with Path(task.log).open("ab") as log:
        command = [sys.executable, "-m", "omarl", *words]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=task.cwd,
                                start_new_session=True, preexec_fn=ends_with_parent)  # fmt: skip


def ends_with_parent() -> None:
    """Asks the kernel, in the new process, for a signal when the sweep has ended."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_until_free(run: Path) -> None:
    """Waits until no process trains in a run's folder.

    Raises:
        ConfigError: one still does after a minute.
    """
    end = time.monotonic() + UNLOCKED
    while (run / ".lock").exists():
        try:
            with locked(run):
                return
        except ConfigError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def why(log: Path, code: int) -> str:
    """The reason of a failure in one line: the run's own, or else how its process ended."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"ended with status {code}"])[-1][:300]
