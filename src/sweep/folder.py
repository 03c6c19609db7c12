"""The folder of a sweep: its manifest ``sweep.json``, its runs, their output."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.runs import METRICS, parsed
from ..config.files import read_json
from ..types import ConfigError
from ..utils.run_directory import write_json
from .plan import Job

MANIFEST = "sweep.json"
TAIL = 2**16  # bytes at the end of a run's metrics in which its last numbers are sought
RETURNS = ("test_return_mean", "return_mean")


@dataclass
class Status:
    """What is known of one run.

    Attributes:
        state: waiting, running, finished, failed, stopped (by the sweep's end) or pruned.
        message: why it failed.
        t_env: environment steps so far.
        score: the last test's return, or the last training return; None before the first.
        wall_s: seconds that it has run, as it logs them.
    """

    state: str = "waiting"
    message: str = ""
    t_env: int = 0
    score: float | None = None
    wall_s: float = 0.0

    def read(self, job: Job) -> None:
        """Reads the run's progress from the end of its metrics."""
        scores: dict[str, float] = {}
        for row in reversed(last_rows(job.run / METRICS)):
            if not self.t_env or row["t_env"] > self.t_env:
                self.t_env, self.wall_s = int(row["t_env"]), float(row.get("wall_s") or 0.0)
            for name in RETURNS:
                if row.get(name) is not None:
                    scores.setdefault(name, float(row[name]))
            if RETURNS[0] in scores:
                break
        self.score = next((scores[name] for name in RETURNS if name in scores), self.score)

    def seconds_left(self, t_max: int) -> float | None:
        """The time until the run's end at its speed so far; None if that is unknown."""
        if self.state == "waiting" or not self.t_env or not self.wall_s:
            return None
        return max(0.0, (t_max - self.t_env) * self.wall_s / self.t_env)


def last_rows(path: Path) -> list[dict[str, Any]]:
    """The last lines of a run's metrics; none if there is no file."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    rows = [parsed(line) for line in lines]
    return [row for row in rows if row is not None and isinstance(row.get("t_env"), int)]


class Folder:
    """A sweep's folder on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"

    def log(self, job: Job) -> Path:
        """The file with the output of a run."""
        return self.logs / f"{job.run.parent.parent.name}_{job.run.parent.name}_{job.id}.txt"

    def write(self, jobs: Sequence[Job], statuses: Sequence[Status]) -> None:
        """Writes the manifest. Runs of an earlier sweep in the same folder stay in it."""
        try:
            earlier = read_json(self.path / MANIFEST).get("runs", {})
        except ConfigError:  # there is none, or it is damaged
            earlier = {}
        runs = {
            str(job.run.relative_to(self.path)): {
                "command": job.command(),
                "config": job.config,
                "env": job.env,
                "seed": job.seed,
                "setting": job.setting,
                "state": status.state,
                "message": status.message,
            }
            for job, status in zip(jobs, statuses, strict=True)
        }
        write_json(self.path / MANIFEST, {"runs": {**earlier, **runs}})
