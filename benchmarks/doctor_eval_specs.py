"""Settings of a simulated run of the doctor's evaluation half, and the names in hosts' logs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from doctor_eval_curves import Setting

Event = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Spec:
    """One run.

    Attributes:
        name: of the run, also its seed.
        points: logged points.
        why: the label's reason, a phrase.
        accepted: names that are right as the first finding; none where the run is healthy.
        setting, weights, speed, horizon, events: see ``doctor_eval_curves``.
        noise: kind and relative size.
        outliers: share of points and largest factor; with a third item the last point is one too.
        digits, memory: significant digits of the log; memory of its moving average.
        dropped: share of points that were not written.
        unequal: reconstruction and total are logged at other steps than the KL.
        names: a key of ``NAMES``.
        form: "sacred", "csv", "jsonl", "tensorboard", or "metrics" (metrics.jsonl).
        span: steps of the run.
        without: of kl, recon, loss, those that the host does not log.
        log: of weight, explained, active, grad_norm, log_var, spread, those that it logs as well.
        lr, clip: of the VAE's optimiser.
        typical_norm: median gradient norm.
        active: active units at the end; None for the setting's rank.
        config: further keys; ``bare`` hosts have none of ours, ``unconfigured`` ones save no configuration at all.
        clock: name of the step in files of rows.
    """

    name: str
    points: int
    why: str
    accepted: tuple[str, ...] = ()
    setting: Setting = field(default_factory=Setting)
    weights: Event = ("constant", {})
    events: tuple[Event, ...] = ()
    noise: tuple[str, float] = ("white", 0.03)
    outliers: tuple[Any, ...] = ()
    digits: int = 0
    memory: float = 0.0
    dropped: float = 0.0
    unequal: bool = False
    names: str = "pymarl"
    form: str = "sacred"
    span: int = 200_000
    without: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    lr: float = 5e-4
    clip: float = 10.0
    typical_norm: float = 1.5
    speed: float = 0.06
    horizon: float = 1.0
    active: int | None = None
    bare: bool = False
    unconfigured: bool = False
    clock: str = "step"
    config: dict[str, Any] = field(default_factory=dict)


ROLES = ("kl", "recon", "loss", "weight", "explained", "active", "grad_norm", "log_var")  # log_var: share at bound
NAMES: dict[str, tuple[str, ...]] = {
    "pymarl": (
        "kld_loss", "recons_loss", "vae_loss", "kld_weight", "explained_variance", "active_units", "vae_grad_norm", ""
    ),
    "div": ("kl_div", "rec_loss", "total_vae_loss", "kl_weight", "recon_ev", "active_units", "vae_grad_norm", ""),
    "omg": ("omg_kl_loss", "omg_recon_loss", "omg_loss", "omg_alpha", "omg_ev", "omg_active", "omg_grad_norm", ""),
    "paths": (
        "train/kl_loss", "train/recon_loss", "train/vae_loss", "train/beta", "train/explained_variance",
        "train/active_units", "train/vae_grad_norm", "",
    ),
    "losses": (
        "losses/kl", "losses/reconstruction", "losses/vae_total", "charts/beta", "losses/explained_variance",
        "charts/active_units", "charts/grad_norm", "",
    ),
    "vae": ("vae/kl", "vae/recon", "vae/loss", "vae/beta", "vae/explained_variance", "vae/active", "vae/gnorm", ""),
    "example": ("KLD", "BCE", "total", "beta", "ev", "au", "gnorm", ""),
    "model": (
        "model/kl_divergence", "model/reconstruction_loss", "model/total_loss", "model/kl_weight",
        "model/explained_variance", "model/active_units", "model/grad_norm", "",
    ),
    "state_vae": (
        "state_vae_kl", "state_vae_recon", "state_vae_loss", "state_vae_beta", "state_vae_explained_variance",
        "state_vae_active_units", "state_vae_grad_norm", "",
    ),
    "learner": (
        "learner/vae_kld", "learner/vae_recon_loss", "learner/vae_total_loss", "learner/vae_beta",
        "learner/vae_explained_variance", "learner/vae_active_units", "learner/vae_grad_norm", "",
    ),
    "epoch": ("kl_loss", "reconstruction_loss", "total_loss", "kl_weight", "explained_variance", "active_units",
              "vae_grad_norm", ""),
    "terms": ("latent_cost", "fit_error", "objective", "beta", "ev", "au", "gnorm", ""),
    "plugin": (
        "vae_kl_loss", "vae_recon_loss", "vae_loss", "vae_beta", "vae_explained_variance", "vae_active_units",
        "vae_grad_norm", "vae_log_var_bound_share",
    ),
}  # fmt: skip
MAPPED = {
    "example": {"kl": "KLD", "recon": "BCE", "loss": "total"},
    "terms": {"kl": "latent_cost", "recon": "fit_error", "loss": "objective"},
}  # names that a user would have to map
