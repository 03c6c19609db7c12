"""Schedules: plain functions of a counter, and one controller that follows a measurement."""

from __future__ import annotations

import math
from collections.abc import Mapping


def linear(start: float, finish: float, steps: int, now: int) -> float:
    """From ``start`` at 0 to ``finish`` at ``steps``, constant after; ``steps`` = 0 gives ``finish`` at once."""
    if steps <= 0 or now >= steps:
        return finish
    return start + (finish - start) * now / steps


def sigmoid(finish: float, steps: int, now: int) -> float:
    """From about 0 to ``finish`` along a logistic curve, half of it at ``steps / 2``.

    ``finish / (1 + exp(-12 (now / steps - 1/2)))``: 0.2% at 0, 99.8% at ``steps``, where it is set to ``finish``.
    Source: Bowman et al. 2016, section 3.1 (the shape).
    """
    if steps <= 0 or now >= steps:
        return finish
    return finish / (1.0 + math.exp(-12.0 * (now / steps - 0.5)))


def cyclical(finish: float, period: int, now: int, rising: float = 0.5) -> float:
    """A linear ramp to ``finish`` over the first ``rising`` share of each ``period``, then constant; again and again.

    It moves the latents on purpose at the start of each cycle: risky under whatever feeds on them. Source: Fu et
    al. 2019 (half of each cycle rises).
    """
    return linear(0.0, finish, round(rising * period), now % period)


class PIController:
    """A weight that follows a measured KL towards a target (ControlVAE, Shao et al. 2020, algorithm 1).

    ``w(t) = kp / (1 + exp(e(t))) - ki * sum_{j<=t} e(j) + low``, kept in [low, high], with
    ``e(t) = (target - KL(t)) / target``: too little KL lowers the weight, too much raises it. While the weight
    stands at a bound the sum is not driven further beyond it. The error is relative to the target, which the
    paper's is not, so that the gains need not know how large the KL is.

    Args:
        target: nats, above 0.
        kp, ki: gains, in units of the weight.
        low, high: bounds of the weight.
        start: weight to begin from, so that taking over from another schedule makes no jump; None begins with an
            empty sum.
    """

    def __init__(
        self, target: float, kp: float, ki: float, low: float, high: float, start: float | None = None
    ) -> None:
        self.target, self.kp, self.ki, self.low, self.high = target, kp, ki, low, high
        self.integral = 0.0 if start is None else start - low - kp / 2  # kp / 2: no error
        self.weight = low if start is None else min(max(start, low), high)

    def update(self, kl: float) -> float:
        """The weight after a measurement of ``kl`` nats; one that is not finite changes nothing."""
        if not math.isfinite(kl):
            return self.weight
        error = (self.target - kl) / self.target
        proportional = self.kp / (1.0 + math.exp(min(max(error, -50.0), 50.0)))
        integral = self.integral - self.ki * error
        wanted = proportional + integral + self.low
        if self.low <= wanted <= self.high:
            self.integral = integral
        self.weight = min(max(wanted, self.low), self.high)
        return self.weight

    def state_dict(self) -> dict[str, float]:
        """The target, the sum and the weight."""
        return {"target": self.target, "integral": self.integral, "weight": self.weight}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Takes up ``state_dict``."""
        self.target, self.integral, self.weight = state["target"], state["integral"], state["weight"]
