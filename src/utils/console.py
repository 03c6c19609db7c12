"""Terminal output of a run: progress bar, log lines and the summary at the end."""

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm
from tqdm.std import Bar  # type: ignore[attr-defined]

from .metric_names import AGENTS_LOSSES, own_numbers, short

WINDOW = 120.0  # seconds; the time left is estimated from the steps of this last period
TICK = 0.5  # seconds between two updates of the line
BAR = 20  # largest width of the bar, columns
LEAST_BAR = 6  # smallest width of the bar, columns
WIDE = 100  # columns of a terminal that always reserves space for the bar


class ProgressBar(tqdm):
    """One line with steps, time left, speed and the latest metrics; what does not fit is left out, never cut.

    The time left is estimated from the first learner update on, because the work before it (compilation, the first
    test, filling the buffer) happens only once.

    Args:
        t_max, t_env: the run's last and first environment step.
        latest: the latest value of each metric, read each time the line is drawn.
        options: of tqdm.
    """

    def __init__(self, t_max: int, t_env: int, latest: Mapping[str, float], **options: Any) -> None:
        self.latest = latest
        self.points: deque[tuple[float, int]] = deque()
        # disable=None: no bar if the output is not a terminal; log lines appear every ``log_interval`` then
        options = {"disable": None, "dynamic_ncols": True, **options}
        super().__init__(total=t_max, initial=t_env, mininterval=TICK, miniters=1, **options)

    def advance(self, t_env: int, learning: bool) -> None:
        """Moves the bar to step ``t_env``; ``learning`` is True once the learner has made an update."""
        now = time.monotonic()
        if learning and (not self.points or now - self.points[-1][0] >= TICK):
            self.points.append((now, t_env))
            while len(self.points) > 2 and now - self.points[0][0] > WINDOW:
                self.points.popleft()
        self.update(t_env - self.n)

    @property
    def rate(self) -> float | None:
        """Steps per second; None before the second measurement."""
        if len(self.points) < 2:
            return None
        (begun, first), (now, last) = self.points[0], self.points[-1]
        return (last - first) / (now - begun)

    def __str__(self) -> str:
        columns = self.format_dict["ncols"] or 80
        return progress_line(int(self.n), int(self.total or 0), self.rate, live(self.latest), columns)


def progress_line(n: int, total: int, rate: float | None, numbers: Sequence[str], columns: int) -> str:
    """Formats a run's progress in at most ``columns`` characters.

    ``n`` of ``total`` environment steps were taken, at ``rate`` steps per second. ``numbers`` are metrics to add, the
    most important first.
    """
    share = min(1.0, n / total) if total else 1.0
    count = f"{tqdm.format_sizeof(n)}/{tqdm.format_sizeof(total)}"
    left = f"{tqdm.format_interval((total - n) / rate)} left" if rate else "? left" if n < total else "00:00 left"
    percent = f"{int(100 * share)}%"
    heads = (f"{count} {left}", f"{percent} {left}", count, percent, "")
    line = next(head for head in heads if len(head) <= columns)
    speed = f"{tqdm.format_sizeof(rate)} steps/s" if rate else ""
    tail, room = "", columns - (LEAST_BAR + 1 if columns >= WIDE else 0)
    for part in (speed, *numbers):
        if len(line) + len(tail) + 1 + len(part) > room:
            break
        tail += f" {part}" if part else ""
    width = min(BAR, columns - len(line) - len(tail) - 1)
    return f"{line} {Bar(share, width, Bar.UTF)}{tail}" if width >= LEAST_BAR else line + tail


def live(latest: Mapping[str, float]) -> list[str]:
    """Formats the main metrics, most important first: return, VAE, the learner's own losses, the agents' losses."""
    vae = ("vae_recon_loss", "vae_kl_loss")
    rest = ("test_vae_explained_variance", *AGENTS_LOSSES, "test_return_mean", "vae_alpha")
    names = ("return_mean", *vae, *own_numbers(latest), *rest)
    return [f"{short(name)} {latest[name]:.3g}" for name in names if name in latest]


def headline(latest: Mapping[str, float], t_env: int) -> str:
    """The main metrics as a log line."""
    numbers = " ".join(live(latest))
    return f"t_env {t_env}: {numbers} ({latest.get('steps_per_second', math.nan):.0f} steps/s)"


def summary(latest: Mapping[str, float], agents: Sequence[str], t_env: int, episodes: int, updates: int) -> list[str]:
    """The lines printed at the end of a run, from the latest value of each metric."""

    def value(name: str) -> str:
        return f"{latest[name]:.3g}" if name in latest else "-"

    by_agent = ", ".join(f"{agent} {value(f'test_return_mean/{agent}')}" for agent in agents)
    lines = [
        f"{t_env} environment steps, {episodes} episodes, {updates} updates",
        f"test return {value('test_return_mean')} ({by_agent})",
    ]
    if "vae_recon_loss" in latest:
        unit = " nats" if "vae_recon_null" in latest else ""
        tested = ", held-out accuracy " + value("test_vae_accuracy") if "test_vae_accuracy" in latest else ""
        lines.append(
            f"VAE: reconstruction {value('vae_recon_loss')}{unit}, KL {value('vae_kl_loss')} nats, "
            f"alpha {value('vae_alpha')}, {value('test_vae_explained_variance')} of held-out variance explained"
            f"{tested}, {value('vae_active_units')} active units"
        )
    losses = [name for name in (*AGENTS_LOSSES, *own_numbers(latest), "grad_norm") if name in latest]
    if losses:
        held_out = {name: f" (held-out {value(f'test_{name}')})" for name in losses if f"test_{name}" in latest}
        lines.append("learner: " + ", ".join(f"{name} {value(name)}{held_out.get(name, '')}" for name in losses))
    lines += [
        f"{name}: {value(name)} (not finite)" for name in latest if name.endswith("skipped_updates") and latest[name]
    ]
    return lines


class ConsoleHandler(logging.Handler):
    """Writes each message as one line to the current ``sys.stderr``, which Sacred replaces to fill cout.txt."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line above the progress bar, if there is one."""
        tqdm.write(self.format(record), file=sys.stderr)


def console_logger() -> logging.Logger:
    """Configures and returns the logger ``omarl``, which prints every message of the package."""
    console = logging.getLogger("omarl")
    handler = ConsoleHandler()
    # omarl checks the declared types of keys itself; Sacred would report a list after `with` as a change of type
    handler.addFilter(lambda record: not record.getMessage().startswith("Changed type of config entry"))
    console.handlers = [handler]
    console.setLevel(logging.INFO)
    console.propagate = False
    return console
