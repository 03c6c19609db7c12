"""Worker processes: each steps a group of copies and writes their rows into memory shared with the parent."""

import multiprocessing
import pickle
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

from ..types import ConfigError, EnvError, EnvInfo
from .adapter import Adapter
from .arrays import Arrays, lay_out, n_bytes
from .copies import Copies

_GRACE_SECONDS = 2.0  # for a worker to close its environments, before it is killed


class Workers:
    """Splits the copies over processes; the arrays are in memory that all of them map.

    The memory has no name in the file system, so it is freed even if a process is killed. ``make`` must
    be picklable, and ``n_workers`` at most E; see ``Copies``.

    Raises:
        ConfigError: ``make`` cannot be sent to another process.
        EnvError: a worker cannot make its copies.
    """

    def __init__(self, make: Callable[[], Adapter], info: EnvInfo, n_envs: int, n_workers: int, seed: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads' locks
        memory = context.RawArray("B", n_bytes(info, n_envs))
        self.arrays: Arrays = lay_out(info, n_envs, memory)
        self._key = info.key
        self._workers: list[tuple[Any, Connection, range]] = []
        bounds = [n_envs * i // n_workers for i in range(n_workers + 1)]
        try:
            with _hidden_main(make):
                for first, end in pairwise(bounds):
                    parent_end, worker_end = context.Pipe()
                    args = (worker_end, make, info, memory, n_envs, range(first, end), seed)
                    process = context.Process(target=_work, args=args, daemon=True)
                    process.start()
                    worker_end.close()
                    self._workers.append((process, parent_end, range(first, end)))
            self._gather()
        except (pickle.PicklingError, AttributeError) as error:
            self.close()
            raise ConfigError(
                f"environment {info.key} cannot be sent to worker processes ({error}): define it at the top "
                "of a module, or run it in this process with no workers"
            ) from error
        except BaseException:
            self.close()
            raise

    def reset(self) -> None:
        """As ``Copies.reset``, in every worker at once."""
        self._all(b"reset")

    def step(self) -> None:
        """As ``Copies.step``, in every worker at once."""
        self._all(b"step")

    def close(self) -> None:
        """Ends the workers: those that do not end by themselves are killed."""
        workers, self._workers = self._workers, []
        for _, connection, _ in workers:
            connection.close()  # a worker ends when its input ends
        deadline = time.monotonic() + _GRACE_SECONDS
        for process, _, _ in workers:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    def _all(self, call: bytes) -> None:
        for process, connection, copies in self._workers:
            try:
                connection.send_bytes(call)
            except OSError:
                raise self._death(process, copies) from None
        self._gather()

    def _gather(self) -> None:
        """Waits for every worker's answer: empty, or the pickled error, which is raised."""
        for process, connection, copies in self._workers:
            try:
                answer = connection.recv_bytes()
            except (EOFError, OSError):
                raise self._death(process, copies) from None
            if answer:
                kind, message = pickle.loads(answer)
                raise kind(message)

    def _death(self, process: Any, copies: range) -> EnvError:
        process.join(_GRACE_SECONDS)
        return EnvError(
            f"environment {self._key}: the worker of copies {copies[0]} to {copies[-1]} died "
            f"(exit code {process.exitcode})"
        )


def _work(
    connection: Connection,
    make: Callable[[], Adapter],
    info: EnvInfo,
    memory: Any,
    n_envs: int,
    indices: range,
    seed: int,
) -> None:
    """Makes a worker's copies, then answers calls until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    copies: Copies | None = None
    with suppress(EOFError, OSError):
        try:
            rows = lay_out(info, n_envs, memory).rows(slice(indices.start, indices.stop))
            copies = Copies(make, info, indices, rows, seed, own_process=True)
            connection.send_bytes(b"")
            while True:
                getattr(copies, connection.recv_bytes().decode())()
                connection.send_bytes(b"")
        except (ConfigError, EnvError) as error:
            connection.send_bytes(pickle.dumps((type(error), str(error))))
    if copies is not None:
        copies.close()


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
