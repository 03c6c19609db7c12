"""Reading any run of the PyMARL family: whose metrics are called what, whose keys mean what."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ...types import ConfigError
from ..runs import Series

# role -> our name, then those that forks log it under
ROLES: Mapping[str, tuple[str, ...]] = {
    "kl": ("vae_kl_loss", "kld_loss", "vae_kld_loss", "kl_loss", "kld", "kl", "kl_div", "kl_divergence", "vae_kl",
           "vae_kld", "omg_kl_loss"),
    "recon": ("vae_recon_loss", "recons_loss", "vae_recons_loss", "recon_loss", "reconstruction_loss", "rec_loss",
              "vae_reconstruction_loss", "vae_recon", "vae_rec_loss", "recon", "omg_recon_loss", "mse_loss"),
    "loss": ("vae_loss", "vae_total_loss", "total_vae_loss", "omg_vae_loss", "elbo_loss"),
    "alpha": ("vae_alpha", "omg_vae_alpha", "kl_weight", "kld_weight", "vae_beta", "kl_alpha", "beta"),
    "grad_norm": ("vae_grad_norm", "grad_norm_vae", "omg_vae_grad_norm"),
    "clipped": ("vae_clipped_share",),
    "active": ("vae_active_units", "active_units"),
    "explained": ("vae_explained_variance", "explained_variance_vae"),
    "bound": ("vae_log_var_bound_share",),
    "log_var_mean": ("vae_log_var_mean", "vae_logvar_mean", "logvar_mean"),
    "log_var_max": ("vae_log_var_max", "vae_logvar_max", "logvar_max"),
    "mu": ("vae_mu_abs_max",),
    "top": ("vae_kl_top_share",),
    "lr": ("vae_lr",),
    "skipped": ("vae_skipped_share",),
    "updates": ("updates", "train_steps", "n_updates"),
}  # fmt: skip
COMPANIONS = ("_std", "_min", "_max")

# our key -> those that forks write
KEYS: Mapping[str, tuple[str, ...]] = {
    "vae_lr": ("vae_learning_rate", "omg_vae_lr"),
    "omg_vae_alpha": ("vae_alpha", "kl_weight", "kld_weight", "vae_beta"),
    "vae_latent_dim": ("latent_dim", "z_dim", "latent_size", "omg_latent_dim", "subgoal_dim"),
    "vae_hidden_dim": ("vae_hidden_size", "vae_hidden"),
    "grad_norm_clip": ("vae_grad_norm_clip",),
}


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is one of this package's, so that every key of it runs again."""
    return "base_learner" in config and "vae_latent_dim" in config


def canonical(series: Mapping[str, Series], named: Mapping[str, Any] | None = None) -> dict[str, Series]:
    """The series under our names, companions too; of a name with a path (``train/kld_loss``) its end counts.

    Args:
        series: as logged.
        named: role -> name, from the user (``diagnose.kl=NAME``).

    Raises:
        ConfigError: a role or a name that is not there.
    """
    named = named or {}
    for role, name in named.items():
        if role not in ROLES:
            raise ConfigError(f"diagnose.{role}: no such series; there are {', '.join(ROLES)}")
        if name not in series:
            near = get_close_matches(str(name), series, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it logs {_some(series)}"
            raise ConfigError(f"diagnose.{role}: the run logs no {name!r}; {hint}")
    ends = {re.split(r"[/.]", name)[-1].lower(): name for name in reversed(list(series))}
    result: dict[str, Series] = {}
    for role, (ours, *others) in ROLES.items():
        candidates = [ends[alias] for alias in (ours, *others) if alias in ends]
        name = named.get(role, candidates[0] if candidates else None)
        if name is not None:
            result[ours] = series[name]
            result |= {ours + c: series[name + c] for c in COMPANIONS if name + c in series}
    return result


def _some(names: Mapping[str, Any], most: int = 12) -> str:
    """The first names, for an error's one line."""
    listed = [name for name in names if not name.endswith(COMPANIONS)]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) + more) or "nothing"


def require_some_loss(found: Mapping[str, Series], logged: Mapping[str, Series]) -> None:
    """Raises where there is nothing of a VAE to look at."""
    if not any(name in found for name in ("vae_kl_loss", "vae_recon_loss", "vae_loss")):
        if not logged:
            raise ConfigError("run: nothing has been logged yet; diagnose it when it has run for a while")
        raise ConfigError(
            "run: no VAE loss under a name that is known; say which it is with "
            f"diagnose.kl=NAME diagnose.recon=NAME diagnose.loss=NAME. It logs {_some(logged)}"
        )


def translated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration under our keys, numbers written as text read as numbers."""
    result = dict(config)
    for ours, others in KEYS.items():
        for name in others:
            if ours not in result and name in config:
                result[ours] = config[name]
    for ours in (*KEYS, "vae_alpha_ramp", "optim_alpha"):
        if isinstance(result.get(ours), str):
            try:
                result[ours] = float(result[ours])
            except ValueError:
                del result[ours]
    return result


def how_it_ended(run: Path) -> tuple[str, str]:
    """Sacred's status of a run and the last line of its traceback, as far as ``run.json`` tells."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        trace = record.get("fail_trace") or [""]
        return str(record.get("status", "")), str(trace[-1]).strip()
    except (OSError, ValueError, AttributeError):
        return "", ""
