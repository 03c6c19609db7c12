"""The KL weight of a VAE: its schedule, and the PI controller that may replace it during a training."""

from collections.abc import Mapping
from typing import Any

from .schedules import PIController, cyclical, linear, sigmoid
from .vae_config import VAEOptimiserConfig

# vae_beta = BETA_PER_ALPHA * omg_vae_alpha if the reconstruction is in nats per state (vae_formula: nats).
# docs/metrics.md gives the reason for the value.
BETA_PER_ALPHA = 20.0
PI_RANGE = 10.0  # the controlled KL weight stays between 0 and this many times omg_vae_alpha


class KLWeight:
    """The KL weight alpha_t: a schedule over updates, or a PI controller that holds the KL."""

    def __init__(self, config: VAEOptimiserConfig) -> None:
        self.config = config
        self.handed_over = False  # whether the controller replaced a schedule during the training
        self.controller = self._controller(config.vae_kl_target) if config.vae_alpha_schedule == "pi" else None

    def at(self, updates: int) -> float:
        """The weight after this many updates."""
        c = self.config
        if self.controller is not None:
            return self.controller.weight
        if c.vae_alpha_schedule == "linear":
            return linear(0.0, c.omg_vae_alpha, c.vae_alpha_ramp, updates)
        if c.vae_alpha_schedule == "sigmoid":
            return sigmoid(c.omg_vae_alpha, c.vae_alpha_ramp, updates)
        if c.vae_alpha_schedule == "cyclical":
            return cyclical(c.omg_vae_alpha, max(c.vae_alpha_ramp, 1), updates)
        return c.omg_vae_alpha

    def hand_over(self, kl_target: float, updates: int) -> None:
        """Starts a controller that holds the KL at ``kl_target`` nats, from the present weight."""
        self.controller = self._controller(kl_target, start=self.at(updates))
        self.handed_over = True

    def _controller(self, target: float, start: float | None = None) -> PIController:
        c = self.config
        unit = c.omg_vae_alpha or 0.01
        return PIController(target, c.vae_pi_kp * unit, c.vae_pi_ki * unit, 0.0, PI_RANGE * unit, start)

    def state_dict(self) -> dict[str, Any]:
        """All that the next weight depends on, except the number of updates."""
        return {
            "controller": None if self.controller is None else self.controller.state_dict(),
            "handed_over": self.handed_over,
            "schedule": self.config.vae_alpha_schedule,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a saved controller, with the configured target unless the controller replaced a schedule.

        A configured schedule other than the saved one has priority: no controller is restored.
        """
        schedule, saved = self.config.vae_alpha_schedule, state["controller"]
        handed_over = state.get("handed_over", schedule != "pi") and state.get("schedule", schedule) == schedule
        if saved is None or not (handed_over or schedule == "pi"):
            return
        self.handed_over = handed_over
        target = saved["target"] if handed_over else self.config.vae_kl_target
        self.controller = self._controller(target)
        self.controller.load_state_dict({**saved, "target": target})
