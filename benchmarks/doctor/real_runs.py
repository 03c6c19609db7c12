"""Short trainings of a small VAE in the style of forks: real curves for the fit half of the doctor's benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Floats = NDArray[np.float64]
GROUPS, SIZE = 4, 10  # one-hot groups of a state, and their size
LATENTS, WIDTH, BATCH = 24, 64, 64


@dataclass
class Real:
    """One training, with what ``doctor_fit.Run`` offers to its table."""

    name: str
    expected: tuple[str, ...]
    logged: dict[str, Floats]
    config: dict[str, Any]
    also: tuple[str, ...] = ()
    reduction: str = "real"
    noise: str = "real"
    level: float = 0.0

    @property
    def points(self) -> int:
        """Logged points."""
        return len(self.logged["kld_loss"])

    @property
    def logs(self) -> tuple[str, ...]:
        """Names logged."""
        return tuple(self.logged)

    def arrays(self) -> dict[str, Floats]:
        """What the run logged."""
        return self.logged

    def settings(self) -> dict[str, Any]:
        """The run's configuration."""
        return self.config


def states(generator: torch.Generator, count: int, preference: Tensor) -> Tensor:
    """One-hot groups whose values follow a preference [GROUPS, SIZE]."""
    picked = torch.multinomial(preference.softmax(-1), count, replacement=True, generator=generator)  # [G, count]
    return functional.one_hot(picked.T, SIZE).flatten(1).float()


def train(seed: int, likelihood: str, alpha: float, updates: int, **options: Any) -> dict[str, Floats]:
    """Trains and logs single batches' values, as forks do.

    Args:
        likelihood: "mse" averaged over features, or "bce" summed over them.
        alpha: the KL weight.
        options: ``every`` updates of one refreshed batch; ``ramp``: updates over which the weight rises;
            ``lr``; ``cycle``: updates of a cyclical weight; ``log``: updates between logs.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    s = GROUPS * SIZE
    encoder = nn.Sequential(nn.Linear(s, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2 * LATENTS))
    decoder = nn.Sequential(nn.Linear(LATENTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, s))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=options.get("lr", 1e-3))
    kept: dict[str, list[float]] = {"kld_loss": [], "recons_loss": [], "vae_loss": [], "kl_weight": []}
    pool = states(generator, 3000, torch.zeros(GROUPS, SIZE))
    for done in range(updates):
        if options.get("every") and done % options["every"] == 0:
            pool = states(generator, 300, 1.5 * torch.randn(GROUPS, SIZE, generator=generator))
        x = pool[torch.randint(len(pool), (BATCH,), generator=generator)]
        mu, log_var = encoder(x).chunk(2, -1)
        out = decoder(mu + torch.randn_like(mu) * (0.5 * log_var).exp())
        if likelihood == "mse":
            recon = functional.mse_loss(out, x)
        else:
            recon = functional.binary_cross_entropy_with_logits(out, x, reduction="none").sum(-1).mean()
        kl = (-0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(-1)).mean()
        weight = alpha * min(1.0, done / options["ramp"]) if options.get("ramp") else alpha
        weight = (
            alpha * min(1.0, 2 * (done % options["cycle"]) / options["cycle"]) if options.get("cycle") else weight
        )
        loss = recon + weight * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if done % options.get("log", 4) == 0:
            for name, value in zip(kept, (kl, recon, loss, weight), strict=True):
                kept[name].append(float(value.detach()) if isinstance(value, Tensor) else float(value))
    return {name: np.array(values) for name, values in kept.items()}


def real_runs() -> Iterator[Real]:
    """Ten trainings; half of the logs leave total and weight out."""
    cases: tuple[tuple[str, Any, str, float, dict[str, Any]], ...] = (
        ("real_bce", (), "bce", 0.3, {}),
        ("real_mse", (), "mse", 5e-4, {}),
        ("real_bce_ramp", (), "bce", 0.3, {"ramp": 600}),
        ("real_mse_sparse", (), "mse", 5e-4, {"log": 20}),
        ("real_mse_collapse", ("posterior_collapse",), "mse", 0.05, {}),
        ("real_bce_collapse", ("posterior_collapse",), "bce", 4.0, {}),
        ("real_bce_ramp_collapse", ("posterior_collapse",), "bce", 6.0, {"ramp": 3000}),
        ("real_bce_refresh", ("data_refresh",), "bce", 0.3, {"every": 400}),
        ("real_mse_refresh", ("data_refresh",), "mse", 5e-4, {"every": 300}),
        ("real_bce_cyclical", ("kl_oscillation",), "bce", 1.0, {"cycle": 400}),
    )
    for seed, (name, expected, likelihood, alpha, options) in enumerate(cases):
        logged = train(seed, likelihood, alpha, 3000, **options)
        if seed % 2 and "cycle" not in options:
            logged = {n: v for n, v in logged.items() if n in ("kld_loss", "recons_loss")}
        yield Real(name, expected, logged, {"vae_lr": 1e-3, "omg_vae_alpha": alpha, "latent_dim": LATENTS})
