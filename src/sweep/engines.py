"""Where the runs of a sweep are made: as processes on this machine, or as tasks of Ray on several."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Protocol

from ..envs.make import cores
from ..types import ConfigError, OmarlError, TrainingError
from .process import Task, execute, start

Result = int | OmarlError  # a run's exit status, or the error that prevented it
INTERRUPTED = 130  # the exit status of a run that was asked to stop
STOPPED = (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM)  # the others: a run that had not yet begun to listen
RETRIES = 3  # times that Ray makes a task again whose worker or machine has died


class Engine(Protocol):
    """Makes runs, several at a time. A number names a run.

    Attributes:
        slots: how many runs at a time.
    """

    slots: int

    def start(self, number: int, task: Task) -> None:
        """Begins a run."""
        ...

    def ended(self) -> dict[int, Result]:
        """The results of the runs that have ended since the last call."""
        ...

    def stop(self, number: int) -> None:
        """Lets a run save a checkpoint and end; returns at once."""
        ...

    def kill(self) -> None:
        """Ends all runs at once."""
        ...

    def close(self) -> None:
        """Frees what the engine holds."""
        ...


class LocalEngine:
    """Processes on this machine."""

    def __init__(self, jobs: int | Literal["auto"], address: str = "") -> None:
        if address:
            raise ConfigError("address: only engine=ray has one")
        self.slots = cores() if jobs == "auto" else jobs
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.refused: dict[int, Result] = {}

    def start(self, number: int, task: Task) -> None:
        """Begins a run."""
        try:
            self.processes[number] = start(task)
        except OmarlError as error:
            self.refused[number] = error

    def ended(self) -> dict[int, Result]:
        """See ``Engine``."""
        done, self.refused = self.refused, {}
        done |= {number: code for number, process in self.processes.items() if (code := process.poll()) is not None}
        for number in done:
            self.processes.pop(number, None)
        return done

    def stop(self, number: int) -> None:
        """Sends SIGTERM: the run saves a checkpoint after its current update."""
        if number in self.processes:
            self.processes[number].terminate()

    def kill(self) -> None:
        """Sends SIGKILL."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Holds nothing."""


class RayEngine:
    """Tasks of Ray, one core each; those whose worker or machine dies are made again, from their last checkpoint.

    All machines need omarl and one file system, on which the sweep's folder has the same path.
    """

    def __init__(self, jobs: int | Literal["auto"], address: str = "") -> None:
        """``address``: of a cluster ("auto": the one that this machine belongs to); "": a new one on this machine.

        Raises:
            ConfigError: Ray is missing, or there is no cluster at the address.
        """
        try:
            import ray
        except ImportError:
            raise ConfigError("engine: ray is missing; pip install 'omarl[ray]'") from None
        self.ray: Any = ray
        own = {"address": address} if address else {"num_cpus": cores() if jobs == "auto" else jobs}
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # runs may use the GPU (use_cuda)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**own, include_dashboard=None if address else False, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"address: no Ray at {address!r} ({str(error).splitlines()[0]})") from None
        signal.signal(signal.SIGTERM, handler)  # Ray's own would end the sweep without a word
        self.slots = int(ray.cluster_resources().get("CPU", 1)) if jobs == "auto" else jobs
        self.task = ray.remote(num_cpus=1, max_retries=RETRIES)(execute)
        self.running: dict[Any, int] = {}

    def start(self, number: int, task: Task) -> None:
        """Begins a run."""
        self.running[self.task.remote(task)] = number

    def ended(self) -> dict[int, Result]:
        """See ``Engine``."""
        if not self.running:
            return {}
        ready, _ = self.ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
        return {self.running.pop(reference): self._result(reference) for reference in ready}

    def _result(self, reference: Any) -> Result:
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except errors.TaskCancelledError:
            return INTERRUPTED
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, KeyboardInterrupt):
                return INTERRUPTED
            return cause if isinstance(cause, OmarlError) else TrainingError(str(error).splitlines()[-1])
        except errors.RayError as error:
            return TrainingError(f"Ray gave up after {RETRIES} retries ({str(error).splitlines()[0]})")

    def stop(self, number: int) -> None:
        """Interrupts the task, which passes it on to the run."""
        for reference in [each for each, its in self.running.items() if its == number]:
            self.ray.cancel(reference)

    def kill(self) -> None:
        """Ends the workers, and with them the runs."""
        for reference in self.running:
            self.ray.cancel(reference, force=True)

    def close(self) -> None:
        """Disconnects; ends a cluster that was started for this sweep."""
        self.ray.shutdown()


ENGINES: dict[str, Callable[[int | Literal["auto"], str], Engine]] = {"local": LocalEngine, "ray": RayEngine}
