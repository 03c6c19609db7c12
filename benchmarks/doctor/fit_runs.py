"""Curves in the style of other people's runs: the fit half of the doctor's benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
REDUCTIONS = ("mean", "summed", "batch_sum", "kl_mean", "weighted")


@dataclass
class Run:
    """One run: its curves in nats and shares, how it logs them, and what the doctor must say first."""

    name: str
    points: int
    rng: np.random.Generator
    expected: tuple[str, ...] = ()  # any of these first; none: healthy
    also: tuple[str, ...] = ()  # must be found as well, anywhere
    kl: Floats = field(default_factory=lambda: np.empty(0))  # nats
    gap: Floats = field(default_factory=lambda: np.empty(0))  # share of the reconstruction that is not explained
    weight: Floats | None = None  # in the run's own reduction; None: constant
    alpha: float = 1e-3
    null: float = 0.07  # reconstruction of a decoder without a code
    latents: int = 32
    reduction: str = "mean"
    logs: tuple[str, ...] = ("recon",)
    config: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Floats] = field(default_factory=dict)
    noise: str = "white"
    level: float = 0.02

    @property
    def x(self) -> Floats:
        """The run from beginning to end, 0 to 1."""
        return np.linspace(0, 1, self.points)

    def scatter(self) -> Floats:
        """One draw of relative noise [points]."""
        n, rng = self.points, self.rng
        if self.noise == "white":
            return self.level * rng.standard_normal(n)
        if self.noise == "student":
            return self.level * np.clip(rng.standard_t(4, n) / 1.4, -8, 8)
        if self.noise == "memory":
            phi, x = rng.uniform(0.2, 0.6), np.zeros(n)
            steps = rng.standard_normal(n) * np.sqrt(1 - phi**2)
            for i in range(1, n):
                x[i] = phi * x[i - 1] + steps[i]
            return self.level * x
        flat = self.level * rng.standard_normal(n)
        places = rng.choice(n, max(1, int(0.025 * n)), replace=False)
        flat[places] += rng.choice([-0.9, 2.0, 6.0], len(places))
        return flat

    def arrays(self) -> dict[str, Floats]:
        """What the run logs."""
        kl = self.kl * (1 + self.scatter())
        recon = self.null * self.gap * (1 + 0.5 * self.scatter())
        weight = np.full(self.points, self.alpha) if self.weight is None else self.weight
        scale = {"kl_mean": 1 / self.latents, "batch_sum": 128.0}.get(self.reduction, 1.0)
        logged = kl * (weight if self.reduction == "weighted" else scale)
        recon = recon * (128.0 if self.reduction == "batch_sum" else 1.0)
        total = recon + (1.0 if self.reduction == "weighted" else weight) * (
            logged if self.reduction != "kl_mean" else logged * self.latents
        )
        found = {"kld_loss": logged}
        found |= {"recons_loss": recon} if "recon" in self.logs else {}
        found |= {"vae_loss": total} if "total" in self.logs else {}
        found |= {"kl_weight": weight} if "weight" in self.logs else {}
        found |= {"vae_explained_variance": 1 - self.gap * (1 + 0.2 * self.scatter())} if "ev" in self.logs else {}
        return found | self.extra

    def settings(self) -> dict[str, Any]:
        """The fork's configuration."""
        return {
            "vae_lr": 5e-4,
            "omg_vae_alpha": self.alpha,
            "latent_dim": self.latents,
            "grad_norm_clip": 5,
        } | self.config


def base(name: str, rng: np.random.Generator, **changed: Any) -> Run:
    """A healthy run with random size, reduction, noise and logs: the code comes into use, and stays."""
    points = int(10 ** rng.uniform(np.log10(30), 4))
    reduction = str(rng.choice(REDUCTIONS))
    logs = [n for n, p in (("recon", 0.85), ("total", 0.5), ("weight", 0.2), ("ev", 0.25)) if rng.uniform() < p]
    run = Run(name, points, rng, reduction=reduction, logs=tuple(logs), noise=str(rng.choice(
        ["white", "student", "memory", "outliers"])), level=float(rng.choice([0.01, 0.03, 0.08])),
        latents=int(rng.choice([8, 16, 32, 64])))  # fmt: skip
    for key, value in changed.items():
        setattr(run, key, value)
    if run.reduction in ("summed", "batch_sum"):
        run.null, run.alpha = float(rng.uniform(12, 60)), float(rng.choice([0.1, 0.3, 1.0]))
    else:
        run.null = float(rng.choice([0.06, 0.2, 1.0]))
        run.alpha = run.null * float(rng.choice([0.003, 0.01]))
    x, nats = run.x, float(rng.uniform(6, 25))
    onset, speed = rng.uniform(0.02, 0.15), rng.uniform(15, 40)
    rise = 1 / (1 + np.exp(-speed * (x - onset - 2 / speed)))
    start = np.exp(-x * 300) * rng.choice([1.0, 60.0])
    run.kl = nats * (0.01 + 0.99 * rise * (1 + 0.15 * np.exp(-6 * x))) + start
    run.gap = 1 - rng.uniform(0.75, 0.95) * rise * (1 - 0.3 * np.exp(-5 * x)) + 0.4 * np.exp(-x * 200)
    return run


# healthy runs


def plain(run: Run) -> None:
    """Nothing happens."""


def new_policies(run: Run) -> None:
    """States change once to three times: both losses rise, the reconstruction comes back part of the way."""
    for at in run.rng.uniform(0.3, 0.95, run.rng.integers(1, 4)):
        after = run.x >= at
        size = run.rng.uniform(0.1, 0.4)
        run.kl = run.kl * np.where(after, 1 + size * (1 - 0.3 * np.exp(-30 * (run.x - at) * after)), 1)
        run.gap = run.gap * np.where(after, 1 + size + size * np.exp(-20 * (run.x - at) * after), 1)
    run.logs = tuple({*run.logs, "recon"})


def ramp(run: Run) -> None:
    """A ramp of the weight that ends early; the KL settles at a lower level."""
    end = run.rng.uniform(0.1, 0.35)
    run.weight = run.alpha * np.minimum(1, run.x / end + 1e-3)
    run.kl = run.kl * (1 + 1.2 * np.exp(-3 * run.x / end))


def worth_it(run: Run) -> None:
    """The KL rises by a quarter over the last half; the reconstruction falls by enough to pay for it."""
    late = np.clip(2 * run.x - 1, 0, 1)
    run.kl = run.kl * (1 + 0.25 * late)
    base_recon = run.null * float(np.median(run.gap))
    run.alpha = min(run.alpha, 0.8 * base_recon / float(np.median(run.kl)))  # else nothing could pay for it
    price = run.alpha * float(np.median(run.kl)) * 0.25 / max(base_recon, 1e-9)
    run.gap = run.gap * (1 - min(0.5, max(0.25 * 0.3, 2.0 * price)) * late)
    run.logs = tuple({*run.logs, "recon"})


def late_log(run: Run) -> None:
    """Logged from the middle of a training: everything is flat."""
    run.kl, run.gap = np.full(run.points, run.kl[-1]), np.full(run.points, run.gap[-1])
    if run.reduction in ("kl_mean", "weighted"):
        run.logs = tuple({*run.logs, "ev"})


# faulty runs


def dies_at_once(run: Run) -> None:
    """The latents shut within the first updates."""
    run.kl = run.rng.uniform(0.5, 20) * np.exp(-run.x * 400) + 10 ** run.rng.uniform(-4, -1.5)
    run.gap = 1 + 0.6 * np.exp(-run.x * 300)
    run.expected = ("posterior_collapse",)


def dies_late(run: Run) -> None:
    """The latents shut in the last tenth."""
    shut = 1 / (1 + np.exp(150 * (run.x - run.rng.uniform(0.88, 0.92))))
    run.gap = 1 - (1 - run.gap) * shut
    run.kl = run.kl * shut + 0.01
    run.expected = ("posterior_collapse",)


def dies_by_ramp(run: Run) -> None:
    """A ramp over the complete run to a weight that is too large."""
    run.alpha = run.null * 0.4
    run.weight = run.alpha * (run.x + 1e-3)
    shut = np.clip(1 - run.x / run.rng.uniform(0.75, 0.9), 0, 1) ** 0.8
    run.gap = 1 - (1 - run.gap) * shut
    run.kl = run.kl * shut + 0.01
    run.expected = ("posterior_collapse",)


def teeth(run: Run, depth: float, least: int = 4) -> Floats:
    """A sawtooth of 1 with a random number of teeth, periods irregular in half of the cases."""
    count = int(run.rng.integers(least, max(least + 1, min(16, run.points // 7))))
    widths = np.exp(run.rng.choice([0.0, 0.12]) * run.rng.standard_normal(count))
    edges = np.concatenate(([0.0], np.cumsum(widths) / widths.sum()))[:-1]
    phase = (run.x - edges[np.searchsorted(edges, run.x, side="right") - 1]) * count
    return 1 - depth * np.exp(-phase / run.rng.uniform(0.08, 0.5))


def refreshed(run: Run, least: int = 4) -> None:
    """New data at every tooth."""
    depth = float(run.rng.uniform(0.2, 0.6))
    run.points = max(run.points, 40)
    run.level = min(run.level, 0.12 * depth)
    again = base(run.name, run.rng, points=run.points, level=run.level, logs=run.logs, noise=run.noise)
    run.__dict__.update(again.__dict__ | {"expected": ("data_refresh",)})
    tooth = teeth(run, depth, least)
    run.kl, run.gap = run.kl * tooth, run.gap * (1 + 1.5 * (1 - tooth))


def refreshed_ramp(run: Run) -> None:
    """A collapse by the ramp in data that are refreshed."""
    refreshed(run, least=7)
    dies_by_ramp(run)
    run.expected, run.also = ("posterior_collapse",), ("data_refresh",)


def swings(run: Run) -> None:
    """KL and reconstruction chase each other."""
    wave = run.rng.uniform(0.15, 0.35) * np.sin(2 * np.pi * run.rng.uniform(5, 9) * run.x)
    run.kl, run.gap = run.kl * (1 + wave), run.gap * (1 - 0.5 * wave)
    run.level = min(run.level, 0.03)
    run.expected = ("kl_oscillation",)


def cycles(run: Run) -> None:
    """A cyclical weight, logged."""
    phase = (run.x * run.rng.integers(5, 9)) % 1
    run.weight = run.alpha * np.minimum(1, 2 * phase + 0.02)
    run.kl = run.kl * (1.35 - 0.5 * np.minimum(1, 2 * phase))
    run.logs, run.level = tuple({*run.logs, "weight"}), min(run.level, 0.03)
    run.reduction = "mean" if run.reduction == "weighted" else run.reduction
    run.expected = ("kl_oscillation",)


def grows(run: Run) -> None:
    """The KL rises and buys nothing."""
    late = np.clip((run.x - run.rng.uniform(0.4, 0.6)) * 2, 0, 1)
    run.kl = run.kl * (1 + run.rng.uniform(0.4, 1.0) * late)
    run.gap = np.where(run.x > 0.3, run.gap[int(0.3 * run.points)], run.gap)
    run.logs, run.level = tuple({*run.logs, "recon"}), min(run.level, 0.03)
    run.expected = ("kl_growth",)


def grows_late(run: Run) -> None:
    """The same in the last eighth."""
    late = np.clip((run.x - 0.87) * 10, 0, 1)
    run.kl = run.kl * (1 + run.rng.uniform(0.6, 1.2) * late)
    run.logs, run.level = tuple({*run.logs, "recon"}), min(run.level, 0.03)
    run.expected = ("kl_growth", "kl_explosion")


def leaves_and_returns(run: Run) -> None:
    """Several points far off in the middle, then as before."""
    run.points = max(run.points, 80)
    again = base(run.name, run.rng, points=run.points, level=run.level, logs=run.logs, noise=run.noise)
    run.__dict__.update(again.__dict__)
    first = int(run.rng.uniform(0.4, 0.9) * run.points)
    width = max(4, int(0.03 * run.points))
    run.kl[first : first + width] *= run.rng.uniform(4, 20)
    run.gap[first : first + width] *= 3
    run.expected = ("excursion", "kl_explosion")


def breaks(run: Run) -> None:
    """Numbers that are none at the end."""
    run.kl = np.where(run.x > run.rng.uniform(0.9, 0.97), np.nan, run.kl)
    run.expected = ("non_finite",)


def weighs_nothing(run: Run) -> None:
    """A weight that holds nothing."""
    run.reduction, run.logs = "mean", ("recon", "total")
    run.null, run.alpha, run.latents = 0.07, 1e-7, 16
    run.kl, run.gap = run.kl * 8, run.gap * 0.6
    run.expected = ("kl_weight_too_small",)


def weighs_too_much(run: Run) -> None:
    """A weight that leaves half of the state uncoded."""
    run.reduction, run.logs = "mean", ("recon", "ev")
    run.alpha = run.null * 0.2
    run.kl, run.gap = run.kl * 0.2, 1 - 0.5 * (1 - run.gap)
    run.expected = ("kl_weight_too_large",)


def below_zero(run: Run) -> None:
    """A KL with a clamp inside."""
    run.reduction = "mean"
    run.kl = run.kl - 60 * np.clip(run.x - 0.5, 0, 1)
    run.expected = ("negative_kl",)


HEALTHY: tuple[Callable[[Run], None], ...] = (plain, new_policies, ramp, worth_it, late_log)
FAULTY: tuple[Callable[[Run], None], ...] = (
    dies_at_once, dies_late, dies_by_ramp, refreshed, refreshed, refreshed_ramp, swings, cycles, grows, grows_late,
    leaves_and_returns, breaks, weighs_nothing, weighs_too_much, below_zero,
)  # fmt: skip


def runs(seed: int) -> list[Run]:
    """Thirty healthy and thirty faulty ones."""
    made = []
    for kinds, repeats in ((HEALTHY, 6), (FAULTY, 2)):
        for i, kind in enumerate(kinds):
            for again in range(repeats):
                run = base(f"{kind.__name__}-{seed}-{i}{again}", np.random.default_rng((seed, i, again, len(kinds))))
                kind(run)
                made.append(run)
    return made
