"""Logs metrics to metrics.jsonl (the reference), Sacred, TensorBoard and the progress bar."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from ..types import MetricLogger, TrainingError
from .stateful import Stateful


class Grid(Stateful):
    """Is due once in each interval of environment steps: at the first step that reaches a multiple of the interval.

    Args:
        interval: environment steps; 0 is never due.
        t_env: the environment step at which counting starts.
    """

    changing = ("cell",)

    def __init__(self, interval: int, t_env: int = 0) -> None:
        self.interval = interval
        self.cell = t_env // interval if interval else 0

    def due(self, t_env: int) -> bool:
        """Whether a multiple of the interval was reached since the last time this was True."""
        if not self.interval or t_env // self.interval <= self.cell:
            return False
        self.cell = t_env // self.interval
        return True


class IntervalStats:
    """Statistics of per-update values over a log interval; a single batch's value would look like oscillation.

    Values remain tensors until they are logged, so that an update on a GPU does not have to synchronise.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Adds the values of one update."""
        for name, value in values.items():
            self.values.setdefault(name, []).append(torch.as_tensor(value).detach())

    def flush(self, logger: MetricLogger, t_env: int) -> dict[str, float]:
        """Logs and returns mean ``name``, ``name_std`` (population), ``name_min``, ``name_max``; clears them."""
        logged: dict[str, float] = {}
        for name, values in self.values.items():
            column = stacked(values).float()
            statistics = {
                "": column.mean(),
                "_std": column.std(unbiased=False),
                "_min": column.min(),
                "_max": column.max(),
            }
            logged |= {name + suffix: number.item() for suffix, number in statistics.items()}
        for name, value in logged.items():
            logger.log_stat(name, value, t_env)
        self.values.clear()
        return logged

    def state_dict(self) -> dict[str, Tensor]:
        """The values since the last log."""
        return {name: stacked(values) for name, values in self.values.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores ``state_dict``."""
        self.values = {name: list(values) for name, values in state.items()}


def stacked(values: Sequence[Tensor]) -> Tensor:
    """Scalars as one tensor on the last one's device: those of a checkpoint are on the CPU, later ones on the GPU."""
    return torch.stack([value.to(values[-1].device) for value in values])


def last_wall_s(path: Path) -> float:
    """``wall_s`` of the last line of a ``metrics.jsonl``; 0 if there is none."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**16))
        lines = file.read().splitlines()
    try:
        return float(json.loads(lines[-1])["wall_s"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0


def _board(folder: Path, config: Mapping[str, Any]) -> Any:
    from .tensorboard import Board

    return Board(folder, config)


class Logger:
    """PyMARL's logger, which also writes ``metrics.jsonl``.

    Each ``write`` appends one object ``{"t_env", "wall_s", "<metric>", ...}`` to the file and flushes it. Values that
    are not finite become null, because JSON has no NaN. Sacred receives the finite values as Python floats through
    ``log_scalar``.

    Args:
        console_logger: a ``logging.Logger``.
        directory: the run's folder; None writes no file.
        sacred_run: a Sacred run that receives the scalars, or None.
        config: of the run. With ``use_tensorboard``, TensorBoard receives it and the metrics in ``directory``/tb.
        started: ``time.time()`` at the start of the command.
    """

    def __init__(
        self,
        console_logger: Any,
        directory: Path | None = None,
        sacred_run: Any = None,
        config: Mapping[str, Any] | None = None,
        started: float | None = None,
    ) -> None:
        self.console_logger = console_logger
        self.sacred_run = sacred_run
        self.started = time.time() if started is None else started
        self.latest: dict[str, float] = {}
        self._pending: dict[str, float] = {}
        self._t_env = 0
        self._file: TextIO | None = None
        self._tensorboard: Any = None
        self._make_tensorboard: Callable[[], Any] | None = None  # at the first values: its imports delay the start
        if directory is not None:
            self._file = (directory / "metrics.jsonl").open("a", encoding="utf-8")
            if config and config.get("use_tensorboard"):
                self._make_tensorboard = partial(_board, directory / "tb", dict(config))

    def log_stat(self, key: str, value: Any, t: int, to_sacred: bool = True) -> None:
        """Records ``value`` (a number or a tensor of one number) for ``key`` at environment step ``t``.

        ``to_sacred`` is part of PyMARL's signature and has no effect.
        """
        if t != self._t_env:
            self.write()
            self._t_env = int(t)
        self._pending[key] = float(value)
        self.latest[key] = float(value)

    def write(self) -> None:
        """Writes the recorded values to the file, to Sacred and to TensorBoard.

        Raises:
            TrainingError: the file cannot be written, for example because the disk is full.
        """
        if not self._pending:
            return
        entry: dict[str, float | int | None] = {"t_env": self._t_env, "wall_s": round(time.time() - self.started, 3)}
        entry |= {k: v if math.isfinite(v) else None for k, v in self._pending.items()}
        try:
            if self._file is not None:
                self._file.write(json.dumps(entry, allow_nan=False) + "\n")
                self._file.flush()
        except OSError as error:
            name, self._file = self._file.name, None  # type: ignore[union-attr]
            raise TrainingError(f"cannot write {name}: {error.strerror or error}") from error
        for key, value in self._pending.items():
            if self.sacred_run is not None and math.isfinite(value):
                self.sacred_run.log_scalar(key, value, self._t_env)
        self._to_tensorboard(lambda board: board.write(self._pending, self._t_env))
        self._pending = {}

    def _to_tensorboard(self, write: Callable[[Any], Any]) -> None:
        """Calls ``write``; after a failure a warning follows and TensorBoard is not written any more."""
        try:
            if self._make_tensorboard is not None:
                self._tensorboard, self._make_tensorboard = self._make_tensorboard(), None
            if self._tensorboard is not None:
                write(self._tensorboard)
        except OSError as error:
            self._tensorboard = self._make_tensorboard = None
            self.console_logger.warning(f"TensorBoard is not written any more ({error.strerror or error})")

    def continues(self, latest: Mapping[str, float]) -> None:
        """Continues a resumed run: its latest values, and the seconds that had passed at its last line."""
        self.latest |= latest
        if self._file is not None:
            self.started -= last_wall_s(Path(self._file.name))

    def close(self) -> None:
        """Writes the remaining values and closes the files."""
        self.write()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._to_tensorboard(lambda board: board.close())
        self._tensorboard = None
