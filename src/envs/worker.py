"""One worker process: its main function, and its parent's end."""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from ..types import EnvError, EnvInfo, OmarlError
from .adapter import Adapter
from .arrays import lay_out
from .copies import Copies, Ledger
from .messages import describe
from .watch import MAKE, Progress

START_SECONDS = 60.0  # for a new process, before it makes its copies
PR_SET_PDEATHSIG = 1  # Linux: the signal that a process receives when the thread that started it ends


class WorkerFaultError(EnvError):
    """A worker has died, or a call takes too long."""


class Task(NamedTuple):
    """The arguments of a worker, which makes the copies ``indices`` of ``n_envs``.

    ``arrays``, ``episodes`` and ``progress`` are shared memory: see ``lay_out`` and ``Ledger``.
    """

    make: Callable[[], Adapter]
    info: EnvInfo
    n_envs: int
    indices: range
    seed: int
    arrays: Any
    episodes: Any
    progress: Any


class Worker:
    """A worker process, as its parent uses it. ``timeout``: most seconds of one call of one copy, 0 for no limit."""

    def __init__(self, context: Any, task: Task, timeout: float) -> None:
        self.copies = slice(task.indices.start, task.indices.stop)
        self._context, self._task, self._timeout = context, task, timeout
        self._progress = Progress(task.progress)
        self._process: Any = None
        self._connection: Any = None
        self._sent = 0.0

    def start(self) -> None:
        """Starts the process, which answers once when it has made its copies."""
        self._connection, theirs = self._context.Pipe()
        is_main = threading.current_thread() is threading.main_thread()
        args = (theirs, self._task, is_main)
        self._progress.begin(self._task.indices.start, MAKE, START_SECONDS)
        process = self._context.Process(target=_work, args=args, daemon=True)
        with _hidden_main(self._task.make):
            process.start()
        self._process = process
        theirs.close()

    def send(self, call: str, *arguments: Any) -> None:
        """Sends a call; the death of the worker is noticed by ``receive``."""
        self._sent = time.monotonic()
        with suppress(OSError):
            self._connection.send_bytes(pickle.dumps((call, *arguments)))

    def receive(self) -> Any:
        """The result of the last call.

        Raises:
            OmarlError: an error in the worker.
            WorkerFaultError: the worker has died, or a call takes too long.
        """
        wait = self._timeout or None
        try:
            while not self._connection.poll(wait):
                wait = self._timeout - (time.monotonic() - max(self._sent, self._progress.begun))
                if wait <= 0:
                    raise WorkerFaultError(self._progress.overdue(self._task.info.key, self._timeout))
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._death() from None
        return _result(answer)

    def end(self, deadline: float) -> str:
        """Waits until the time ``deadline``, then kills the process. Returns what was wrong, or an empty text."""
        if self._process is None:
            return ""
        self._process.join(max(0.0, deadline - time.monotonic()))
        fault = f"{self._name} did not close and was killed" if self._process.is_alive() else self._last_error()
        self.kill()
        return fault

    def kill(self) -> None:
        """Kills the process and the processes that its environments have started, and frees its pipe."""
        with suppress(OSError, AttributeError):  # the process may have ended; Windows has no groups
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()
        self._process = None

    @property
    def _name(self) -> str:
        first, last = self._task.indices[0], self._task.indices[-1]
        return f"environment {self._task.info.key}: the worker of copies {first} to {last}"

    def _death(self) -> WorkerFaultError:
        self._process.join(2.0)
        return WorkerFaultError(f"{self._name} died (exit code {self._process.exitcode}), {self._progress.latest}")

    def _last_error(self) -> str:
        """The error in the worker's last answer, if it is one."""
        try:
            while self._connection.poll():
                _result(self._connection.recv_bytes())
        except OmarlError as error:
            return str(error)
        except (EOFError, OSError):
            pass
        return ""


class _Failure(NamedTuple):
    kind: type[OmarlError]
    message: str


def _result(answer: bytes) -> Any:
    result = pickle.loads(answer) if answer else None
    if isinstance(result, _Failure):
        raise result.kind(result.message)
    return result


def _work(connection: Connection, task: Task, parent_is_main: bool) -> None:
    """Makes a worker's copies, then answers calls until the parent sends ``close`` or closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    warnings.filterwarnings("ignore", message="overflow encountered in cast")  # an error reports it
    _end_with_parent(parent_is_main)
    copies: Copies | None = None
    progress = Progress(task.progress)
    call = ""
    with suppress(EOFError, OSError):
        try:
            rows = slice(task.indices.start, task.indices.stop)
            episodes = np.frombuffer(task.episodes, np.int64)[rows]
            arrays = lay_out(task.info, task.n_envs, task.arrays).rows(rows)
            copies = Copies(task.make, task.info, task.indices, arrays, task.seed, ledger=Ledger(episodes, progress))
            connection.send_bytes(b"")
            while call != "close":
                call, *arguments = pickle.loads(connection.recv_bytes())
                result = getattr(copies, call)(*arguments)
                connection.send_bytes(b"" if result is None else pickle.dumps(result))
        except OmarlError as error:
            connection.send_bytes(pickle.dumps(_Failure(type(error), str(error))))
        except (KeyboardInterrupt, SystemExit) as error:
            message = f"environment {task.info.key} raised {describe(error)} {progress.latest}"
            connection.send_bytes(pickle.dumps(_Failure(EnvError, message)))
    if copies is not None and call != "close":
        with suppress(EnvError):
            copies.close()


def _end_with_parent(parent_is_main: bool) -> None:
    """Ends this process and those that it starts when the parent ends, even if the parent is killed.

    Everywhere a thread waits for the parent. On Linux the kernel also sends a signal, because compiled code can keep
    the thread from running; it sends it when the starting thread ends, so only the main thread may ask for it.
    """
    parent = multiprocessing.parent_process()
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)

    def wait() -> None:
        if parent is not None:
            parent.join()
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
    if parent_is_main and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _hidden_main(make: Any) -> Iterator[None]:
    """Keeps workers from importing the main module, and with it torch and Sacred, which takes seconds.

    A spawned process first imports its parent's main module, in case its target is defined there.
    """
    target = make.args[0] if getattr(make, "args", ()) else make
    if getattr(target, "__module__", None) == "__main__":
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
