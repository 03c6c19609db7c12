"""What a person sees on the terminal while a run goes on and when it ends."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from .metric_names import AGENTS_LOSSES, own_numbers, short

WINDOW = 120.0  # seconds whose steps the time left is estimated from
TICK = 0.5  # seconds between two states of the bar
BAR = 20  # columns of the bar itself, at most
LEAST_BAR = 6
WIDE = 100  # columns from which on the bar has its place, whatever there is to show
BLOCKS = " ▏▎▍▌▋▊▉█"


class ProgressBar(tqdm):
    """One line: steps done, time left, speed, and the latest numbers, each of them whole or left out.

    The estimate counts from the first learner update on. What comes before (compilation, the first test, a buffer
    that fills) takes its time once.

    Args:
        t_max: where the run ends, in environment steps.
        t_env: where it begins.
        latest: the latest value of each metric; read whenever the line is drawn.
        options: tqdm's.
    """

    def __init__(self, t_max: int, t_env: int, latest: Mapping[str, float], **options: Any) -> None:
        self.latest = latest
        self.points: deque[tuple[float, int]] = deque()
        # disable=None: silent where nobody watches; ``log_interval`` then prints lines
        options = {"disable": None, "dynamic_ncols": True, **options}
        super().__init__(total=t_max, initial=t_env, mininterval=TICK, miniters=1, **options)

    def advance(self, t_env: int, learning: bool) -> None:
        """The run is at step ``t_env``; ``learning`` once the learner has made an update."""
        now = time.monotonic()
        if learning and (not self.points or now - self.points[-1][0] >= TICK):
            self.points.append((now, t_env))
            while len(self.points) > 2 and now - self.points[0][0] > WINDOW:
                self.points.popleft()
        self.update(t_env - self.n)

    @property
    def rate(self) -> float | None:
        """Steps per second; None while there is nothing to tell it from."""
        if len(self.points) < 2:
            return None
        (begun, first), (now, last) = self.points[0], self.points[-1]
        return (last - first) / (now - begun)

    def __str__(self) -> str:
        columns = self.format_dict["ncols"] or 80
        return progress_line(int(self.n), int(self.total or 0), self.rate, live(self.latest), columns)


def progress_line(n: int, total: int, rate: float | None, numbers: Sequence[str], columns: int) -> str:
    """The state of a run in at most ``columns`` characters.

    Args:
        n, total: environment steps.
        rate: steps per second, if known.
        numbers: what to add, most important first.
        columns: the terminal's width.
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
    return f"{line} {_blocks(share, width)}{tail}" if width >= LEAST_BAR else line + tail


def _blocks(share: float, width: int) -> str:
    """``width`` characters, filled from the left to ``share``."""
    eighths = int(share * width * 8)
    full, part = divmod(eighths, 8)
    return (BLOCKS[-1] * full + (BLOCKS[part] if full < width else "")).ljust(width)


def live(latest: Mapping[str, float]) -> list[str]:
    """The numbers that matter, most important first: return, VAE, the learner's own losses, the agents'."""
    vae = ("vae_recon_loss", "vae_kl_loss")
    rest = ("test_vae_explained_variance", *AGENTS_LOSSES, "test_return_mean", "vae_alpha")
    names = ("return_mean", *vae, *own_numbers(latest), *rest)
    return [f"{short(name)} {latest[name]:.3g}" for name in names if name in latest]


def headline(latest: Mapping[str, float], t_env: int) -> str:
    """The same as a line of its own."""
    numbers = " ".join(live(latest))
    return f"t_env {t_env}: {numbers} ({latest.get('steps_per_second', math.nan):.0f} steps/s)"


def summary(latest: Mapping[str, float], agents: Sequence[str], t_env: int, episodes: int, updates: int) -> list[str]:
    """A few lines at the end of a run, from the latest numbers logged."""

    def shown(name: str) -> str:
        return f"{latest[name]:.3g}" if name in latest else "-"

    each = ", ".join(f"{agent} {shown(f'test_return_mean/{agent}')}" for agent in agents)
    lines = [
        f"{t_env} environment steps, {episodes} episodes, {updates} updates",
        f"test return {shown('test_return_mean')} ({each})",
    ]
    if "vae_recon_loss" in latest:
        lines.append(_vae_line(latest, shown))
    losses = [name for name in (*AGENTS_LOSSES, *own_numbers(latest), "grad_norm") if name in latest]
    if losses:
        held_out = {name: f" (held-out {shown(f'test_{name}')})" for name in losses if f"test_{name}" in latest}
        said = ", ".join(f"{name} {shown(name)}{held_out.get(name, '')}" for name in losses)
        lines.append(f"learner: {said}")
    return lines


def _vae_line(latest: Mapping[str, float], shown: Any) -> str:
    nats = "vae_recon_null" in latest
    parts = [
        f"reconstruction {shown('vae_recon_loss')}" + (" nats" if nats else ""),
        f"KL {shown('vae_kl_loss')} nats",
        f"alpha {shown('vae_alpha')}",
        f"{shown('test_vae_explained_variance')} of held-out variance explained",
    ]
    if "test_vae_accuracy" in latest:
        parts.append(f"held-out accuracy {shown('test_vae_accuracy')}")
    return f"VAE: {', '.join([*parts, shown('vae_active_units') + ' active units'])}"


class ConsoleHandler(logging.Handler):
    """One plain line a message, to whatever stderr is at the time: Sacred puts its own there to fill cout.txt."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line past the progress bar, where there is one."""
        tqdm.write(self.format(record), file=sys.stderr)


def console_logger() -> logging.Logger:
    """Where everything that is told goes."""
    console = logging.getLogger("omarl")
    handler = ConsoleHandler()
    # types are declared and checked: a list after `with` is none to Sacred, whatever it comes to
    handler.addFilter(lambda record: not record.getMessage().startswith("Changed type of config entry"))
    console.handlers = [handler]
    console.setLevel(logging.INFO)
    console.propagate = False
    return console
