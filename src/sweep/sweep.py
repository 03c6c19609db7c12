"""The command ``sweep``: makes every run of a plan, several at a time, and continues an earlier sweep."""

import shlex
import time
from pathlib import Path

from ..analysis.comparison import words
from ..envs.make import cores
from ..types import OmarlError, TrainingError
from ..utils.files import writable
from ..utils.metrics import Logger
from ..utils.run_directory import locked
from .engines import Engine, LocalEngine
from .folder import Folder, Status
from .keys import SweepConfig, default_folder
from .plan import Job, jobs_of, settings_of
from .process import is_finished, task_of, why
from .table import Table, headline

TICK = 0.2  # seconds between two looks at the processes
READ = 2.0  # seconds between two looks at the runs' metrics


def sweep(config: SweepConfig, logger: Logger) -> str:
    """Makes all runs and returns the commands that read them.

    Raises:
        ConfigError: anything that cannot run, before the first run starts.
        TrainingError: runs have failed; all others are finished.
        KeyboardInterrupt: after the running ones have saved a checkpoint.
    """
    out = Path(config.out).expanduser() if config.out else default_folder(
        config, words(config.configs), words(config.envs))  # fmt: skip
    out = out.absolute()
    jobs = jobs_of(config, settings_of(config), out)
    writable(out, "out")
    with locked(out, "out"):
        made = Sweep(config, jobs, Folder(out), logger)
        made.run()
    if made.failed:
        raise TrainingError(f"{len(made.failed)} of {len(jobs)} runs failed; their output is in {made.folder.logs}")
    return f"python main.py compare with runs={shlex.quote(str(out))} out={shlex.quote(str(out / 'comparison'))}"


class Sweep:
    """A sweep in progress."""

    def __init__(self, config: SweepConfig, jobs: list[Job], folder: Folder, logger: Logger) -> None:
        self.jobs, self.folder = jobs, folder
        self.say = logger.console_logger.info
        self.at_once = cores() if config.jobs == "auto" else config.jobs
        self.one_core = 2 * self.at_once > cores()  # no core is left for worker processes of a run
        self.statuses = [Status() for _ in jobs]
        self.running: dict[int, Job] = {}
        self.engine: Engine = LocalEngine()
        self.table = Table(self.at_once, self.say)
        self.read_at = 0.0

    @property
    def failed(self) -> list[int]:
        """The runs that have failed."""
        return [i for i, status in enumerate(self.statuses) if status.state == "failed"]

    def run(self) -> None:
        """Makes all runs that are not finished."""
        self.say(f"{len(self.jobs)} runs, {self.at_once} at a time, in {self.folder.path}")
        for job, status in zip(self.jobs, self.statuses, strict=True):
            if is_finished(job):
                status.state = "finished"
                status.read(job)
        waiting = [i for i, status in enumerate(self.statuses) if status.state == "waiting"]
        if len(waiting) < len(self.jobs):
            self.say(f"{len(self.jobs) - len(waiting)} of them are finished already")
        self.changed()
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self.at_once:
                    self.start(waiting.pop(0))
                self.look()
        except KeyboardInterrupt:
            self.stop()
            raise
        finally:
            self.summarise()

    def start(self, i: int) -> None:
        """Begins or continues a run."""
        job = self.jobs[i]
        self.running[i] = job
        self.statuses[i].state = "running"
        self.engine.start(i, task_of(job, self.folder.log(job), self.one_core))
        self.changed()

    def look(self) -> None:
        """Waits a moment; notes which runs have ended and how far the others are."""
        time.sleep(TICK)
        ended = self.engine.ended()
        for i, result in ended.items():
            self.finish(i, result)
        if ended:
            self.changed()
        elif time.monotonic() - self.read_at >= READ:
            self.read_at = time.monotonic()
            for i, job in self.running.items():
                self.statuses[i].read(job)
            self.table.show(self.jobs, self.statuses)

    def finish(self, i: int, result: int | OmarlError) -> None:
        """Notes how a run has ended."""
        job, status = self.running.pop(i), self.statuses[i]
        status.read(job)
        if isinstance(result, OmarlError):
            status.state, status.message = "failed", str(result)
        elif result == 0:
            status.state = "finished"
        elif result == 130:
            status.state = "stopped"
        else:
            status.state, status.message = "failed", why(self.folder.log(job), result)

    def changed(self) -> None:
        """Shows and stores the states of all runs."""
        self.table.show(self.jobs, self.statuses)
        self.folder.write(self.jobs, self.statuses)

    def stop(self) -> None:
        """Lets the running runs save a checkpoint and end; a second Ctrl-C ends them at once."""
        self.say("stopping: the running runs save a checkpoint; Ctrl-C stops at once, without one")
        try:
            self.engine.stop(list(self.running))
            while self.running:
                self.look()
        except KeyboardInterrupt:
            self.engine.kill()

    def summarise(self) -> None:
        """Prints the counts, and the reason of each failure."""
        self.folder.write(self.jobs, self.statuses)
        if not self.table.live:
            self.say(headline(self.jobs, self.statuses, self.at_once))
        for i in self.failed:
            self.say(f"failed: {self.jobs[i].name}: {self.statuses[i].message}")
        if any(status.state in ("stopped", "running", "waiting") for status in self.statuses):
            self.say("to continue, give the same command again")
