"""Where the runs of a sweep are made: ``engine=local`` starts processes on this machine."""

import signal
import subprocess
from contextlib import suppress
from typing import Protocol

from ..types import OmarlError
from .process import Task, start


class Engine(Protocol):
    """Makes runs, several at a time. ``Key`` numbers a run."""

    def start(self, key: int, task: Task) -> None:
        """Begins a run."""
        ...

    def ended(self) -> dict[int, int | OmarlError]:
        """The exit status of the runs that have ended since the last call, or the error that prevented them."""
        ...

    def stop(self, keys: list[int]) -> None:
        """Lets these runs save a checkpoint and end; returns at once."""
        ...

    def kill(self) -> None:
        """Ends all runs at once."""
        ...


class LocalEngine:
    """Processes on this machine."""

    def __init__(self) -> None:
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.refused: dict[int, int | OmarlError] = {}

    def start(self, key: int, task: Task) -> None:
        """Begins a run."""
        try:
            self.processes[key] = start(task)
        except OmarlError as error:
            self.refused[key] = error

    def ended(self) -> dict[int, int | OmarlError]:
        """See ``Engine``."""
        done: dict[int, int | OmarlError] = self.refused
        self.refused = {}
        done |= {key: code for key, process in self.processes.items() if (code := process.poll()) is not None}
        for key in done:
            self.processes.pop(key, None)
        return done

    def stop(self, keys: list[int]) -> None:
        """Sends SIGTERM: the run saves a checkpoint after its current update."""
        for key in keys:
            self.processes[key].terminate()

    def kill(self) -> None:
        """Sends SIGKILL."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
