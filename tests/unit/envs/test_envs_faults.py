"""Environments that hang, die, raise or return invalid values: one line that names environment, copy and agent.

The environments are those of benchmarks/reliability/faulty_worlds.py, which faulty_environments.py trains in.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omarl.envs import make_vec_env
from omarl.envs.watch import Limits
from omarl.types import OmarlError

FOLDER = Path(__file__).parents[3] / "benchmarks" / "reliability"
sys.path.insert(0, str(FOLDER))
from faulty_worlds import DEATHS, FAULTS, HANGS  # noqa: E402

ZERO = np.zeros((2, 2), np.int64)
FAST = Limits(timeout=0.5, restarts=0)


def played(fault: str, n_workers: int, limits: Limits, steps: int = 20) -> None:
    env = make_vec_env("faulty_worlds:world", {"fault": fault, "episode_limit": 20}, 2, n_workers, 0, limits)
    try:
        env.reset()
        for _ in range(steps):
            env.step(ZERO)
    finally:
        env.close()


@pytest.mark.parametrize("fault", [n for n, fault in FAULTS.items() if 0 in fault.where and n not in HANGS])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_invalid_values_and_errors_are_named_in_one_line(fault: str) -> None:
    message = FAULTS[fault].message
    if fault == "no fault":
        played(fault, 0, FAST)
        return
    with pytest.raises(OmarlError) as error:
        played(fault, 0, FAST)
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 700
    assert "faulty_worlds:world" in str(error.value) or "action" in message


@pytest.mark.parametrize("fault", [name for name, fault in HANGS.items() if 0 in fault.where])
def test_a_call_that_hangs_in_this_process_ends_at_the_limit(fault: str) -> None:
    begun = time.monotonic()
    with pytest.raises(OmarlError, match=r"took longer than 0.5 s \(env_timeout\) in .* \(copy 0\)"):
        played(fault, 0, FAST)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("fault", ["hangs in step, in compiled code", "hangs in step, with a child process"])
def test_a_worker_that_hangs_is_killed_with_the_processes_it_started(fault: str) -> None:
    with pytest.raises(OmarlError, match=r"took longer than 2 s \(env_timeout\) in step \(copy \d\)$"):
        played(fault, 1, Limits(timeout=2, restarts=0))
    assert not multiprocessing.active_children()
    deadline = time.monotonic() + 10  # a killed process ends when the system gets to it
    while (left := [line for line in processes() if "sleep(10**6)" in line]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


@pytest.mark.parametrize("fault", ["exits in step", "KeyboardInterrupt", "sys.exit in step"])
def test_deaths_and_exits_in_workers_are_named(fault: str) -> None:
    with pytest.raises(OmarlError) as error:
        played(fault, 1, Limits(20, 0))
    assert DEATHS[fault].message in str(error.value)


def test_without_a_limit_nothing_is_interrupted(make: Any) -> None:
    played("no fault", 0, Limits(timeout=0))


def test_the_limit_restores_the_timer_and_handler_of_the_program() -> None:
    fired: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        played("no fault", 0, Limits())
        assert signal.getitimer(signal.ITIMER_REAL)[0] <= 0.4
        time.sleep(0.5)
        assert fired == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def processes() -> list[str]:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return lines


@pytest.fixture
def killed_parent(tmp_path: Path) -> Iterator[Any]:
    """Kills a process whose worker is in a step of this fault; returns the worker's id.

    The kernel ends workers that the main thread has started; others watch their parent.
    """

    def kill(fault: str, in_thread: bool) -> int:
        code = (
            "import multiprocessing, sys, threading\n"
            "import numpy as np\n"
            "from omarl.envs import make_vec_env\n"
            "def run():\n"
            f"    env = make_vec_env('faulty_worlds:world', dict(fault={fault!r}, episode_limit=20), 1, 1, 0)\n"
            "    env.reset()\n"
            "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
            "    while True:\n"
            "        env.step(np.zeros((1, 2), np.int64))\n"
            f"threading.Thread(target=run).start() if {in_thread} else run()\n"
        )
        path = f"{FOLDER}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, "PYTHONPATH": path})  # fmt: skip
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.5)
        assert Path(f"/proc/{worker}").exists()
        parent.kill()
        parent.wait()
        parent.stdout.close()
        return worker

    yield kill


@pytest.mark.parametrize(
    ("fault", "in_thread"),
    [("hangs in step", False), ("hangs in step, in compiled code", False), ("hangs in step", True)],
)
def test_a_worker_ends_with_its_killed_parent(killed_parent: Any, fault: str, in_thread: bool) -> None:
    shared = set(Path("/dev/shm").iterdir())
    worker = killed_parent(fault, in_thread)
    deadline = time.monotonic() + 3
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":  # killed; nothing here collects it
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{worker}").exists()
    assert set(Path("/dev/shm").iterdir()) <= shared


def test_the_handler_of_the_program_is_restored_when_environments_are_closed(make: Any) -> None:
    before = signal.getsignal(signal.SIGALRM)
    one, other = make("Toy"), make("Toy")
    for env in (one, other, one):
        env.reset()
        env.step(np.zeros((1, 3), np.int64))
    assert signal.getsignal(signal.SIGALRM) != before
    other.close()
    one.close()
    assert signal.getsignal(signal.SIGALRM) == before
    assert not signal.getitimer(signal.ITIMER_REAL)[0]


def test_the_time_between_two_calls_is_not_limited(make: Any) -> None:
    env = make("Toy", limits=Limits(timeout=0.2))
    env.reset()
    for _ in range(2):
        time.sleep(0.3)
        env.step(np.zeros((1, 3), np.int64))


def test_a_handler_that_the_program_sets_later_is_kept(make: Any) -> None:
    env = make("Toy")
    env.reset()
    handler = lambda *_: None  # noqa: E731
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        env.close()
        assert signal.getsignal(signal.SIGALRM) is handler
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL if callable(previous) else previous)
