"""Measurements of a VAE's training curves, without a verdict.

Everything is measured over a *window*: the last half of the logged steps, starting no earlier than the end of the KL
weight's ramp, because earlier changes belong to the start of training.

**KL drift** is the relative change of a robust straight line over the window: ``(line at the end - line at the
start) / mean``, with Theil and Sen's slope (the median of all pairwise slopes).

**KL oscillation** is the standard deviation around this line divided by the mean, after subtracting sampling noise.
The noise is known if the standard deviation of single updates and the number of updates between two logs are known: a
mean of n updates varies by ``std / sqrt(n)``. If only single batches were logged, noise is recognised by its short
memory: residuals without autocorrelation, or with one that decays within a few points, are noise; others are swings.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .distributions import chi_square_tail
from .runs import Series, finite

Floats = NDArray[np.float64]

DRIFT, OSCILLATION = 0.10, 0.05  # bounds of a stable KL
FEW_LOGS = 8  # minimum number of logged points in the window, if there are as many
MAX_FIT = 200  # points of a straight-line fit, which compares all pairs
MAX_LAG = 10  # largest lag of the autocorrelation of residuals
SHORT_MEMORY = 0.7  # a first-order autoregression with at most this coefficient counts as noise
SIGNIFICANCE = 0.01  # level of the tests for noise
NAN = float("nan")


class Window(NamedTuple):
    """Environment steps from ``start`` to ``end``, both included."""

    start: float
    end: float
    # False if the KL weight was still rising near the end. The window is then the last half, and the KL's changes in
    # it are caused by the ramp.
    ramp_ended: bool

    def of(self, series: Series) -> Series:
        """The part of a series inside the window."""
        return series[(series.t >= self.start) & (series.t <= self.end)]


NO_WINDOW = Window(0.0, 0.0, True)


class Motion(NamedTuple):
    """Drift and oscillation of a metric over a window; all except ``points`` and ``mean`` are relative to |mean|."""

    points: int  # finite values
    mean: float
    drift: float  # see the module
    drift_error: float  # the line's standard error over the window
    oscillation: float  # see the module
    noise: float  # the sampling noise that was subtracted
    scatter: float  # the standard deviation around the line, including noise
    is_noise: bool  # sampling noise alone explains the scatter
    swing: float  # the smaller of the largest rise and the largest fall, beyond noise; 0 for a monotonic curve


NO_MOTION = Motion(0, NAN, NAN, NAN, NAN, NAN, NAN, False, NAN)


def measured_window(t: Floats, alpha: Series | None = None, target: float | None = None) -> Window:
    """The last half of the logged steps (at least the last 8 logs), after the KL weight's ramp.

    Args:
        t: the steps at which the KL was logged.
        alpha: the KL weight over time, if logged. A weight that also falls (cyclical, controlled) has no ramp.
        target: the weight at the end of the ramp, if configured.
    """
    if not len(t):
        return NO_WINDOW
    first, last = float(t[0]), float(t[-1])
    half = first + (last - first) / 2
    if len(t) >= FEW_LOGS:
        half = min(half, float(t[-FEW_LOGS]))
    ended = ramp_end(alpha, target)
    if ended is None or ended > first + 0.8 * (last - first):
        return Window(half, last, False)
    return Window(max(half, ended), last, True)


def ramp_end(alpha: Series | None, target: float | None = None) -> float | None:
    """The step at which the KL weight's ramp ends; -inf without a ramp, None if it has not ended."""
    points = finite(alpha)
    t, value = points.t, points.value
    if not len(value) or np.any(np.diff(value) < -1e-3 * np.abs(value).max()) or value[0] >= 0.999 * value[-1]:
        return -np.inf
    end = 0.999 * (value[-1] if target is None else target)
    if value[-1] < end or (target is None and value[-1] > value[-2] * (1 + 1e-6)):
        return None
    return float(t[np.argmax(value >= end)])


def block_means(t: Floats, value: Floats, count: int = MAX_FIT) -> tuple[Floats, Floats]:
    """At most ``count`` means of neighbouring points: [points] -> [blocks] for both arrays."""
    if len(t) <= count:
        return t, value
    edges = np.linspace(0, len(t), count, endpoint=False).astype(int)
    size = np.diff(np.append(edges, len(t)))
    return np.add.reduceat(t, edges) / size, np.add.reduceat(value, edges) / size


def straight_line(t: Floats, value: Floats) -> tuple[float, float]:
    """Theil and Sen's line through points with different ``t``: its slope and its value at t = 0."""
    t, value = block_means(t, value)
    i, j = np.triu_indices(len(t), k=1)
    slope = float(np.median((value[j] - value[i]) / (t[j] - t[i])))
    return slope, float(np.median(value - slope * t))


def motion(series: Series | None, std: Series | None = None, updates_per_point: float = NAN) -> Motion:
    """Drift and oscillation of a series that has already been cut to a window.

    Args:
        series: values that are not finite are left out. Fewer than 3 finite values give NaN.
        std: the standard deviation of single updates within each log interval, at the same steps.
        updates_per_point: the number of updates averaged in each logged mean, if known.
    """
    points = finite(series)
    t, value = points.t, points.value
    if len(t) < 3:
        return NO_MOTION
    span = t[-1] - t[0]
    mean = float(value.mean())
    unit = max(abs(mean), 1e-300)
    clock = (t - t[0]) / span
    slope, level = straight_line(clock, value)
    residual = value - (level + slope * clock)
    scatter = float(residual.std())
    known = finite(std).value
    if updates_per_point > 0 and len(known):  # a logged mean varies by ``noise``
        noise = float(np.sqrt(np.mean(known**2) / max(updates_per_point, 1.0)))
        freedom = max(len(residual) - 2, 1)
        ratio = scatter / noise if noise else np.inf if scatter else 0.0
        is_noise = chi_square_tail(freedom, freedom * ratio * ratio) >= SIGNIFICANCE
        swings = float(np.sqrt(max(0.0, scatter**2 - noise**2)))
    else:
        memory = longest_memory(residual)
        noise, is_noise, swings = scatter * float(np.sqrt(1 - memory)), memory == 0, scatter * float(np.sqrt(memory))
    rise, fall = np.max(value - np.minimum.accumulate(value)), np.max(np.maximum.accumulate(value) - value)
    both_ways = min(rise, fall) - 4 * noise
    error = float(np.std(block_means(clock, residual)[1])) * np.sqrt(12 / min(len(t), MAX_FIT))
    return Motion(
        len(t), mean, slope / unit, error / unit, swings / unit, noise / unit, scatter / unit, is_noise,
        max(0.0, float(both_ways)) / unit,
    )  # fmt: skip


def longest_memory(residual: Floats) -> float:
    """The largest absolute autocorrelation over lags 1 to 10; 0 for noise.

    Residuals are noise if Ljung and Box's test finds no autocorrelation, or if they resemble a first-order
    autoregression with a coefficient of at most 0.7, whose autocorrelations decay geometrically.
    """
    n, lags = len(residual), min(MAX_LAG, len(residual) // 4)
    centred = residual - residual.mean()
    power = float(centred @ centred)
    if lags < 1 or power <= 1e-24 * max(1.0, float(np.square(residual).sum())):
        return 0.0
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    r = np.fft.irfft(spectrum, 2 * n)[1 : max(lags, n // 4) + 1] / power
    q = n * (n + 2) * float(np.sum(r[:lags] ** 2 / (n - np.arange(1, lags + 1))))
    if chi_square_tail(lags, q) > SIGNIFICANCE or _has_short_memory(r, n):
        return 0.0
    return float(min(1.0, np.abs(r[:lags]).max()))


def _has_short_memory(r: Floats, n: int) -> bool:
    """Whether autocorrelations at lags 1, 2, ... resemble those of a first-order autoregression with short memory."""
    first = float(r[0])
    if not 0 < first <= SHORT_MEMORY:
        return False
    beyond = r - first ** np.arange(1, len(r) + 1)
    error = np.sqrt((1 + first**2) / (1 - first**2) / n)  # Bartlett's, at large lags
    return bool(np.abs(beyond[1:]).max(initial=0.0) < max(4.0 * error, 0.12))


def largest_rise(series: Series, high: Series | None = None) -> float:
    """The largest ratio of a loss to an earlier lower value; 1 for a loss that only falls.

    Args:
        series: the loss, not negative.
        high: its maximum over each log interval, if logged: single updates may jump when the means do not.
    """
    value = np.where(np.isfinite(series.value), series.value, np.nan)
    lowest = np.fmin.accumulate(value)
    peak = value[1:] if high is None or len(high) != len(series) else high.value[1:]
    below = np.maximum(lowest[:-1], 1e-12)
    rise = peak / below
    rise = rise[np.isfinite(rise)]
    return float(max(1.0, rise.max())) if len(rise) else 1.0


def share_of_loss(kl: float, recon: float, alpha: float) -> float:
    """The weighted KL relative to the reconstruction loss: ``alpha * KL / reconstruction``."""
    return alpha * kl / recon if recon > 0 else NAN


def units_in_use(kl: float, latent_dim: float, active: float = np.inf) -> int:
    """The number of latents that the KL can fill with half a nat each, at most the number of active latents.

    Active units alone overestimate the use of a wide latent space: if 128 latents share 17 nats, all are "active" by
    the variance of their mean, with 0.14 nats each.
    """
    return int(min(latent_dim, active, np.ceil(max(kl, 0.0) / 0.5)))


def reduced(reduce: Callable[[Floats], Any], series: Series | None) -> float:
    """``reduce`` of the finite values, NaN if there are none."""
    values = finite(series).value
    return float(reduce(values)) if len(values) else NAN


mean_of, peak_of, lowest_of = (partial(reduced, reduce) for reduce in (np.mean, np.max, np.min))
