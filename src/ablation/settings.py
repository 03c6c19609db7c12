"""The settings of the VAE that an ablation compares."""

from dataclasses import replace
from typing import Any, NamedTuple

from ..components.vae_config import VAEConfig
from ..config.schema import read

# FIRST: a common configuration that leads to trouble. FINAL: the same with all remedies that are usually advised.
FIRST: dict[str, Any] = {
    "vae_optimiser": "adam",
    "vae_betas": [0.9, 0.999],
    "vae_lr": 5e-4,
    "omg_vae_alpha": 0.001,
    "vae_alpha_schedule": "constant",
    "grad_norm_clip": 5.0,
    "vae_log_var_bound": "none",
    "vae_latent_dim": 64,
    "vae_linear_path": False,
    "vae_formula": "raw_mean",
    "vae_window": 1,
}
FINAL: dict[str, Any] = {
    "vae_betas": [0.5, 0.999],
    "vae_lr": 3e-4,
    "omg_vae_alpha": 0.01,
    "vae_alpha_schedule": "linear",
    "vae_alpha_ramp": 10,
    "grad_norm_clip": 10.0,
    "vae_log_var_bound": "exp_clamp",
    "vae_latent_dim": 16,
}
ANNEALED: dict[str, Any] = {"omg_vae_alpha": 0.01, "vae_alpha_schedule": "linear"}

# Each changes one thing in FIRST. The number is its kind: 1 KL weight, 2 learning rate, 3 beta1, 4 clip, 5 log_var,
# 6 latents.
REMEDIES: dict[str, dict[str, Any]] = {
    "1 alpha 0.01": {"omg_vae_alpha": 0.01},
    "1 alpha 0.01, ramp of 10": {**ANNEALED, "vae_alpha_ramp": 10},
    "1 alpha 0.01, annealed": ANNEALED,
    "2 lr 3e-4": {"vae_lr": 3e-4},
    "2 lr 1e-4": {"vae_lr": 1e-4},
    "3 beta1 0.5": {"vae_betas": [0.5, 0.999]},
    "4 clip 10": {"grad_norm_clip": 10.0},
    "5 clamp exp(log_var) in the KL": {"vae_log_var_bound": "exp_clamp"},
    "5 tanh bound of log_var": {"vae_log_var_bound": "tanh"},
    "5 softplus std": {"vae_log_var_bound": "softplus"},
    "6 latent 16": {"vae_latent_dim": 16},
    "6 mu L2 0.01": {"vae_mu_l2": 0.01},
    "cyclical alpha": {"vae_alpha_schedule": "cyclical", "vae_alpha_ramp": 500},
    "sigmoid alpha": {"vae_alpha_schedule": "sigmoid"},
    "free bits 0.25": {"vae_free_bits": 0.25},
    "PI to the default's KL": {"vae_alpha_schedule": "pi", "omg_vae_alpha": 0.01},
    "calibrated decoder": {"vae_decoder": "calibrated", "omg_vae_alpha": 1.0},
    "gradient skipping": {"vae_grad_skip": 5.0},
    "lr warm-up": {"vae_lr_warmup": 300},
    "nats by feature type": {"vae_formula": "nats"},
}
# For regime=refresh: the changes of the settings, and the factors of the states and of the updates of each batch.
REFRESH_REMEDIES: dict[str, tuple[dict[str, Any], int, float]] = {
    "window of 4 batches": ({"vae_window": 4}, 1, 1.0),
    "window of 8 batches": ({"vae_window": 8}, 1, 1.0),
    "a third of the updates": ({}, 1, 1 / 3),
    "batches 4 times as large": ({}, 4, 4.0),
    "1 alpha 0.01": (REMEDIES["1 alpha 0.01"], 1, 1.0),
    "1 alpha 0.01, annealed": (ANNEALED, 1, 1.0),
    "2 lr 1e-4": (REMEDIES["2 lr 1e-4"], 1, 1.0),
    "cyclical alpha": (REMEDIES["cyclical alpha"], 1, 1.0),
    "PI to the default's KL": (REMEDIES["PI to the default's KL"], 1, 1.0),
    "nats by feature type": (REMEDIES["nats by feature type"], 1, 1.0),
    "nats by feature type, window of 4": ({"vae_formula": "nats", "vae_window": 4}, 1, 1.0),
}


class Trial(NamedTuple):
    """A setting of the VAE's training."""

    config: VAEConfig
    updates: int = 0  # updates on each batch; 0: one, on exactly its states (``regime=replay``)
    joined: int = 1  # recorded batches that are joined to one


def settings(default: VAEConfig, updates: int = 0) -> dict[str, Trial]:
    """All settings by name; ``updates`` on each batch of ``regime=refresh``, 0 for ``regime=replay``."""
    found = {"first settings": Trial(read(VAEConfig, FIRST), updates)}
    if updates:
        for name, (change, joined, times) in REFRESH_REMEDIES.items():
            found[name] = Trial(read(VAEConfig, {**FIRST, **change}), round(times * updates), joined)
    else:
        found |= {name: Trial(read(VAEConfig, {**FIRST, **change})) for name, change in REMEDIES.items()}
    final = read(VAEConfig, {**FIRST, **FINAL})
    found["final settings"] = Trial(final, updates)
    found["final settings, tanh bound"] = Trial(replace(final, vae_log_var_bound="tanh"), updates)
    found["our default"] = Trial(default, updates)
    return found
