"""MLflow. Its own variables set where a run goes: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver

from ..config.nesting import flat
from .remote import by_step, known_id, store_id, title_of

MOST_METRICS, MOST_PARAMS, LONGEST_PARAM = 1000, 100, 6000  # in one request, as MLflow's API limits them


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """``items`` in parts of at most ``size``."""
    return (items[i : i + size] for i in range(0, len(items), size))


class MLflowObserver(RunObserver):
    """Sends configuration, metrics and files of a run; a resumed run continues the one of before."""

    package = "mlflow"

    def __init__(self, folder: Path) -> None:
        """``folder`` is the run's."""
        self.folder = folder
        self.client: Any = None
        self.id = ""

    @property
    def where(self) -> str:
        """The server or the database, and the run's id."""
        return f"run {self.id} in {self.client.tracking_uri}"

    def started_event(self, config: Mapping[str, Any], **_: Any) -> None:
        """Opens the run."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.client = MlflowClient()
        if known := known_id(self.folder, "mlflow"):
            self.id = known
            self.client.set_terminated(known, "RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "omarl")
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        self.id = self.client.create_run(number, run_name=title_of(config)).info.run_id
        store_id(self.folder, "mlflow", self.id)
        params = [Param(key, str(value)[:LONGEST_PARAM]) for key, value in flat(config).items()]
        for some in batches(params, MOST_PARAMS):
            self.client.log_batch(self.id, params=some)

    def log_metrics(self, metrics_by_name: Mapping[str, Any], **_: Any) -> None:
        """Sends the values of one heartbeat."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        rows = by_step(metrics_by_name).items()
        metrics = [Metric(name, value, now, step) for step, values in rows for name, value in values.items()]
        for some in batches(metrics, MOST_METRICS):
            self.client.log_batch(self.id, metrics=some)

    def artifact_event(self, name: str, filename: str, **_: Any) -> None:
        """Sends a file."""
        self.client.log_artifact(self.id, filename)

    def completed_event(self, **_: Any) -> None:
        """Closes the run."""
        self.client.set_terminated(self.id, "FINISHED")

    def interrupted_event(self, **_: Any) -> None:
        """Closes the run as interrupted."""
        self.client.set_terminated(self.id, "KILLED")

    def failed_event(self, **_: Any) -> None:
        """Closes the run as failed."""
        self.client.set_terminated(self.id, "FAILED")
