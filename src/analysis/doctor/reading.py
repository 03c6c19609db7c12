"""Identifies the losses and keys of a VAE in runs of any package, by their names."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...config.files import read_json
from ...types import ConfigError
from ..runs import EMPTY, Series, finite

# role -> omarl's name, then names used by forks
ROLES: Mapping[str, tuple[str, ...]] = {
    "kl": ("vae_kl_loss", "kld_loss", "vae_kld_loss", "omg_kld_loss", "omg_kl_loss", "omg_vae_kl_loss",
           "omg_vae_kld_loss", "omg_kl", "omg_kld", "vae_kl", "vae_kld", "kl_loss", "kld", "kl_div", "kl_divergence",
           "loss_kl", "loss_kld", "kl"),
    "recon": ("vae_recon_loss", "recons_loss", "vae_recons_loss", "omg_recons_loss", "omg_recon_loss",
              "omg_vae_recon_loss", "omg_vae_recons_loss", "omg_recon", "omg_recons", "recon_loss",
              "reconstruction_loss", "rec_loss", "vae_reconstruction_loss", "vae_recon", "vae_rec_loss", "loss_recon",
              "loss_rec", "reconstruction", "recon", "recons", "bce_loss", "bce", "nll", "mse_loss", "mse"),
    "loss": ("vae_loss", "vae_total_loss", "total_vae_loss", "omg_vae_loss", "omg_vae_total_loss", "omg_loss",
             "loss_vae", "vae_total", "total_vae", "elbo_loss", "neg_elbo", "negative_elbo", "elbo", "total_loss",
             "loss"),
    "alpha": ("vae_alpha", "omg_vae_alpha", "omg_alpha", "kl_weight", "kld_weight", "kl_alpha", "kl_beta",
              "vae_kl_weight", "omg_kl_weight", "alpha", "beta"),
    "beta": ("vae_beta", "omg_vae_beta", "omg_beta"),
    "grad_norm": ("vae_grad_norm", "grad_norm_vae", "omg_vae_grad_norm", "omg_grad_norm"),
    "clipped": ("vae_clipped_share", "omg_vae_clipped_share"),
    "active": ("vae_active_units", "active_units", "omg_active_units", "omg_vae_active_units"),
    "explained": ("vae_explained_variance", "explained_variance_vae", "omg_explained_variance",
                  "omg_vae_explained_variance", "explained_variance", "explained_var", "recon_explained_variance"),
    "null": ("vae_recon_null",),
    "bound": ("vae_log_var_bound_share",),
    "log_var_mean": ("vae_log_var_mean", "vae_logvar_mean", "logvar_mean"),
    "log_var_max": ("vae_log_var_max", "vae_logvar_max", "logvar_max"),
    "mu": ("vae_mu_abs_max",),
    "top": ("vae_kl_top_share",),
    "lr": ("vae_lr",),
    "skipped": ("vae_skipped_share",),
    "updates": ("updates", "vae_updates", "train_steps", "n_updates"),
}  # fmt: skip
KNOWN = frozenset(alias for aliases in ROLES.values() for alias in aliases)
# Ambiguous names that policies also use. They count as the VAE's only if another series certainly is the VAE's.
SHARED = frozenset({"kl", "kl_loss", "kl_div", "kl_divergence", "nll", "mse", "mse_loss", "loss", "total_loss",
                    "alpha", "beta", "recon", "reconstruction", "elbo", "explained_variance",
                    "explained_var"})  # fmt: skip
POLICY = re.compile(r"policy|learner_stats|actor|critic|ppo|sac", re.IGNORECASE)
VAE = re.compile(r"vae|omg|elbo|autoencoder|world_model", re.IGNORECASE)
OURS_ALONE = ("vae_latent_dim", "vae_alpha_schedule", "vae_log_var_bound", "vae_alpha_ramp", "vae_betas",
              "vae_log_var_limit", "base_learner")  # fmt: skip
COMPANIONS = ("_std", "_min", "_max")
MIRRORED = -0.8  # a VAE's explained variance has a lower correlation with its reconstruction loss

# omarl's key -> keys of forks
KEYS: Mapping[str, tuple[str, ...]] = {
    "vae_lr": ("vae_learning_rate", "omg_vae_lr"),
    "omg_vae_alpha": ("vae_alpha", "omg_alpha", "kl_weight", "kld_weight", "kl_alpha", "kl_beta", "vae_beta", "beta"),
    "vae_latent_dim": ("latent_dim", "z_dim", "latent_size", "omg_latent_dim", "subgoal_dim", "n_latents"),
    "vae_hidden_dim": ("vae_hidden_size", "vae_hidden"),
    "grad_norm_clip": ("vae_grad_norm_clip",),
}


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of omarl's VAE, so that remedies may change its keys."""
    return sum(name in config for name in OURS_ALONE) >= 2


def canonical(series: Mapping[str, Series], named: Mapping[str, Any] | None = None) -> dict[str, Series]:
    """Renames series to omarl's names; of a name with a path (``train/kld_loss``), the last part counts.

    Args:
        series: the series as logged, including standard deviations and the like.
        named: role -> name, given by the user (``diagnose.kl=NAME``).

    Raises:
        ConfigError: a role or a name does not exist.
    """
    named = named or {}
    for role, name in named.items():
        if role not in ROLES:
            raise ConfigError(f"diagnose.{role}: no such series; there are {', '.join(ROLES)}")
        if name not in series:
            near = get_close_matches(str(name), series, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it logs {_list_names(series)}"
            raise ConfigError(f"diagnose.{role}: the run logs no {name!r}; {hint}")
    candidates = {role: _candidates(series, aliases) for role, aliases in ROLES.items()}
    sure = {role: [n for n, is_shared in names if not is_shared] for role, names in candidates.items()}
    has_recon = bool(sure["recon"]) or "recon" in named
    has_vae = has_recon or bool(sure["kl"]) or "kl" in named or bool(sure["loss"])
    result: dict[str, Series] = {}
    for role, (ours, *_) in ROLES.items():
        accepted = [n for n, is_shared in candidates[role] if not is_shared or has_vae]
        if not has_vae and role in ("kl", "recon") and candidates["kl"] and candidates["recon"]:
            accepted = [n for n, _ in candidates[role]]  # "kl" and "mse" together
        name = named.get(role, accepted[0] if accepted else None)
        if name is not None:
            result[ours] = series[name]
            result |= {ours + c: series[name + c] for c in COMPANIONS if name + c in series}
    sure_variance = bool(sure["explained"]) or "explained" in named
    result = _without_foreign_total(result, sure_total=bool(sure["loss"]) or "loss" in named)
    return result if sure_variance else _without_foreign_variance(result)


def _candidates(series: Mapping[str, Series], aliases: tuple[str, ...]) -> list[tuple[str, bool]]:
    """The logged names of a role in order of preference, and whether each may also be a policy's."""
    candidates = []
    for name in series:
        *path, end = re.split(r"[/.]", name)
        owner, end = _split_owner(end.lower().replace("-", "_").replace(" ", "_"))
        if end not in aliases:
            continue
        prefix = "/".join([*path, owner] if owner else path)
        of_vae, of_policy = bool(VAE.search(prefix)), bool(POLICY.search(prefix))
        is_shared = end in SHARED and not of_vae
        if not (is_shared and of_policy):
            candidates.append(((not of_vae, aliases.index(end)), name, is_shared))
    return [(name, is_shared) for _, name, is_shared in sorted(candidates, key=lambda candidate: candidate[0])]


@cache
def _split_owner(end: str) -> tuple[str, str]:
    """Splits a name into owner and quantity: state_vae_kl is the kl of state_vae. A known name has no owner, ""."""
    if end in KNOWN:
        return "", end
    owned = [alias for alias in KNOWN if re.search(rf"(vae|omg|autoencoder)_{alias}$", end)]
    alias = max(owned, key=len, default="")
    return (end.removesuffix(f"_{alias}"), alias) if alias else ("", end)


def _without_foreign_total(series: dict[str, Series], sure_total: bool) -> dict[str, Series]:
    """Removes an ambiguous "loss" that is smaller than the reconstruction loss, so it is another network's."""
    total, recon = series.get("vae_loss"), series.get("vae_recon_loss", EMPTY)
    if total is None or sure_total:
        return series
    t = np.intersect1d(total.t, recon.t)
    if len(t) >= 3:
        sums, part = total.value[np.isin(total.t, t)], recon.value[np.isin(recon.t, t)]
        if np.nanmean(sums >= 0.999 * part) > 0.95:
            return series
    return {name: s for name, s in series.items() if not name.startswith("vae_loss")}


def _without_foreign_variance(series: dict[str, Series]) -> dict[str, Series]:
    """Removes an ambiguous "explained variance" that does not mirror the reconstruction loss; critics log one too."""
    explained, recon = finite(series.get("vae_explained_variance")), finite(series.get("vae_recon_loss"))
    if len(recon) >= 8 and len(explained) >= 8:
        loss = np.interp(explained.t, recon.t, recon.value)
        varies = loss.std() > 0 and explained.value.std() > 0
        if varies and np.corrcoef(loss, explained.value)[0, 1] < MIRRORED:
            return series
    return {name: s for name, s in series.items() if name != "vae_explained_variance"}


def _list_names(names: Mapping[str, Any], most: int = 12) -> str:
    """The first names as text for an error message."""
    listed = [name for name in names if not name.endswith(COMPANIONS)]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) + more) or "nothing"


def require_vae_loss(series: Mapping[str, Series], logged: Mapping[str, Series]) -> None:
    """Raises ConfigError if none of the series is a VAE's loss."""
    if not any(name in series for name in ("vae_kl_loss", "vae_recon_loss", "vae_loss")):
        if not logged:
            raise ConfigError("run: nothing has been logged yet; diagnose the run later")
        raise ConfigError(
            "run: there is no VAE in this run, or its losses have unknown names. If there is a VAE, name the series "
            "of its losses with diagnose.kl=NAME diagnose.recon=NAME diagnose.loss=NAME. "
            f"It logs {_list_names(logged)}"
        )


def translated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with omarl's keys; numbers that are strings are converted."""
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


def run_status(run: Path) -> tuple[str, str]:
    """Sacred's status of a run and the error that ended it, from ``run.json``; empty if unknown.

    The error is the line about a non-finite VAE, if any, or else the last line of the traceback.
    """
    try:
        record = read_json(run / "run.json")
        lines = [line.strip() for part in record.get("fail_trace") or [""] for line in str(part).splitlines()] or [""]
        ours = [line for line in lines if "the VAE is not finite" in line]
        return str(record.get("status", "")), (ours or [line for line in lines if line] or [""])[-1]
    except (ConfigError, TypeError):
        return "", ""
