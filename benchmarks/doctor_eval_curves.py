"""Curves of a VAE from its rate-distortion trade-off, with faults, noise and the habits of logs.

A code of K directions carries r_i nats each and leaves the distortion 1/2 sum_i lambda_i exp(-2 r_i) (reverse
water-filling of a Gaussian source). Training moves each r_i down the gradient of distortion + beta * rate, so
collapse, the peak before a ramp, late directions and a KL weight that drives the KL follow from the setting, as they
do in a trained VAE. What does not follow from it (a refreshed batch, an unstable optimiser) is an event on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TICKS = 1200  # steps of the simulated training; logs are interpolated from them


@dataclass(frozen=True)
class Setting:
    """The loss that a host wrote.

    Attributes:
        features, latents: size of the state, size of the code.
        likelihood: "mse", or "bce" with the entropy of a feature in nats.
        recon, kl: reductions: recon "sum" or "mean" over features; kl "sum", "mean" over latents, or "weighted"
            (logged after the multiplication with the weight).
        alpha: the KL weight in the code, multiplied with the KL as that code reduces it.
        variance: mean variance of a feature, 1 where states are standardised.
        rank, decay: directions that carry variance, and the ratio of one's variance to the one before.
        rest: share of the variance that no code explains.
    """

    features: int = 40
    latents: int = 16
    likelihood: str = "mse"
    recon: str = "mean"
    kl: str = "sum"
    alpha: float = 0.01
    variance: float = 1.0
    entropy: float = 0.3
    rank: int = 10
    decay: float = 0.85
    rest: float = 0.03

    @property
    def null(self) -> float:
        """Nats per state of a decoder that outputs the mean."""
        return self.features * (0.5 if self.likelihood == "mse" else self.entropy)

    @property
    def scale(self) -> float:
        """Logged reconstruction for one nat."""
        per_nat = 2 * self.variance if self.likelihood == "mse" else 1.0
        return per_nat / (self.features if self.recon == "mean" else 1)

    @property
    def per_latent(self) -> float:
        """KL as the code reduces it, for one nat."""
        return 1 / self.latents if self.kl == "mean" else 1.0

    @property
    def beta(self) -> float:
        """Weight of a nat of KL against a nat of reconstruction."""
        return self.alpha * self.per_latent / self.scale


@dataclass
class Curves:
    """One run on its way from simulation to log; all arrays [points], nats per state."""

    x: Array  # 0 to 1 over the run
    kl: Array
    recon: Array
    weight: Array  # multiple of the setting's alpha
    extra: dict[str, Array]

    @property
    def points(self) -> int:
        return len(self.x)


def schedule(kind: str, x: Array, until: float = 0.2, cycles: int = 4, to: float = 1.0) -> Array:
    """The KL weight over the run as a multiple of the final one."""
    if kind == "ramp":
        return np.minimum(1.0, x / until) + 1e-4
    if kind == "cycles":  # rises over the first half of each cycle; constant after `until`
        return np.where(x < until, np.minimum(1.0, 2 * ((x / until * cycles) % 1)), 1.0) + 1e-3
    if kind == "step":
        return np.where(x < until, 1.0, to)
    if kind == "logistic":  # a sigmoid in the step, half-way at half of `until`
        return 1 / (1 + np.exp(-12 * (x / until - 0.5))) + 1e-4
    if kind == "stairs":  # raised by hand, or after a number of epochs
        return np.minimum(1.0, np.ceil(x / until * cycles + 1e-9) / cycles)
    if kind == "hunting":  # a controller with too large a gain oscillates around its target
        return 1 + to * np.sin(2 * np.pi * cycles * x)
    if kind == "controlled":  # a controller near its target makes small corrections
        return 1 + (to - 1) * np.exp(-x / until) + 0.04 * np.sin(23 * x)
    return np.ones_like(x)


def simulate(
    setting: Setting,
    x: Array,
    weights: Callable[[Array], Array],
    rng: np.random.Generator,
    speed: float,
    horizon: float,
) -> Curves:
    """A training without noise: ``speed`` of the code, ``horizon`` the logged part of a usual training."""
    ticks = np.linspace(0, 1, TICKS)
    rank = int(np.clip(setting.rank * rng.uniform(0.6, 1.5), 4, setting.latents))
    energy = setting.decay ** np.arange(rank) * rng.uniform(0.8, 1.25, rank)
    energy *= 2 * setting.null * (1 - setting.rest) / energy.sum()
    rate = np.full(rank, 0.02) * rng.uniform(0.3, 2, rank)
    speed *= rng.uniform(0.5, 1.5)
    kl, distortion = np.empty(TICKS), np.empty(TICKS)
    beta = setting.beta * weights(ticks)
    for tick in range(TICKS):
        gain = energy * np.exp(-2 * rate) / beta[tick]
        pull = np.tanh(0.5 * (gain - 1)) * (rate + 0.002) / (1 + 2 * rate**2)
        rate = np.maximum(rate + speed * horizon * pull, 1e-6)
        kl[tick], distortion[tick] = rate.sum(), 0.5 * np.sum(energy * np.exp(-2 * rate))
    recon = distortion + setting.null * setting.rest
    progress = ticks * horizon * TICKS * speed
    guess = setting.features * np.log(2.0) if setting.likelihood == "bce" else setting.null * rng.uniform(1.05, 1.3)
    recon += (guess - setting.null) * np.exp(-progress / 1.5)  # the decoder first fits the mean
    recon += 0.25 * (setting.null - distortion) / (1 + progress / 2)  # then it uses the code
    floor = 2e-4 * (1 + np.exp(-progress / 2) * 50)
    return Curves(x, np.interp(x, ticks, kl + floor), np.interp(x, ticks, recon), weights(x), {})


# --- events: each changes the curves in place -----------------------------------------------------


def refresh(
    c: Curves,
    rng: np.random.Generator,
    batches: float,
    depth: float,
    jump: float,
    recover: float = 0.12,
    warp: float = 1.0,
) -> None:
    """A new batch of data every 1 / ``batches`` of the run: KL off by ``depth``, reconstruction by ``jump``.

    A ``warp`` above 1 makes later batches shorter than the first ones, as if episodes get shorter.
    """
    place = c.x**warp * batches
    phase = place % 1
    size = np.interp(np.floor(place), np.arange(batches + 1), rng.uniform(0.75, 1.25, int(batches) + 1))
    size = np.where(place < 1, 0, size)  # nothing was memorised before the first batch
    back = np.exp(-phase / recover)
    c.kl *= 1 - np.clip(depth * size, -2, 0.95) * back
    c.recon *= 1 + jump * size * back - 0.3 * jump * (1 - back)


def swing(c: Curves, rng: np.random.Generator, amplitude: float, cycles: float, onset: float = 0.0) -> None:
    """An unstable optimiser: KL oscillates, reconstruction in the opposite phase."""
    walk = np.cumsum(rng.normal(0, 1, (2, c.points)), axis=1) / np.sqrt(c.points)
    pace = cycles * np.clip(1 + 0.6 * walk[0], 0.5, 2)
    wave = np.sin(2 * np.pi * np.cumsum(pace) / c.points) * np.clip(1 + 0.3 * walk[1], 0.8, 1.4)
    grown = np.clip((c.x - onset) / 0.04, 0, 1)
    c.kl *= np.exp(amplitude * wave * grown)
    c.recon *= 1 - 0.5 * amplitude * wave * grown


def growth(c: Curves, rng: np.random.Generator, to: float, onset: float) -> None:
    """KL without benefit: rises by the factor ``to`` from ``onset`` to the end."""
    c.kl *= 1 + (to - 1) * np.clip((c.x - onset) / (1 - onset), 0, 1)


def explode(
    c: Curves, rng: np.random.Generator, onset: float, factor: float, recon: float = 1.0, width: float = 0.0
) -> None:
    """KL jumps by orders of magnitude at ``onset``; with a ``width`` it returns."""
    after = np.clip((c.x - onset) / (width / 2 if width else 0.06), 0, None)
    level = np.clip(1 - np.abs(after - 1), 0, 1) * (c.x >= onset) if width else np.minimum(after, 1)
    c.kl *= factor**level
    c.recon *= recon**level


def not_finite(c: Curves, rng: np.random.Generator, onset: float, infinite: bool = False) -> None:
    """NaN from ``onset`` on, optionally after one infinite KL."""
    c.kl[c.x >= onset] = c.recon[c.x >= onset] = np.nan
    if infinite:
        c.kl[np.argmax(c.x >= onset)] = np.inf


def widen(c: Curves, rng: np.random.Generator, onset: float, depth: float) -> None:
    """exp(log_var) clamped inside the KL: posteriors widen without end, the KL falls through 0."""
    gone = np.clip((c.x - onset) / (1 - onset), 0, 1)
    c.kl = c.kl * (1 - np.minimum(1, 3 * gone)) - depth * gone
    c.recon += np.minimum(1, 4 * gone) * (c.recon[0] - c.recon) * 0.9


def policy_change(c: Curves, rng: np.random.Generator, at: tuple[float, ...], size: float) -> None:
    """The policy reaches new states: KL and reconstruction rise from one log to the next."""
    for moment in at:
        after = c.x >= moment
        c.kl[after] *= 1 + size
        c.recon[after] *= 1 + 1.2 * size + 0.6 * size * np.exp(-(c.x[after] - moment) / 0.02)


def broaden(c: Curves, rng: np.random.Generator, at: float, over: float, size: float) -> None:
    """Exploration grows: KL and reconstruction rise together over a part of the run, then hold."""
    share = np.clip((c.x - at) / over, 0, 1)
    c.kl *= 1 + size * share
    c.recon *= 1 + 1.3 * size * share


def die(c: Curves, rng: np.random.Generator, peak: float, null: float) -> None:
    """A learning rate that kills the latents in the first updates, after a KL of ``peak``; units never return."""
    early = np.exp(-c.x / 0.004)
    c.kl = peak * early + 2e-4 + 3e-3 * np.abs(rng.standard_t(2, c.points)) * (rng.random(c.points) < 0.3)
    c.recon = null * (1.02 + 0.3 * early + 0.04 * np.abs(rng.standard_t(3, c.points)))


def leaps(c: Curves, rng: np.random.Generator, at: tuple[float, ...], kl: float, recon: float, width: float) -> None:
    """Losses jump long after they were low, and return within ``width`` of the run."""
    for moment in at:
        shape = np.where(c.x >= moment, np.exp(-np.maximum(c.x - moment, 0) / width), 0) * rng.uniform(0.6, 1.4)
        c.kl *= 1 + (kl - 1) * shape
        c.recon *= 1 + (recon - 1) * shape


def tidy(c: Curves, rng: np.random.Generator, excess: float, until: float) -> None:
    """A code is too large at first and loses the excess without a change of the reconstruction."""
    c.kl *= 1 + excess * np.exp(-4 * c.x / until)


EVENTS: dict[str, Callable[..., None]] = {
    event.__name__: event
    for event in (refresh, swing, growth, explode, not_finite, widen, policy_change, broaden, die, leaps, tidy)
}


# --- noise: of single batches, shared by KL and reconstruction in part ----------------------------


def _deviates(kind: str, n: int, rng: np.random.Generator) -> Array:
    """Deviates of about unit scale."""
    white = rng.normal(size=n)
    if kind == "ar1":
        for i in range(1, n):
            white[i] = 0.7 * white[i - 1] + np.sqrt(1 - 0.49) * white[i]
        return white
    if kind == "heavy":
        return np.clip(rng.standard_t(2.5, n) / 1.6, -8, 8)
    if kind == "skewed":  # few batches have much larger losses
        return (np.exp(0.7 * white) - np.exp(0.245)) / 0.9
    if kind == "moving":  # each log is the mean of the last five batches
        return np.convolve(np.concatenate([rng.normal(size=4), white]), np.ones(5), "valid") / np.sqrt(5)
    if kind == "uneven":  # batches of one policy vary less than those of another
        return white * np.interp(np.arange(n), [0, n / 3, n], [0.3, 0.6, 1.8])
    return white


def add_noise(c: Curves, kind: str, size: float, rng: np.random.Generator) -> None:
    """Relative noise: a batch's states change KL and reconstruction together, the code's sample each separately."""
    shared = _deviates(kind, c.points, rng)
    for name, own in (("kl", 0.8), ("recon", 0.9)):
        factor = size * (np.sqrt(1 - own**2) * shared + own * _deviates(kind, c.points, rng))
        setattr(c, name, getattr(c, name) * np.maximum(0.05, 1 + factor))


def add_outliers(c: Curves, share: float, size: float, rng: np.random.Generator, last: bool = False) -> None:
    """Single points, at most 3% of them and never two in a row, with an exceptional batch."""
    count = max(1, int(share * c.points))
    places = rng.choice(np.arange(2, c.points - 3, 3), count, replace=False)
    if last:
        places[0] = c.points - 1
    c.kl[places] *= rng.uniform(1.5, size, count)
    c.recon[places] *= rng.uniform(1.2, size, count)


def round_to(values: Array, digits: int) -> Array:
    """Rounds to significant digits, as in printed and digitised curves."""
    exponent = np.floor(np.log10(np.maximum(np.abs(values), 1e-300)))
    unit = 10.0 ** (exponent - digits + 1)
    return np.round(values / unit) * unit


def smooth(values: Array, memory: float) -> Array:
    """Exponential moving average, as in loggers."""
    out = values.copy()
    for i in range(1, len(out)):
        out[i] = memory * out[i - 1] + (1 - memory) * out[i]
    return out
