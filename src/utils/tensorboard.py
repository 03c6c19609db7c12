"""A run's TensorBoard events: its metrics, and its configuration for the tab HPARAMS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

RESULT = "test_return_mean"  # the metric beside the configuration; its last value is shown


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float]:
    """The configuration as TensorBoard takes it: numbers and texts; nested keys have dots."""
    found: dict[str, str | float] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": item for inner, item in hyperparameters(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
        elif value not in (None, "", [], ()):
            found[name] = str(value)
    return found


class Board:
    """Writes events into a folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """``config``: of the run."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.writer = cast(Any, SummaryWriter(folder))
        # SummaryWriter.add_hparams would write all three at once, into another file: a killed run would have none
        experiment, start, self.end = hparams(hyperparameters(config), {RESULT: 0.0})
        self.events = self.writer.file_writer
        self.events.add_summary(experiment)
        self.events.add_summary(start)

    def write(self, values: Mapping[str, float], t_env: int) -> None:
        """Adds the values of one step."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, t_env)

    def close(self) -> None:
        """Ends the run and closes the file."""
        self.events.add_summary(self.end)
        self.writer.close()
