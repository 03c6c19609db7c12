"""What the numbers of a VAE's training do over time: pure measurements, without a verdict.

Everything is measured over a *window*, the last half of the logged steps, and not before the KL weight's ramp
has ended: what happens earlier belongs to the start of a training.

**KL drift** is the relative change over the window of a robust straight line: ``(line at the end - line at the
start) / mean``, with Theil and Sen's slope (the median of all pairwise slopes).

**KL oscillation** is the standard deviation around that line over the mean, with sampling noise taken out. The
noise is known where the standard deviation of single updates and their number between two logs are: a mean of n
updates wiggles by ``std / sqrt(n)``. Where one batch's value is logged alone it is told by its lack of memory:
residuals that do not correlate in time, or forget within a few points, are noise; those that do swing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .runs import Series

Floats = NDArray[np.float64]

DRIFT, OSCILLATION = 0.10, 0.05  # what a healthy KL stays within
FEW_LOGS = 8  # the window holds at least as many, where there are as many
MAX_FIT = 200  # points of a straight-line fit: all pairs of them are looked at
MAX_LAG = 10  # over which residuals are searched for memory
SHORT_MEMORY = 0.7  # the coefficient of a first-order autoregression up to which it counts as noise
SURE = 0.01  # probability at which chance is ruled out
NAN = float("nan")


class Window(NamedTuple):
    """Environment steps from ``start`` to ``end``, both included.

    ``ramp_ended`` is False where the KL weight was still on its way up at the end, or nearly so: the window is
    then simply the last half, and what the KL does in it owes to the ramp.
    """

    start: float
    end: float
    ramp_ended: bool

    def of(self, series: Series) -> Series:
        """The part of a series that lies inside."""
        inside = (series.t >= self.start) & (series.t <= self.end)
        return Series(series.t[inside], series.value[inside])


class Motion(NamedTuple):
    """How one metric moves over a window; every number but ``points`` and ``mean`` is relative to |mean|.

    Attributes:
        points: finite values.
        mean: of them.
        drift, drift_error: see the module; the error is the line's standard error over the window.
        oscillation: see the module.
        noise: the sampling noise that was taken out.
        scatter: the standard deviation around the line, noise included.
        is_noise: sampling noise alone explains the scatter.
        swing: the smaller of the largest rise and the largest fall, beyond noise: 0 for what only goes one way.
    """

    points: int
    mean: float
    drift: float
    drift_error: float
    oscillation: float
    noise: float
    scatter: float
    is_noise: bool
    swing: float


NOTHING = Motion(0, NAN, NAN, NAN, NAN, NAN, NAN, False, NAN)


def measured_window(t: Floats, alpha: Series | None = None, target: float | None = None) -> Window:
    """The last half of the logged steps, or the last 8 logs where the half has fewer, after the KL weight's ramp.

    Args:
        t: the steps at which the KL was logged.
        alpha: the KL weight over time, where it was logged. A weight that also falls (cyclical, controlled) has
            no ramp.
        target: where the ramp ends, where the configuration says so.
    """
    if not len(t):
        return Window(0.0, 0.0, True)
    first, last = float(t[0]), float(t[-1])
    half = first + (last - first) / 2
    if len(t) >= FEW_LOGS:
        half = min(half, float(t[-FEW_LOGS]))
    ended = ramp_end(alpha, target)
    if ended is None or ended > first + 0.8 * (last - first):
        return Window(half, last, False)
    return Window(max(half, ended), last, True)


def ramp_end(alpha: Series | None, target: float | None = None) -> float | None:
    """The step at which a rising KL weight has arrived; -inf without a ramp, None while it still rises."""
    if alpha is None:
        return -np.inf
    finite = np.isfinite(alpha.value)
    t, value = alpha.t[finite], alpha.value[finite]
    if not len(value) or np.any(np.diff(value) < -1e-3 * np.abs(value).max()) or value[0] >= 0.999 * value[-1]:
        return -np.inf
    arrived = 0.999 * (value[-1] if target is None else target)
    if value[-1] < arrived or (target is None and value[-1] > value[-2] * (1 + 1e-6)):
        return None
    return float(t[np.argmax(value >= arrived)])


def blocks(t: Floats, value: Floats, count: int = MAX_FIT) -> tuple[Floats, Floats]:
    """At most ``count`` means of neighbours: [points] -> [blocks] each."""
    if len(t) <= count:
        return t, value
    edges = np.linspace(0, len(t), count, endpoint=False).astype(int)
    size = np.diff(np.append(edges, len(t)))
    return np.add.reduceat(t, edges) / size, np.add.reduceat(value, edges) / size


def straight_line(t: Floats, value: Floats) -> tuple[float, float]:
    """Theil and Sen's line through points with different ``t``: slope, and value at t = 0."""
    t, value = blocks(t, value)
    i, j = np.triu_indices(len(t), k=1)
    slope = float(np.median((value[j] - value[i]) / (t[j] - t[i])))
    return slope, float(np.median(value - slope * t))


def motion(series: Series, std: Series | None = None, updates_per_point: float | None = None) -> Motion:
    """Drift and oscillation of a series, which is a window's part already.

    Args:
        series: what is measured; values that are not finite are left out. Fewer than 3 finite ones give NaN.
        std: the standard deviation of single updates within each log interval, at the same steps.
        updates_per_point: how many updates each logged mean is over.
    """
    finite = np.isfinite(series.value)
    t, value = series.t[finite], series.value[finite]
    if len(t) < 3:
        return NOTHING
    span = t[-1] - t[0]
    mean = float(value.mean())
    unit = max(abs(mean), 1e-300)
    clock = (t - t[0]) / span
    slope, level = straight_line(clock, value)
    residual = value - (level + slope * clock)
    scatter = float(residual.std())
    noise, is_noise, swings = _split(residual, _noise_of_means(std, updates_per_point))
    both_ways = min(
        np.max(value - np.minimum.accumulate(value)), np.max(np.maximum.accumulate(value) - value)
    ) - 4 * noise  # fmt: skip
    error = float(np.std(blocks(clock, residual)[1])) * np.sqrt(12 / min(len(t), MAX_FIT))
    return Motion(
        len(t), mean, slope / unit, error / unit, swings / unit, noise / unit, scatter / unit, is_noise,
        max(0.0, float(both_ways)) / unit,
    )  # fmt: skip


def _noise_of_means(std: Series | None, updates_per_point: float | None) -> float | None:
    """The standard deviation that sampling gives a logged mean, or None where it is not known."""
    if std is None or not updates_per_point:
        return None
    finite = std.value[np.isfinite(std.value)]
    return float(np.sqrt(np.mean(finite**2) / max(updates_per_point, 1.0))) if len(finite) else None


def _split(residual: Floats, noise: float | None) -> tuple[float, bool, float]:
    """Residuals' standard deviation as sampling noise, whether that is all, and swings."""
    scatter = float(residual.std())
    freedom = max(len(residual) - 2, 1)
    if noise is not None:
        chance = float(special.chdtri(freedom, SURE)) / freedom
        is_noise = scatter**2 <= chance * noise**2
        return noise, is_noise, float(np.sqrt(max(0.0, scatter**2 - noise**2)))
    memory = longest_memory(residual)
    return scatter * float(np.sqrt(1 - memory)), memory == 0, scatter * float(np.sqrt(memory))


def longest_memory(residual: Floats) -> float:
    """The largest autocorrelation in size over lags 1 to 10; 0 where it is noise.

    Noise is what Ljung and Box's test finds no memory in, and what forgets quickly: a first-order autoregression
    with a coefficient of at most 0.7, whose autocorrelations fall off geometrically.
    """
    n, lags = len(residual), min(MAX_LAG, len(residual) // 4)
    centred = residual - residual.mean()
    power = float(centred @ centred)
    if lags < 1 or power <= 1e-24 * max(1.0, float(np.square(residual).sum())):
        return 0.0
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    r = np.fft.irfft(spectrum, 2 * n)[1 : max(lags, n // 4) + 1] / power
    q = n * (n + 2) * float(np.sum(r[:lags] ** 2 / (n - np.arange(1, lags + 1))))
    if special.chdtrc(lags, q) > SURE or _forgets(r, n):
        return 0.0
    return float(min(1.0, np.abs(r[:lags]).max()))


def _forgets(r: Floats, n: int) -> bool:
    """Whether autocorrelations at lags 1, 2, ... are those of a first-order autoregression with short memory."""
    first = float(r[0])
    if not 0 < first <= SHORT_MEMORY:
        return False
    beyond = r - first ** np.arange(1, len(r) + 1)
    error = np.sqrt((1 + first**2) / (1 - first**2) / n)  # Bartlett's, at large lags
    return bool(np.abs(beyond[1:]).max(initial=0.0) < max(4.0 * error, 0.12))


def upheaval(series: Series, high: Series | None = None) -> float:
    """The largest rise of a loss after it had been lower: a factor, 1 for what only falls.

    Args:
        series: the loss, not negative.
        high: its maximum over each log interval, where logged: single updates may leap where means do not.
    """
    value = np.where(np.isfinite(series.value), series.value, np.nan)
    lowest = np.fmin.accumulate(value)
    peak = value[1:] if high is None or len(high) != len(series) else high.value[1:]
    below = np.maximum(lowest[:-1], 1e-12)
    rise = peak / below
    rise = rise[np.isfinite(rise)]
    return float(max(1.0, rise.max())) if len(rise) else 1.0


def share_of_loss(kl: float, recon: float, alpha: float) -> float:
    """The weighted KL as a share of the reconstruction: ``alpha * KL / reconstruction``."""
    return alpha * kl / recon if recon > 0 else NAN


def units_in_use(kl: float, latent_dim: float, active: float = np.inf) -> int:
    """How many latents the information can fill: half a nat each, and no more than are active.

    Active units alone flatter a wide latent space: 128 latents that share 17 nats are all "active" by the
    variance of their mean, with 0.14 nats each.
    """
    return int(min(latent_dim, active, np.ceil(max(kl, 0.0) / 0.5)))


def mean_of(series: Series | None) -> float:
    """The mean of the finite values, NaN where there are none."""
    finite = series.value[np.isfinite(series.value)] if series is not None else np.empty(0)
    return float(finite.mean()) if len(finite) else NAN


def peak_of(series: Series | None) -> float:
    """The largest finite value, NaN where there is none."""
    finite = series.value[np.isfinite(series.value)] if series is not None else np.empty(0)
    return float(finite.max()) if len(finite) else NAN


def lowest_of(series: Series | None) -> float:
    """The least finite value, NaN where there is none."""
    return -peak_of(Series(series.t, -series.value)) if series is not None else NAN


def first_of(series: Series | None) -> float:
    """The first finite value, NaN where there is none."""
    finite = series.value[np.isfinite(series.value)] if series is not None else np.empty(0)
    return float(finite[0]) if len(finite) else NAN
