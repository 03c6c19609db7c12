"""Copies in worker processes: divides the copies over the workers, and replaces workers that hang or die."""

import logging
import multiprocessing
import pickle
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ..types import Arrays, ConfigError, EnvError, EnvInfo
from .adapter import Adapter
from .arrays import lay_out, n_bytes
from .watch import Limits, Progress
from .worker import Task, Worker, WorkerFaultError

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0  # for workers to close their environments, before they are killed


class Workers:
    """Splits the copies over processes; the arrays are in memory that all of them map.

    The memory has no name in the file system, so it is freed even if a process is killed. ``make`` must
    be picklable, and ``n_workers`` at most E; see ``Copies``.

    A worker that dies, or in which a call of a copy exceeds ``limits.timeout``, is replaced, at most
    ``limits.restarts`` times in all. Its copies then begin their next episodes; if that happens in a step, their
    ``truncated`` is True and ``lost`` [E] marks them until the next step.

    Raises:
        ConfigError: ``make`` cannot be sent to another process.
        EnvError: a worker cannot make its copies.
    """

    def __init__(
        self, make: Callable[[], Adapter], info: EnvInfo, n_envs: int, n_workers: int, seed: int, limits: Limits
    ) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads' locks
        memory, episodes = context.RawArray("B", n_bytes(info, n_envs)), context.RawArray("q", n_envs)
        self.arrays: Arrays = lay_out(info, n_envs, memory)
        self.lost = np.zeros(n_envs, np.bool_)
        self._limits, self._restarts = limits, 0
        self._workers: list[Worker] = []
        try:
            for start, stop in pairwise(n_envs * i // n_workers for i in range(n_workers + 1)):
                shared = memory, episodes, context.RawArray("d", Progress.SIZE)
                task = Task(make, info, n_envs, range(start, stop), seed, *shared)
                self._workers.append(Worker(context, task, limits.timeout))
                self._workers[-1].start()
            for worker in self._workers:
                worker.receive()
        except BaseException as error:
            self._end()
            if not isinstance(error, pickle.PicklingError | AttributeError):
                raise
            raise ConfigError(
                f"environment {info.key} cannot be sent to worker processes ({error}): define it at the top "
                "of a module, or run it in this process with no workers"
            ) from error

    def reset(self, chosen: list[bool] | None = None) -> None:
        """As ``Copies.reset``, in every worker at once."""
        self._all("reset", *([] if chosen is None else [chosen]))

    def step(self) -> None:
        """As ``Copies.step``, in every worker at once."""
        self.lost[:] = False
        self._all("step")

    def state(self) -> list[dict[str, Any]]:
        """As ``Copies.state``."""
        return self._all("state")

    def replay(self, states: list[dict[str, Any]]) -> list[bool]:
        """As ``Copies.replay``, in every worker at once."""
        return self._all("replay", states)

    def close(self) -> None:
        """Ends the workers: those that do not end by themselves are killed.

        Raises:
            EnvError: an environment failed in its ``close``, or did not return.
        """
        for fault in self._end():
            raise EnvError(fault)

    def _end(self) -> list[str]:
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.send("close")
        deadline = time.monotonic() + GRACE_SECONDS
        return [fault for worker in workers if (fault := worker.end(deadline))]

    def _all(self, call: str, *arguments: list[Any]) -> list[Any]:
        """Makes a call in every worker, with the part of the arguments that belongs to its copies."""
        results: list[Any] = []
        for worker in self._workers:
            worker.send(call, *(argument[worker.copies] for argument in arguments))
        for worker in self._workers:
            try:
                results += worker.receive() or []
            except WorkerFaultError as fault:
                if call not in ("reset", "step"):
                    raise
                self._replace(worker, fault)
                if call == "step":
                    self.lost[worker.copies] = True
        return results

    def _replace(self, worker: Worker, fault: WorkerFaultError) -> None:
        """Starts a worker anew, and an episode in each of its copies."""
        done = False
        while not done:
            most = self._limits.restarts
            if self._restarts >= most:
                raise EnvError(f"{fault}, after {most} restarts (env_restarts)" if most else str(fault))
            self._restarts += 1
            log.warning("%s: restart %d of %d; its episodes are dropped", fault, self._restarts, most)
            worker.kill()
            try:
                worker.start()
                worker.receive()
                worker.send("reset")
                worker.receive()
                done = True
            except WorkerFaultError as another:
                fault = another
        self.arrays.reward[worker.copies] = 0.0
        self.arrays.terminated[worker.copies], self.arrays.truncated[worker.copies] = False, True
