"""A run's TensorBoard events: its metrics, and its configuration for the tab HPARAMS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ..config.nesting import flat

RESULT = "test_return_mean"  # the metric beside the configuration; its last value is shown


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float]:
    """The configuration as TensorBoard takes it: numbers and texts; nested keys have dots."""
    found: dict[str, str | float] = {}
    for name, value in flat(config).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
        elif value not in (None, "", [], (), {}):
            found[name] = str(value)
    return found


class Board:
    """Writes events into a folder, and into its subfolder ``hparams`` what the tab HPARAMS shows.

    That tab lists all metrics of a run's folder, so the subfolder has the test return alone. An experiment's summary,
    which SummaryWriter.add_hparams writes, would limit all runs to the keys of the first one; without it, the tab
    shows the keys that differ between runs first.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """``config``: of the run."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.metrics, self.results = cast(Any, SummaryWriter(folder)), cast(Any, SummaryWriter(folder / "hparams"))
        _, start, self.end = hparams(hyperparameters(config), {RESULT: 0.0})
        self.results.file_writer.add_summary(start)  # not only at the end: a killed run has it, too

    def write(self, values: Mapping[str, float], t_env: int) -> None:
        """Adds the values of one step."""
        for name, value in values.items():
            self.metrics.add_scalar(name, value, t_env)
        if RESULT in values:
            self.results.add_scalar(RESULT, values[RESULT], t_env)

    def close(self) -> None:
        """Ends the run and closes the files."""
        self.results.file_writer.add_summary(self.end)
        self.results.close()
        self.metrics.close()
