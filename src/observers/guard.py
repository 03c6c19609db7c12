"""Sacred observers by name, guarded: they start with the run, and a failure of theirs does not stop it."""

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from sacred.observers import RunObserver

from ..registry import resolve
from ..types import ConfigError

log = logging.getLogger(__name__)

PICTURE = "curves.png"  # of a run's folder


def observers_named(names: Sequence[str] | str) -> list["Guard"]:
    """The observers that the key ``observers`` names.

    Raises:
        ConfigError: a name is unknown, or its package is not installed.
    """
    guards = []
    listed = [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names
    for name in dict.fromkeys(listed):
        made = resolve("observer", name)
        package = getattr(made, "package", "")
        if package and not find_spec(package):
            raise ConfigError(f"observers: {name} needs a package that is missing; pip install {package}")
        guards.append(Guard(name, made))
    return guards


def in_one_line(error: Exception) -> str:
    """The kind of an error and the first line of its text."""
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}".removesuffix(": ")[:300]


class Guard(RunObserver):
    """Passes Sacred's events on to an observer. After an error in one of them it passes none on any more.

    Sacred calls ``log_metrics`` every ten seconds in a thread of its own, so a slow network does not slow the
    training down.

    Attributes:
        priority: below that of the run's folder, so that the folder is known first.
    """

    priority = 10

    def __init__(self, name: str, made: Any) -> None:
        """``made``: its class, which is called with the run's folder."""
        self.name, self.made = name, made
        self.observer: Any = None
        self.start: Mapping[str, Any] = {}
        self.lock = Lock()

    def started_event(self, **start: Any) -> Any:
        """Keeps the event until ``begin``, which can refuse to start the run. The run keeps its own id."""
        self.start = start
        return start["_id"]

    def begin(self, folder: Path) -> str:
        """Starts the observer of the run in ``folder``; returns where the run can be seen, in words.

        Raises:
            ConfigError: it cannot be started, for example because its server does not answer.
        """
        try:
            observer = self.made(folder)
            observer.started_event(**{**self.start, "_id": None})
        except Exception as error:
            raise ConfigError(f"observers: {self.name} cannot start ({in_one_line(error)})") from error
        self.observer = observer
        return f"{self.name}: {getattr(observer, 'where', 'started')}"

    def send(self, event: str, **content: Any) -> None:
        """Passes an event on; an error ends the observer with one notice."""
        with self.lock:
            passed = getattr(self.observer, event, None)
            if passed is None:
                return
            try:
                passed(**content)
            except Exception as error:
                self.observer = None
                log.warning("%s receives no more of this run (%s); the run's folder has everything", self.name,
                            in_one_line(error))  # fmt: skip

    def send_picture(self, folder: Path) -> None:
        """Sends the picture of the run's curves, if it was drawn."""
        picture = folder / PICTURE
        if picture.is_file():
            self.send("artifact_event", name=PICTURE, filename=str(picture), metadata=None, content_type="image/png")

    def log_metrics(self, **content: Any) -> None:
        """The values since the last call."""
        self.send("log_metrics", **content)

    def heartbeat_event(self, **content: Any) -> None:
        """The output so far."""
        self.send("heartbeat_event", **content)

    def artifact_event(self, **content: Any) -> None:
        """A file."""
        self.send("artifact_event", **content)

    def completed_event(self, **content: Any) -> None:
        """The run has ended."""
        self.send("completed_event", **content)

    def interrupted_event(self, **content: Any) -> None:
        """The run was interrupted."""
        self.send("interrupted_event", **content)

    def failed_event(self, **content: Any) -> None:
        """The run has failed."""
        self.send("failed_event", **content)

    def join(self) -> None:
        """Waits until everything is sent."""
        self.send("join")
