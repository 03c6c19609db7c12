"""Advice for VAEs of other packages: one sentence for each finding, with the names of the run's own keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .facts import Facts
from .findings import Finding
from .reading import KEYS

LIKELIHOOD = (
    "sum a likelihood that fits the features (binary: binary cross-entropy; one-hot: cross-entropy; otherwise half "
    "the squared error) over the features and use a KL weight of about 0.3"
)


def key_of_run(config: Mapping[str, Any], key: str, otherwise: str) -> str:
    """The run's name of one of omarl's keys, with its value; ``otherwise`` if the run has no such key."""
    name = next((n for n in (*KEYS.get(key, ()), key) if n in config), None)
    return f"{name} ({config[name]})" if name is not None else otherwise


def advice(finding: Finding, facts: Facts) -> str:
    """The advice for a finding; empty if nothing needs to be changed."""
    weight = key_of_run(facts.config, "omg_vae_alpha", "the KL weight")
    lr = key_of_run(facts.config, "vae_lr", "the VAE's learning rate")
    clip = key_of_run(facts.config, "grad_norm_clip", "the gradient clip")
    r = finding.remedy
    to = f" to about {r['omg_vae_alpha']:.2g}" if "omg_vae_alpha" in r else ""
    slower = f" to about {r['vae_lr']:.2g}" if "vae_lr" in r else " by a factor of 3 to 10"
    schedule = (
        f"let {weight} rise once and then stay constant"
        if finding.driven_by_weight
        else "adjust the KL weight so that the KL stays at a target (a PI controller on the KL), or raise it by 3"
    )
    sentences = {
        "negative_kl": "Use KL = 0.5 * sum(mu^2 + exp(log_var) - 1 - log_var) without a clamp inside; bound log_var "
        "itself (log_var = 5 * tanh(log_var / 5)) before both the sample and the KL.",
        "non_finite": f"Bound log_var (5 * tanh(log_var / 5)), lower {lr} by 10 and clip gradients at 1.",
        "learning_rate_too_high": f"Lower {lr}{slower}.",
        "posterior_collapse": f"Lower {weight}{to}, which is then the end of its ramp; or {LIKELIHOOD}.",
        "kl_weight_too_large": f"Lower {weight}{to}; or {LIKELIHOOD}.",
        "kl_weight_too_small": f"Raise {weight}{to}.",
        "data_refresh": "Keep the states of the last 4 or more batches and draw every update from all of them; or "
        "make fewer updates on each batch. Other settings of the optimiser do not help.",
        "gradient_clipping": f"Set {clip} to about {r.get('grad_norm_clip', 10):.2g}.",
        "logvar_saturation": "Widen the bound on log_var, or start log_var at 0.",
        "kl_explosion": "Bound log_var itself (5 * tanh(log_var / 5)), for both the sample and the KL.",
        "latent_oversized": f"Use about {r.get('vae_latent_dim', 16)} latents.",
        "kl_oscillation": schedule[:1].upper() + schedule[1:] + ".",
        "kl_growth": f"Raise {weight}{to}." if to else f"{schedule[:1].upper()}{schedule[1:]}.",
        "reconstruction_plateau": f"Check {lr} and the width of the networks first.",
        "excursion": "Skip updates whose gradient norm is more than 5 times its usual value.",
        "too_short": "Train longer, or log more often.",
    }
    if finding.symptom == "too_short" and not math.isnan(facts.alpha) and finding.driven_by_weight:
        return f"Train beyond the ramp of {weight}, or shorten it."
    return sentences.get(finding.symptom, "")
