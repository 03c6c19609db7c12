"""Diagnosis during training: reports the VAE's faults when they appear, and can apply safe remedies."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..analysis.doctor import Finding, examine
from ..analysis.runs import Series
from ..components.vae_trainer import VAETrainer
from ..types import MetricLogger
from ..utils.stateful import Stateful

FIRST_LOOK = 20  # logs before the first diagnosis: the start of a training or remedy resembles every fault
MIN_CONFIDENCE = 0.6  # of findings that are reported or treated
NOT_REPORTED = ("too_short", "sampling_noise")


class VAEWatch(Stateful):
    """Examines the VAE's metrics at every log.

    A finding is reported once, when it appears. With ``acts``, the two remedies that cannot harm the agents are
    applied to the VAE: a lower learning rate, and the PI controller of the KL weight. The action, its step and its
    cause are printed; the metric ``vae_watch_actions`` is the number of actions.
    """

    changing = ("steps", "values", "reported", "actions")

    def __init__(self, trainer: VAETrainer, logger: MetricLogger, acts: bool) -> None:
        self.trainer, self.logger, self.acts = trainer, logger, acts
        self.steps: list[int] = []
        self.values: dict[str, list[float]] = {}
        self.reported: list[str] = []
        self.actions = 0

    def look(self, numbers: Mapping[str, float], t_env: int) -> None:
        """Adds one log, and reports or treats new findings."""
        self.steps.append(t_env)
        for name, value in numbers.items():
            column = self.values.setdefault(name, [np.nan] * (len(self.steps) - 1))
            column.append(float(value))
        if len(self.steps) < FIRST_LOOK:
            return
        t = np.array(self.steps, dtype=float)
        series = {name: Series(t, np.array(values)) for name, values in self.values.items() if len(values) == len(t)}
        settings: dict[str, Any] = {**vars(self.trainer.config), "vae_lr": self.trainer.lr}  # with earlier actions
        if self.trainer.has_free_size:
            settings["vae_latent_dim"] = 0  # as configured
        if self.trainer.weight.controller is not None:
            settings |= {"vae_alpha_schedule": "pi", "vae_kl_target": self.trainer.weight.controller.target}
        for finding in examine(series, settings).findings:
            if finding.symptom in NOT_REPORTED or finding.confidence < MIN_CONFIDENCE:
                continue
            self._report(finding, t_env)
            if self.acts and self._act(finding, t_env):
                break

    def _report(self, finding: Finding, t_env: int) -> None:
        if finding.symptom in self.reported:
            return
        self.reported.append(finding.symptom)
        remedy = ", ".join(f"{name}={value}" for name, value in finding.remedy.items())
        advice = f"; try {remedy}" if remedy else ""
        self.logger.console_logger.warning(f"vae_watch, step {t_env}: {finding.symptom}: {finding.cause}{advice}")

    def _act(self, finding: Finding, t_env: int) -> bool:
        """Applies the safe part of a remedy; returns whether there was one."""
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
        self.steps, self.values = [], {}  # later diagnoses use only the metrics after the action
        self.logger.console_logger.warning(f"vae_watch, step {t_env}: acted on {finding.symptom}: {done}")
        self.logger.log_stat("vae_watch_actions", self.actions, t_env)
        return True
