"""The 20 real trainings of the doctor's evaluation half: their settings, and the labels that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Training:
    """One training; an empty ``accepted`` means healthy.

    ``weight`` maps progress (0 to 1) to a multiple of ``beta``; ``every`` is the number of updates between two logs;
    ``log_var`` the encoder's first log-variance; ``clamped`` puts clamp(exp(log_var), max=10) into the KL.
    ``kl`` is "mean" where the KL is averaged over latents. ``averaged`` logs means over the interval instead of
    single batches. ``total`` False: no total is logged. ``warm_up`` is the part of the run over which the
    learning rate rises to ``lr``. ``config`` replaces the host's configuration.
    """

    name: str
    world: str
    host: str
    why: str
    accepted: tuple[str, ...] = ()
    beta: float = 0.3
    weight: Callable[[float], float] = lambda progress: 1.0
    likelihood: str = "mse"
    reduce: str = "sum"
    standardise: bool = True
    latents: int = 12
    updates: int = 2000
    every: int = 4
    lr: float = 1e-3
    clip: float = 10.0
    log_var: float = 0.0
    clamped: bool = False
    refresh: tuple[int, int] = (256, 300)  # states of a batch, updates on it
    names: tuple[str, str, str] = ("kld_loss", "recons_loss", "vae_loss")
    form: str = "sacred"
    log_weight: str = ""
    log_norm: str = ""
    batch: int = 64
    width: int = 64
    optimiser: str = "Adam"
    optim: dict[str, Any] = field(default_factory=dict)
    warm_up: float = 0.0
    kl: str = "sum"
    averaged: bool = False
    total: bool = True
    log_explained: str = ""
    config: dict[str, Any] | None = None


TRAININGS = (
    Training(
        "lander_new_policy", "lander", "switch", "each state used once; another policy from 60% on", beta=0.1,
        log_norm="vae_grad_norm",
    ),
    Training(
        "pole_growing_buffer", "pole", "growing", "a buffer that grows while the policy improves", beta=0.05, lr=2e-3,
    ),
    Training(
        "traffic_replay", "automaton", "replay", "binary rows from a large buffer", likelihood="bce", latents=16,
        beta=0.4, lr=3e-3, names=("losses/kl", "losses/reconstruction", "losses/vae_total"), form="tensorboard",
    ),
    Training(
        "cards_on_policy", "cards", "fresh", "hands, Bernoulli averaged over features", likelihood="bce",
        reduce="mean", beta=0.3 / 20, updates=2400, lr=2e-3, names=("vae/kl", "vae/recon", "vae/loss"), form="jsonl",
    ),
    Training(
        "sensors_prioritised", "sensors", "prioritised", "replay by reconstruction error, ramp of 15%, logged",
        weight=lambda progress: min(1.0, progress / 0.15), log_weight="kld_weight", latents=8,
    ),
    Training(
        "sprites_replay", "sprites", "replay", "images from a large buffer", likelihood="bce", beta=0.3, lr=2e-3,
        every=10, names=("train/kl_loss", "train/recon_loss", "train/vae_loss"),
    ),
    Training(
        "letters_on_policy", "text", "fresh", "one-hot letters, Bernoulli, single batches", likelihood="bce",
        beta=0.4, latents=16, lr=3e-3, every=2, names=("kl_div", "rec_loss", "total_vae_loss"),
    ),
    Training(
        "sensors_drift", "sensors", "drift", "operating point drifts slowly", latents=8, beta=0.2, every=20,
        form="csv", names=("kl_loss", "recon_loss", "vae_loss"),
    ),
    Training(
        "lander_kept_batches", "lander", "refresh",
        "batches of 8,192 states, 80 updates on each: nothing learned by heart", refresh=(8192, 80), beta=0.1,
        names=("omg_kl_loss", "omg_recon_loss", "omg_loss"),
    ),
    Training(
        "pole_average_loss", "pole", "replay", "squared error averaged over features, few log points", reduce="mean",
        beta=0.008, lr=2e-3, every=60,
    ),
    Training(
        "sprites_averaged", "sprites", "replay", "pixels averaged, KL summed, weight 1: 81 times too large",
        ("posterior_collapse",), likelihood="bce", reduce="mean", beta=1.0,
        names=("train/kl_loss", "train/recon_loss", "train/vae_loss"),
    ),
    Training(
        "cards_ramp", "cards", "growing", "a ramp, not logged, to a weight of 4", ("posterior_collapse",),
        likelihood="bce", beta=4.0, weight=lambda progress: progress, updates=2400, lr=3e-3,
        names=("vae/kl", "vae/recon", "vae/loss"), form="jsonl",
    ),
    Training(
        "traffic_refreshed", "automaton", "refresh", "300 updates on 128 rows, then discarded", ("data_refresh",),
        beta=0.001, reduce="mean", standardise=False, latents=24, refresh=(128, 300), updates=3000, lr=2e-3,
    ),
    Training(
        "letters_refreshed", "text", "refresh", "250 updates on 192 words, then discarded", ("data_refresh",),
        likelihood="bce", beta=0.3, refresh=(192, 250), updates=2500, every=5, latents=16, lr=2e-3,
        names=("kl_div", "rec_loss", "total_vae_loss"),
    ),
    Training(
        "sensors_free_kl", "sensors", "replay", "weight 1e-7: the KL is not held", ("kl_weight_too_small",),
        beta=1e-7, latents=8, names=("losses/kl", "losses/reconstruction", "losses/vae_total"), form="tensorboard",
        log_weight="charts/beta",
    ),
    Training("lander_fast", "lander", "fresh", "learning rate 0.15", ("learning_rate_too_high",), beta=0.1, lr=0.15),
    Training(
        "sprites_clamped", "sprites", "fresh", "clamp(exp(log_var)) in the KL, posteriors that begin wide",
        ("negative_kl",), likelihood="bce", clamped=True, log_var=6.0, updates=1600, lr=3e-3,
    ),
    Training(
        "pole_asleep", "pole", "replay", "learning rate 3e-7: nothing is learned", ("reconstruction_plateau",),
        lr=3e-7, beta=0.05, names=("omg_kl_loss", "omg_recon_loss", "omg_loss"),
    ),
    Training(
        "cards_cyclical", "cards", "replay", "a logged cyclical weight until the end", ("kl_oscillation",),
        likelihood="bce", beta=0.6, weight=lambda progress: min(1.0, 2 * (progress * 8 % 1)) + 0.02, updates=2400,
        lr=2e-3, log_weight="kld_weight",
    ),
    Training(
        "letters_heavy_weight", "text", "replay",
        "weight 1.6 on summed likelihoods: half of the nats stay unexplained", ("kl_weight_too_large",),
        likelihood="bce", beta=1.6, latents=16, lr=3e-3, log_weight="train/beta",
        names=("train/kl_loss", "train/recon_loss", "train/vae_loss"),
    ),
)  # fmt: skip
