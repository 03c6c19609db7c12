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
from .engines import ENGINES, STOPPED, Engine, Result
from .folder import Folder, Status
from .keys import SweepConfig, default_folder
from .plan import Job, jobs_of, settings_of
from .process import is_finished, task_of, why
from .search import Search
from .table import Table, headline

TICK = 0.2  # seconds between two looks at the processes
READ = 2.0  # seconds between two looks at the runs' metrics


def sweep(config: SweepConfig, logger: Logger) -> str:
    """Makes all runs and returns the command that reports them.

    Raises:
        ConfigError: anything that cannot run, before the first run starts.
        TrainingError: runs have failed; all others are finished.
        KeyboardInterrupt: after the running ones have saved a checkpoint.
    """
    out = Path(config.out).expanduser() if config.out else default_folder(
        config, words(config.configs), words(config.envs))  # fmt: skip
    out = out.absolute()
    search = Search(config, out) if config.search else None
    jobs = [] if search else jobs_of(config, settings_of(config), out)
    writable(out, "out")
    with locked(out, "out"):
        engine = ENGINES[config.engine](config.jobs, config.address)
        try:
            made = Sweep(jobs, engine, Folder(out), logger, search)
            made.run()
        finally:
            engine.close()
    if made.failed:
        raise TrainingError(f"{len(made.failed)} of {len(made.jobs)} runs failed; their output is in {out / 'logs'}")
    page = shlex.quote(str(out / "report.html"))
    return f"next, show the study: python main.py report with runs={shlex.quote(str(out))} out={page}"


class Sweep:
    """A sweep in progress: the runs of ``jobs``, or those that a search asks for."""

    def __init__(
        self, jobs: list[Job], engine: Engine, folder: Folder, logger: Logger, search: Search | None = None
    ) -> None:
        self.jobs: list[Job] = []
        self.statuses: list[Status] = []
        self.waiting: list[int] = []
        self.running: set[int] = set()
        self.engine, self.folder, self.search = engine, folder, search
        self.one_core = 2 * engine.slots > cores()  # no core is left for worker processes of a run
        self.table = Table(engine.slots, logger.console_logger.info)
        self.read_at = 0.0
        self.add(jobs)

    @property
    def failed(self) -> list[int]:
        """The runs that have failed."""
        return [i for i, status in enumerate(self.statuses) if status.state == "failed"]

    def status_of(self, job: Job) -> Status:
        """The status of a run."""
        return self.statuses[next(i for i, each in enumerate(self.jobs) if each.run == job.run)]

    def add(self, jobs: list[Job]) -> None:
        """Adds runs, and notes which of them an earlier sweep has finished."""
        known = {job.run for job in self.jobs}
        for job in (job for job in jobs if job.run not in known):
            status = Status()
            if is_finished(job):
                status.state = "finished"
                status.read(job)
            else:
                self.waiting.append(len(self.jobs))
            self.jobs.append(job)
            self.statuses.append(status)

    def run(self) -> None:
        """Makes all runs that are not finished."""
        if self.search:
            self.search.open(self.table.note)
        what = f"{len(self.jobs)} runs" if self.jobs else "a search"
        self.table.note(f"{what}, {self.engine.slots} runs at a time, in {self.folder.path}")
        if len(self.waiting) < len(self.jobs):
            self.table.note(f"{len(self.jobs) - len(self.waiting)} of them are finished already")
        self.changed()
        try:
            while self.fill() or self.running:
                self.look()
        except KeyboardInterrupt:
            self.stop()
            raise
        finally:
            self.summarise()

    def fill(self) -> bool:
        """Starts runs until every slot is taken; whether any run is left to make."""
        while len(self.running) < self.engine.slots:
            if not self.waiting and self.search:
                more = self.search.more()
                self.add(more)
                if more and not self.waiting:  # an earlier sweep has made all of them
                    self.changed()
                    continue
            if not self.waiting:
                break
            i = self.waiting.pop(0)
            self.running.add(i)
            self.statuses[i].state = "running"
            self.engine.start(i, task_of(self.jobs[i], self.folder.log(self.jobs[i]), self.one_core))
            self.changed()
        return bool(self.waiting)

    def look(self) -> None:
        """Waits a moment; notes which runs have ended and how far the others are."""
        time.sleep(TICK)
        ended = self.engine.ended()
        for i, result in ended.items():
            self.finish(i, result)
        if ended or time.monotonic() - self.read_at >= READ:
            self.read_at = time.monotonic()
            for i in self.running:
                self.statuses[i].read(self.jobs[i])
            self.changed(write=bool(ended))

    def finish(self, i: int, result: Result) -> None:
        """Notes how a run has ended."""
        job, status = self.jobs[i], self.statuses[i]
        self.running.discard(i)
        status.read(job)
        if isinstance(result, OmarlError):
            status.state, status.message = "failed", str(result)
        elif result == 0:
            status.state = "finished"
        elif result in STOPPED:
            status.state = "pruned" if status.state == "pruned" else "stopped"
        else:
            status.state, status.message = "failed", why(self.folder.log(job), result)

    def changed(self, write: bool = True) -> None:
        """Tells the search; shows, and stores if ``write``, the states of all runs."""
        for job in self.search.update(self.status_of) if self.search else ():
            i = next(i for i, each in enumerate(self.jobs) if each.run == job.run)
            if i in self.waiting or i in self.running:
                self.statuses[i].state = "pruned"
                self.waiting = [each for each in self.waiting if each != i]
                self.engine.stop(i)
        self.table.show(self.jobs, self.statuses)
        if write:
            self.folder.write(self.jobs, self.statuses)

    def stop(self) -> None:
        """Lets the running runs save a checkpoint and end; a second Ctrl-C ends them at once."""
        self.table.note("stopping: the running runs save a checkpoint; Ctrl-C stops at once, without one")
        try:
            for i in self.running:
                self.engine.stop(i)
            while self.running:
                self.look()
        except KeyboardInterrupt:
            self.engine.kill()

    def summarise(self) -> None:
        """Prints the counts, the best trial, and the reason of each failure."""
        self.folder.write(self.jobs, self.statuses)
        say = self.table.say
        if not self.table.live:
            say(headline(self.jobs, self.statuses, self.engine.slots))
        for i in self.failed:
            say(f"failed: {self.jobs[i].name}: {self.statuses[i].message}")
        if self.search:
            say(f"{self.search.best()}; all trials: {self.search.write()}")
        if any(status.state in ("stopped", "running", "waiting") for status in self.statuses):
            say("to continue, give the same command again")
