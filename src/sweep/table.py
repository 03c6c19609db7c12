"""Shows the state of every run: one live table in a terminal, otherwise a line whenever a state changes."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from shutil import get_terminal_size
from typing import TextIO

from tqdm import tqdm

from .folder import Status
from .plan import Job

STATES = ("running", "failed", "stopped", "pruned", "waiting", "finished")  # the order of the rows
EVERY = 60.0  # seconds between lines of progress without a terminal
CLEAR_TO_END = "\x1b[J"


def row(job: Job, status: Status) -> list[str]:
    """The cells of a run: name, state, progress, return, time left or reason."""
    t_max = int(job.values["t_max"])
    share = min(1.0, status.t_env / t_max) if t_max else 1.0
    left = status.seconds_left(t_max) if status.state == "running" else None
    score = "" if status.score is None else f"{status.score:.4g}"
    last = status.message or ("" if left is None else f"{tqdm.format_interval(left)} left")
    return [job.name, status.state, f"{share:4.0%}" if status.t_env else "", score, last]


def total_left(jobs: Sequence[Job], statuses: Sequence[Status], at_once: int) -> float | None:
    """Seconds until the end, from the speed of runs of the same algorithm and environment; None if unknown."""
    rates: dict[tuple[str, str], list[float]] = {}
    for job, status in zip(jobs, statuses, strict=True):
        if status.t_env and status.wall_s:
            rates.setdefault((job.config, job.env), []).append(status.wall_s / status.t_env)
    if not rates:
        return None
    everything = [rate for of_cell in rates.values() for rate in of_cell]
    seconds = 0.0
    for job, status in zip(jobs, statuses, strict=True):
        if status.state in ("waiting", "running"):
            known = rates.get((job.config, job.env), everything)
            seconds += max(0, int(job.values["t_max"]) - status.t_env) * sum(known) / len(known)
    return seconds / at_once


def headline(jobs: Sequence[Job], statuses: Sequence[Status], at_once: int) -> str:
    """``12 of 30 runs finished, 2 running, 16 waiting, 05:20 left``."""
    counts = Counter(status.state for status in statuses)
    others = [f"{counts[state]} {state}" for state in STATES[:-1] if counts[state]]
    left = total_left(jobs, statuses, at_once)
    time_left = [f"{tqdm.format_interval(left)} left"] if left and counts["waiting"] + counts["running"] else []
    return ", ".join([f"{counts['finished']} of {len(jobs)} runs finished", *others, *time_left])


def lines_of(jobs: Sequence[Job], statuses: Sequence[Status], at_once: int, columns: int, rows: int) -> list[str]:
    """The table in at most ``rows`` lines of at most ``columns`` characters; what does not fit is counted."""
    order = sorted(range(len(jobs)), key=lambda i: STATES.index(statuses[i].state))
    cells = [row(jobs[i], statuses[i]) for i in order]
    shown = cells if len(cells) <= rows - 1 else cells[: max(0, rows - 2)]
    widths = [max((len(line[i]) for line in shown), default=0) for i in range(4)]
    text = [
        "  ".join([line[0].ljust(widths[0]), line[1].ljust(widths[1]), line[2].rjust(widths[2]),
                   line[3].rjust(widths[3]), line[4]])
        for line in shown
    ]  # fmt: skip
    more = Counter(line[1] for line in cells[len(shown) :])
    if more:
        text.append("and " + ", ".join(f"{count} {state}" for state, count in more.items()))
    return [line[:columns].rstrip() for line in [headline(jobs, statuses, at_once), *text]]


class Table:
    """The display of a sweep. ``say`` prints a line where there is no terminal."""

    def __init__(self, at_once: int, say: Callable[[str], None], stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.live = self.stream.isatty()
        self.at_once, self.say = at_once, say
        self.height = 0  # lines of the table that is on the screen
        self.states: dict[str, str] = {}
        self.said = time.monotonic()

    def note(self, line: str) -> None:
        """Prints a line above the table."""
        if self.height:
            self.stream.write(f"\r\x1b[{self.height}A{CLEAR_TO_END}")
            self.stream.flush()
            self.height = 0
        self.say(line)

    def show(self, jobs: Sequence[Job], statuses: Sequence[Status]) -> None:
        """Draws the table again, or prints the runs whose state has changed."""
        if self.live:
            size = get_terminal_size()
            lines = lines_of(jobs, statuses, self.at_once, size.columns - 1, size.lines - 1)
            up = f"\x1b[{self.height}A" if self.height else ""
            self.stream.write(f"\r{up}{CLEAR_TO_END}" + "\n".join(lines) + "\n")
            self.stream.flush()
            self.height = len(lines)
            return
        for job, status in zip(jobs, statuses, strict=True):
            if self.states.get(str(job.run), "waiting") != status.state:
                self.say("  ".join(filter(None, (cell.strip() for cell in row(job, status)))))
                self.said = time.monotonic()
            self.states[str(job.run)] = status.state
        if time.monotonic() - self.said >= EVERY:
            self.said = time.monotonic()
            self.say(headline(jobs, statuses, self.at_once))
