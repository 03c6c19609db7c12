"""Schedules: functions of a step counter, and a PI controller driven by a measurement."""

import math
from collections.abc import Mapping


def linear(start: float, finish: float, steps: int, now: int) -> float:
    """Linear from ``start`` at 0 to ``finish`` at ``steps``, then constant; with ``steps`` = 0 always ``finish``."""
    if steps <= 0 or now >= steps:
        return finish
    return start + (finish - start) * now / steps


def sigmoid(finish: float, steps: int, now: int) -> float:
    """Logistic curve from about 0 to ``finish``; half of ``finish`` at ``steps / 2``.

    ``finish / (1 + exp(-12 (now / steps - 1/2)))``: 0.2% of ``finish`` at 0. From ``steps`` on, where the formula
    gives 99.8%, the result is ``finish`` exactly. Source of the shape: Bowman et al. 2016, section 3.1.
    """
    if steps <= 0 or now >= steps:
        return finish
    return finish / (1.0 + math.exp(-12.0 * (now / steps - 0.5)))


def cyclical(finish: float, period: int, now: int, rising: float = 0.5) -> float:
    """Linear ramp to ``finish`` over the first ``rising`` share of each ``period``, then constant, repeated.

    The latents change at the start of each cycle, which may harm anything that uses them as inputs. Source: Fu et
    al. 2019, where half of each cycle rises.
    """
    return linear(0.0, finish, round(rising * period), now % period)


class PIController:
    """Adjusts a KL weight so that the measured KL approaches a target (ControlVAE, Shao et al. 2020, algorithm 1).

    ``w(t) = kp / (1 + exp(e(t))) - ki * sum_{j<=t} e(j) + low``, clamped to [low, high], with
    ``e(t) = (target - KL(t)) / target``. A KL below the target lowers the weight; a KL above it raises the weight.
    While the weight is at a bound, the sum does not move further beyond it. Unlike in the paper, the error is
    relative to the target, so that the gains do not depend on the size of the KL.

    Args:
        target: target of the KL in nats, above 0.
        kp, ki: gains, in units of the weight.
        low, high: bounds of the weight.
        start: initial weight, which avoids a jump after another schedule; None starts with an empty sum.
    """

    def __init__(
        self, target: float, kp: float, ki: float, low: float, high: float, start: float | None = None
    ) -> None:
        self.target, self.kp, self.ki, self.low, self.high = target, kp, ki, low, high
        self.integral = 0.0 if start is None else start - low - kp / 2  # kp / 2: the term at zero error
        self.weight = low if start is None else min(max(start, low), high)

    def update(self, kl: float) -> float:
        """Returns the weight after a measurement of ``kl`` nats; a measurement that is not finite changes nothing."""
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
        """Loads the values of ``state_dict``."""
        self.target, self.integral, self.weight = state["target"], state["integral"], state["weight"]
