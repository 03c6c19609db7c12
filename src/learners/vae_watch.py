"""The doctor beside the training: says what it sees when it appears, and may apply what is safe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..analysis.doctor import Finding, examine
from ..analysis.runs import Series
from ..components.vae_trainer import VAETrainer
from ..types import MetricLogger

FIRST_LOOK = 20  # logs before anything is said: a training's start, or that of a remedy, looks like every illness
SURE_ENOUGH = 0.6  # confidence from which a finding is told, or acted on
NOT_WORTH_TELLING = ("too_short", "sampling_noise")


class VAEWatch:
    """Examines the VAE's numbers at every log.

    A finding is told once, when it appears. With ``acts``, the two remedies that cannot hurt the agents are
    applied to the running VAE: a lower learning rate, and handing the KL weight to the PI controller; what was
    done, when and why goes to the console and to the metric ``vae_watch_actions`` (their number so far).

    Args:
        trainer: the VAE.
        logger: PyMARL's.
        acts: apply remedies; False only tells.
    """

    def __init__(self, trainer: VAETrainer, logger: MetricLogger, acts: bool) -> None:
        self.trainer, self.logger, self.acts = trainer, logger, acts
        self.steps: list[int] = []
        self.values: dict[str, list[float]] = {}
        self.told: set[str] = set()
        self.actions = 0

    def look(self, numbers: Mapping[str, float], t_env: int) -> None:
        """Takes in one log and says what is new."""
        self.steps.append(t_env)
        for name, value in numbers.items():
            column = self.values.setdefault(name, [np.nan] * (len(self.steps) - 1))
            column.append(float(value))
        if len(self.steps) < FIRST_LOOK:
            return
        t = np.array(self.steps, dtype=float)
        series = {
            name: Series(t[-len(column) :], np.array(column))
            for name, column in self.values.items()
            if len(column) == len(t)
        }
        for finding in examine(series, self._settings()).findings:
            if finding.symptom in NOT_WORTH_TELLING or finding.confidence < SURE_ENOUGH:
                continue
            self._tell(finding, t_env)
            if self.acts and self._act(finding, t_env):
                break

    def _settings(self) -> dict[str, Any]:
        """The configuration as it stands now, after what was done to it: advice must start from there."""
        now = {**vars(self.trainer.config), "vae_lr": self.trainer.lr}
        if self.trainer.weight.controller is not None:
            now |= {"vae_alpha_schedule": "pi", "vae_kl_target": self.trainer.weight.controller.target}
        return now

    def _tell(self, finding: Finding, t_env: int) -> None:
        if finding.symptom in self.told:
            return
        self.told.add(finding.symptom)
        remedy = ", ".join(f"{name}={value}" for name, value in finding.remedy.items())
        advice = f"; try {remedy}" if remedy else ""
        self.logger.console_logger.warning(f"vae_watch, step {t_env}: {finding.symptom}: {finding.cause}{advice}")

    def _act(self, finding: Finding, t_env: int) -> bool:
        """Applies the safe part of a remedy; whether there was one."""
        trainer, remedy, done = self.trainer, finding.remedy, ""
        if "vae_lr" in remedy and remedy["vae_lr"] < trainer.lr:
            done = f"vae_lr {trainer.lr:g} -> {remedy['vae_lr']:g}"
            trainer.lr_scale = float(remedy["vae_lr"]) / trainer.config.vae_lr
        elif remedy.get("vae_alpha_schedule") == "pi" and trainer.weight.controller is None:
            target = float(remedy.get("vae_kl_target", self.values["vae_kl_loss"][-1]))
            done = f"the KL weight, {trainer.alpha:.3g}, goes to the PI controller with target {target:.3g} nats"
            trainer.weight.hand_over(target, trainer.updates)
        if not done:
            return False
        self.actions += 1
        self.steps, self.values = [], {}  # judge what comes by what comes, not by what was before
        self.logger.console_logger.warning(f"vae_watch, step {t_env}: acted on {finding.symptom}: {done}")
        self.logger.log_stat("vae_watch_actions", self.actions, t_env)
        return True
