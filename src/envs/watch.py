"""Time limits: which copy of an environment is in a call since when, and the interruption of a call that hangs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import MutableSequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, ClassVar

from ..types import EnvError
from .messages import describe

CALLS = ("its constructor", "reset", "step", "close")
MAKE, RESET, STEP, CLOSE = range(4)
HAS_TIMER = hasattr(signal, "setitimer")  # Windows has none


@dataclass(frozen=True)
class Limits:
    """``timeout``: most seconds of one call of one copy, 0 for no limit; ``restarts``: most new worker processes."""

    timeout: float = 60.0
    restarts: int = 3


DEFAULT_LIMITS = Limits()


class Progress:
    """The latest call of a group of copies, in ``memory``: three numbers, which processes can share."""

    SIZE = 3

    def __init__(self, memory: MutableSequence[float] | Any = None) -> None:
        self._memory = [0.0] * self.SIZE if memory is None else memory

    def begin(self, copy: int, call: int, delay: float = 0.0) -> None:
        """Records that ``call`` of a copy begins, in ``delay`` seconds."""
        memory = self._memory
        memory[0], memory[1], memory[2] = copy, call, time.monotonic() + delay

    @property
    def begun(self) -> float:
        """The time at which the latest call began."""
        return self._memory[2]

    @property
    def latest(self) -> str:
        """The latest call and its copy, for messages."""
        return f"in {CALLS[int(self._memory[1])]} (copy {int(self._memory[0])})"

    def overdue(self, key: str, timeout: float) -> str:
        """The message about a call that takes too long."""
        return f"environment {key} took longer than {timeout:g} s (env_timeout) {self.latest}"


class Overdue(BaseException):
    """Interrupts a call. No ``Exception``, which an environment may catch."""


INTERRUPTS = (KeyboardInterrupt, Overdue)


class TimeLimit:
    """Raises EnvError if a call inside the block takes longer than ``timeout`` seconds.

    A timer signal interrupts the call: only in the main thread, on POSIX, and not inside compiled code that does
    not return. There, only worker processes are limited, which are killed.

    Setting a handler takes longer than a step of a small environment. So the timer goes on after the block, and the
    handler remains until the timer ends or ``release`` is called, unless the program uses the timer itself.
    """

    owner: ClassVar[TimeLimit | None] = None  # whose handler is set
    replaced: ClassVar[Any] = None  # the handler of the program

    def __init__(self, key: str, timeout: float, progress: Progress) -> None:
        self._key, self._timeout, self._progress = key, timeout, progress
        self._is_inside = False
        self._timer = (0.0, 0.0)  # of the program

    def __enter__(self) -> None:
        if not self._timeout or not HAS_TIMER or threading.current_thread() is not threading.main_thread():
            return
        self._entered = time.monotonic()
        self._is_inside = True
        if TimeLimit.owner is not self or not signal.getitimer(signal.ITIMER_REAL)[0]:
            self._set()

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._is_inside = False
        if self._timer[0]:
            self.release()
        if isinstance(error, Overdue):
            raise EnvError(self._progress.overdue(self._key, self._timeout)) from None

    def release(self) -> None:
        """Restores the program's timer and handler."""
        if TimeLimit.owner is not self:
            return
        (delay, interval), self._timer = self._timer, (0.0, 0.0)
        if delay:
            delay = max(delay - (time.monotonic() - self._entered), 1e-3)
        signal.setitimer(signal.ITIMER_REAL, delay, interval)
        if signal.getsignal(signal.SIGALRM) == self._check:  # else the program has set another one
            signal.signal(signal.SIGALRM, TimeLimit.replaced)
        TimeLimit.owner = None

    def _set(self) -> None:
        if TimeLimit.owner is not None:
            TimeLimit.owner.release()
        TimeLimit.owner, TimeLimit.replaced = self, signal.signal(signal.SIGALRM, self._check)
        self._timer = signal.setitimer(signal.ITIMER_REAL, self._timeout)

    def _check(self, number: int, frame: FrameType | None) -> None:
        if not self._is_inside:
            self.release()
            return
        left = self._timeout - (time.monotonic() - max(self._progress.begun, self._entered))
        signal.setitimer(signal.ITIMER_REAL, max(left, 1.0))  # again, if the environment catches the exception
        if left <= 0:
            raise Overdue


class Call:
    """A call of one copy: records its begin, and turns an error of the environment into an EnvError of one line."""

    def __init__(self, key: str, copy: int, call: int, progress: Progress) -> None:
        self._key, self._copy, self._call, self._progress = key, copy, call, progress

    def __enter__(self) -> None:
        self._progress.begin(self._copy, self._call)

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None:
            self.blame(error)

    def blame(self, error: BaseException) -> None:
        """Raises the EnvError; does nothing if the call was interrupted."""
        if isinstance(error, INTERRUPTS):
            return
        if isinstance(error, EnvError):  # about a value that the environment returned
            raise EnvError(f"environment {self._key} (copy {self._copy}): {error}") from error
        call = CALLS[self._call]
        raise EnvError(f"environment {self._key} raised in {call} (copy {self._copy}): {describe(error)}") from error
