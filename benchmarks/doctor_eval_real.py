"""Twenty real trainings of small VAEs in loops of their own: the real part of the doctor's evaluation half.

    python benchmarks/doctor_eval_real.py FOLDER        # trains and writes them, prints what is known of each

Hosts collect states as they please: fresh ones for each update, a growing buffer, prioritised replay, a
distribution that drifts or changes at once, or batches that are trained on and discarded. Labels follow from the
setting; ``truth`` measures, without the doctor, that the fault did occur: explained variance of states never trained
on, KL and active units at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from doctor_eval_runs import WRITERS, Run, Series, seed_of
from doctor_eval_worlds import WORLDS, States
from numpy.typing import NDArray
from torch import Tensor, nn

BATCH = 64


@dataclass(frozen=True)
class Training:
    """One training; an empty ``accepted`` means healthy.

    ``weight`` maps progress (0 to 1) to a multiple of ``beta``; ``every`` is the number of updates between two logs;
    ``log_var`` the encoder's first log-variance; ``clamped`` puts clamp(exp(log_var), max=10) into the KL.
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


class Net(nn.Module):
    """A plain Gaussian VAE; outputs are means, or logits."""

    def __init__(self, size: int, latents: int, log_var: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, 64), nn.ReLU(), nn.Linear(64, size))
        with torch.no_grad():
            last = self.encoder[2].bias
            assert isinstance(last, Tensor)
            last[latents:] += log_var

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(states).chunk(2, -1)
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * log_var).exp()), mean, log_var


def losses(t: Training, net: Net, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction as the host reduces it, KL summed over latents, reconstruction of each state [M]."""
    out, mean, log_var = net(states)
    if t.likelihood == "bce":
        each = nn.functional.binary_cross_entropy_with_logits(out, states, reduction="none")
    else:
        each = 0.5 * (out - states) ** 2
    each = each.sum(-1) if t.reduce == "sum" else each.mean(-1)
    variance = log_var.exp().clamp(max=10) if t.clamped else log_var.exp()
    return each.mean(), -0.5 * (1 + log_var - mean**2 - variance).sum(-1).mean(), each.detach()


def _scaler(t: Training, states: States) -> tuple[States, States]:
    if t.likelihood == "bce" or not t.standardise:
        return np.zeros(states.shape[1], np.float32), np.ones(states.shape[1], np.float32)
    return states.mean(0), states.std(0) + 1e-3


class Host:
    """What the VAE is trained on: yields a batch [BATCH, S] for each update."""

    def __init__(self, t: Training, rng: np.random.Generator) -> None:
        self.t, self.rng, self.world = t, rng, WORLDS[t.world]
        self.errors: States | None = None  # [BATCH], of the last batch
        self.drawn: NDArray[np.int64] | None = None  # [BATCH], where in the buffer it lay

    def batches(self) -> Iterator[States]:
        """One batch an update, as the training's host collects them."""
        if self.t.host in ("replay", "growing", "prioritised"):
            yield from self._from_buffer()
        else:
            yield from self._from_stream()

    def _from_stream(self) -> Iterator[States]:
        size, uses = self.t.refresh if self.t.host == "refresh" else (20 * BATCH, 20)
        for update in range(self.t.updates):
            stage = update / self.t.updates
            if update % uses == 0:
                data = self.world(self.rng, size, self._stage(stage))
            if self.t.host == "refresh":
                yield data[self.rng.integers(0, len(data), BATCH)]
            else:  # each state is used once
                yield data[update % uses * BATCH :][:BATCH]

    def _stage(self, progress: float) -> float:
        """How far the policy has come."""
        if self.t.host == "switch":
            return 0.0 if progress < 0.6 else 1.0
        return progress if self.t.host == "drift" else min(0.5, progress)

    def _from_buffer(self) -> Iterator[States]:
        data = self.world(self.rng, 1024 if self.t.host == "growing" else 20_000, 0.5)
        priorities = np.ones(len(data))
        for update in range(self.t.updates):
            if self.t.host == "growing" and update and update % 50 == 0:
                data = np.concatenate([data, self.world(self.rng, 1024, update / self.t.updates)])
                priorities = np.ones(len(data))
            if self.t.host == "prioritised":
                if self.errors is not None and self.drawn is not None:
                    priorities[self.drawn] = np.sqrt(self.errors + 1e-3)
                pool = self.rng.integers(0, len(data), 512)
                self.drawn = pool[np.argsort(-priorities[pool] * self.rng.exponential(size=512))[:BATCH]]
                yield data[self.drawn]
            else:
                yield data[self.rng.integers(0, len(data), BATCH)]


def train(t: Training) -> tuple[Series, dict[str, Any], str]:
    """Series as logged, the host's config.json, and what is known of the trained VAE."""
    rng = np.random.default_rng(seed_of(t.name))
    torch.manual_seed(seed_of(t.name))
    offset, scale = _scaler(t, WORLDS[t.world](rng, 4096, 0.3))
    net = Net(len(offset), t.latents, t.log_var)
    optimiser = torch.optim.Adam(net.parameters(), lr=t.lr, fused=True)
    host = Host(t, rng)
    rows: list[tuple[float, ...]] = []
    for update, batch in enumerate(host.batches()):
        weight = t.beta * t.weight(update / t.updates)
        recon, kl, errors = losses(t, net, torch.from_numpy((batch - offset) / scale))
        host.errors = errors.numpy()
        total = recon + weight * kl
        optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), t.clip)
        optimiser.step()
        if update % t.every == 0:
            rows.append((update, kl.item(), recon.item(), total.item(), weight, norm.item()))
    table = np.array(rows).T
    names = (*t.names, t.log_weight, t.log_norm)
    series = {name: (table[0], column) for name, column in zip(names, table[1:], strict=True) if name}
    config = {"learner": "own_learner", "lr": 5e-4, "vae_lr": t.lr, "latent_dim": t.latents, "grad_norm_clip": t.clip}
    if "not logged" not in t.why:
        config["kl_weight"] = t.beta
    return series, config, _truth(t, net, (offset, scale))


@torch.no_grad()
def _truth(t: Training, net: Net, scaler: tuple[States, States]) -> str:
    """Explained variance, KL and active units on states never trained on."""
    raw = WORLDS[t.world](np.random.default_rng(1), 2000, 1.0 if t.host in ("drift", "switch") else 0.5)
    states = torch.from_numpy((raw - scaler[0]) / scaler[1])
    mean, log_var = net.encoder(states).chunk(2, -1)
    out = net.decoder(mean)
    out = out.sigmoid() if t.likelihood == "bce" else out
    varies = states.var(0) > 1e-6
    explained = (1 - ((out - states) ** 2).mean(0) / states.var(0))[varies].mean()
    kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1).mean()
    return f"held-out EV {explained:.2f}, KL {kl:.3g}, {int((mean.var(0) > 0.01).sum())}/{t.latents} active"


def build(folder: Path) -> list[Run]:
    """Trains all and writes them into ``folder``."""
    torch.set_num_threads(1)
    runs = []
    for t in TRAININGS:
        place = folder / t.name
        place.mkdir(parents=True)
        series, config, truth = train(t)
        path = WRITERS[t.form](place, series, config)
        points = len(series[t.names[0]][0])
        runs.append(Run(t.name, "real", path, t.accepted, t.why, {}, f"{points} points, {t.form}; {truth}"))
    return runs


if __name__ == "__main__":
    for run in build(Path(sys.argv[1])):
        print(f"{run.name:24} {'/'.join(run.accepted) or 'healthy':24} {run.truth}")
