"""Signals that ask a training to stop or to save, which it does once its state is consistent."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

STOP = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a scheduler, a closed terminal
SAVE = "SIGUSR1"  # sent by Slurm before the time limit (sbatch --signal=USR1@60)


def stop_as_ctrl_c() -> None:
    """Makes a scheduler's signal and a closed terminal raise KeyboardInterrupt, except where they are ignored."""
    if threading.current_thread() is threading.main_thread():
        for name in STOP:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)


@dataclass
class Requests:
    """What the signals have asked for so far."""

    stop: bool = False
    save: bool = False


@contextmanager
def signals_noted(say: Callable[[str], None]) -> Iterator[Requests]:
    """Notes signals instead of raising, and says so. A second Ctrl-C raises KeyboardInterrupt at once.

    Signals that are ignored (``nohup``) stay ignored. Outside the main thread, Python allows no handlers, and nothing
    is noted.
    """
    requests = Requests()

    def note(number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, SAVE, None):
            requests.save = True
        elif requests.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            requests.stop = True
            say("stopping after this step, with a checkpoint; Ctrl-C stops at once, without one")

    earlier: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in (*STOP, SAVE) if hasattr(signal, name)]  # Windows has fewer
        earlier = {number: signal.getsignal(number) for number in numbers}
        for number, handler in earlier.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, note)
    try:
        yield requests
    finally:
        for number, handler in earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
