"""Weights & Biases. Its own variables set where a run goes: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline, ..."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver

from .remote import by_step, group_of, known_id, store_id, title_of


class WandbObserver(RunObserver):
    """Sends configuration, metrics and pictures of a run; a resumed run continues the one of before."""

    package = "wandb"

    def __init__(self, folder: Path) -> None:
        """``folder`` is the run's."""
        self.folder = folder
        self.run: Any = None

    @property
    def where(self) -> str:
        """The page of the run, or its files."""
        return f"offline; wandb sync {Path(self.run.dir).parent}" if self.run.offline else str(self.run.url)

    def started_event(self, config: Mapping[str, Any], **_: Any) -> None:
        """Opens the run."""
        import wandb

        quiet = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "omarl"),
            name=title_of(config), group=group_of(config), config=dict(config),
            dir=os.environ.get("WANDB_DIR", self.folder), id=known_id(self.folder, "wandb"), resume="allow",
            settings=quiet,
        )  # fmt: skip
        store_id(self.folder, "wandb", self.run.id)
        self.run.define_metric("*", step_metric="t_env")

    def log_metrics(self, metrics_by_name: Mapping[str, Any], **_: Any) -> None:
        """Sends the values of one heartbeat."""
        for step, values in by_step(metrics_by_name).items():
            self.run.log({"t_env": step, **values})

    def artifact_event(self, name: str, filename: str, **_: Any) -> None:
        """Shows a picture; sends another file."""
        import wandb

        path = Path(filename)
        if path.suffix == ".png":
            self.run.log({path.stem: wandb.Image(str(path))})
        else:
            self.run.save(filename, base_path=path.parent, policy="now")

    def completed_event(self, **_: Any) -> None:
        """Closes the run."""
        self.close(0)

    def interrupted_event(self, **_: Any) -> None:
        """Closes the run as interrupted."""
        self.close(130)

    def failed_event(self, **_: Any) -> None:
        """Closes the run as failed."""
        self.close(1)

    def close(self, exit_code: int) -> None:
        """Closes the run, and waits for the process that writes its file: ``finish`` does not."""
        import wandb

        self.run.finish(exit_code=exit_code)
        wandb.teardown(exit_code)
