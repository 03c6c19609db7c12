"""Twenty real trainings of small VAEs in separate loops: the real part of the doctor's evaluation half.

    python benchmarks/doctor_eval_real.py FOLDER [2]    # trains and writes a set, prints the measures of each

``doctor_eval_trainings`` and ``doctor_eval_trainings_2`` hold the trainings of the two sets. Hosts collect states as
they please: fresh ones for each update, a growing buffer, prioritised replay, a distribution that drifts or changes
at once, batches that are trained on and discarded, rollouts that are passed over in shuffled epochs, or a window of
the last batches. Labels follow from the setting; ``truth`` measures, without the doctor, that the fault did occur:
explained variance of states never trained on, KL and active units at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from doctor_eval_runs import WRITERS, Run, Series, seed_of
from doctor_eval_trainings import TRAININGS, Training
from doctor_eval_trainings_2 import TRAININGS as TRAININGS_2
from doctor_eval_worlds import WORLDS as WORLDS_1
from doctor_eval_worlds import States
from doctor_eval_worlds_2 import WORLDS_2
from numpy.typing import NDArray
from torch import Tensor, nn

SETS = {1: TRAININGS, 2: TRAININGS_2}
WORLDS = {**WORLDS_1, **WORLDS_2}


class Net(nn.Module):
    """A plain Gaussian VAE; outputs are means, or logits."""

    def __init__(self, size: int, latents: int, log_var: float, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, width), nn.ReLU(), nn.Linear(width, size))
        with torch.no_grad():
            last = self.encoder[2].bias
            assert isinstance(last, Tensor)
            last[latents:] += log_var

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(states).chunk(2, -1)
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * log_var).exp()), mean, log_var


def losses(t: Training, net: Net, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction and KL as the host reduces them, reconstruction of each state [M]."""
    out, mean, log_var = net(states)
    if t.likelihood == "bce":
        each = nn.functional.binary_cross_entropy_with_logits(out, states, reduction="none")
    else:
        each = 0.5 * (out - states) ** 2
    each = each.sum(-1) if t.reduce == "sum" else each.mean(-1)
    variance = log_var.exp().clamp(max=10) if t.clamped else log_var.exp()
    nats = -0.5 * (1 + log_var - mean**2 - variance)
    nats = nats.sum(-1) if t.kl == "sum" else nats.mean(-1)
    return each.mean(), nats.mean(), each.detach()


def _scaler(t: Training, states: States) -> tuple[States, States]:
    if t.likelihood == "bce" or not t.standardise:
        return np.zeros(states.shape[1], np.float32), np.ones(states.shape[1], np.float32)
    return states.mean(0), states.std(0) + 1e-3


class Host:
    """The training data of the VAE: yields a batch [t.batch, S] for each update."""

    def __init__(self, t: Training, rng: np.random.Generator) -> None:
        self.t, self.rng, self.world = t, rng, WORLDS[t.world]
        self.errors: States | None = None  # [t.batch], of the last batch
        self.drawn: NDArray[np.int64] | None = None  # [t.batch], indices in the buffer

    def batches(self) -> Iterator[States]:
        """One batch an update, as the training's host collects them."""
        if self.t.host in ("replay", "growing", "prioritised"):
            yield from self._from_buffer()
        elif self.t.host in ("epochs", "window"):
            yield from self._from_rollouts()
        else:
            yield from self._from_stream()

    def _from_stream(self) -> Iterator[States]:
        size, uses = self.t.refresh if self.t.host == "refresh" else (20 * self.t.batch, 20)
        for update in range(self.t.updates):
            stage = update / self.t.updates
            if update % uses == 0:
                data = self.world(self.rng, size, self._stage(stage))
            if self.t.host == "refresh":
                yield data[self.rng.integers(0, len(data), self.t.batch)]
            else:  # each state is used once
                yield data[update % uses * self.t.batch :][: self.t.batch]

    def _from_rollouts(self) -> Iterator[States]:
        """ "epochs": shuffled passes over one rollout; "window": draws from the last four. Then the next rollout."""
        size, uses = self.t.refresh
        kept: list[States] = []
        order = np.arange(0)
        for update in range(self.t.updates):
            if update % uses == 0:
                stage = self._stage(update / self.t.updates)
                kept = [*kept, self.world(self.rng, size, stage)][-4 if self.t.host == "window" else -1 :]
                data, order = np.concatenate(kept), order[:0]
            if self.t.host == "window":
                yield data[self.rng.integers(0, len(data), self.t.batch)]
                continue
            if len(order) < self.t.batch:
                order = self.rng.permutation(len(data))
            yield data[order[: self.t.batch]]
            order = order[self.t.batch :]

    def _stage(self, progress: float) -> float:
        """The progress of the policy."""
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
                self.drawn = pool[np.argsort(-priorities[pool] * self.rng.exponential(size=512))[: self.t.batch]]
                yield data[self.drawn]
            else:
                yield data[self.rng.integers(0, len(data), self.t.batch)]


def _series(t: Training, rows: list[tuple[float, ...]]) -> Series:
    """The host's log of the updates: single values, or means over its interval."""
    table = np.array(rows)
    if t.averaged:
        length = len(table) // t.every * t.every
        table = table[:length].reshape(-1, t.every, table.shape[1]).mean(1)
    else:
        table = table[:: t.every]
    kl, recon, total = t.names
    names = (kl, recon, total if t.total else "", t.log_weight, t.log_norm, t.log_explained)
    return {name: (table[:, 0], column) for name, column in zip(names, table.T[1:], strict=True) if name}


def _explained(t: Training, net: Net, states: Tensor) -> Tensor:
    """Explained variance, the mean over features that vary in ``states``; codes are means."""
    out = net.decoder(net.encoder(states).chunk(2, -1)[0])
    out = out.sigmoid() if t.likelihood == "bce" else out
    varies = states.var(0) > 1e-6
    return (1 - ((out - states) ** 2).mean(0) / states.var(0))[varies].mean()


def train(t: Training) -> tuple[Series, dict[str, Any], str]:
    """Series as logged, the host's config.json, and measures of the trained VAE."""
    rng = np.random.default_rng(seed_of(t.name))
    torch.manual_seed(seed_of(t.name))
    offset, scale = _scaler(t, WORLDS[t.world](rng, 4096, 0.3))
    net = Net(len(offset), t.latents, t.log_var, t.width)
    optimiser = getattr(torch.optim, t.optimiser)(
        net.parameters(), lr=t.lr, **({"fused": True} if t.optimiser == "Adam" else {}), **t.optim
    )
    host = Host(t, rng)
    rows: list[tuple[float, ...]] = []
    for update, batch in enumerate(host.batches()):
        weight = t.beta * t.weight(update / t.updates)
        for group in optimiser.param_groups if t.warm_up else ():
            group["lr"] = t.lr * min(1.0, update / t.updates / t.warm_up)
        states = torch.from_numpy((batch - offset) / scale)
        recon, kl, errors = losses(t, net, states)
        host.errors = errors.numpy()
        total = recon + weight * kl
        optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), t.clip)
        optimiser.step()
        explained = _explained(t, net, states).item() if t.log_explained else 0.0
        rows.append((update, kl.item(), recon.item(), total.item(), weight, norm.item(), explained))
    config = {"learner": "own_learner", "lr": 5e-4, "vae_lr": t.lr, "latent_dim": t.latents, "grad_norm_clip": t.clip}
    if "not logged" not in t.why:
        config["kl_weight"] = t.beta
    return _series(t, rows), config if t.config is None else t.config, _truth(t, net, (offset, scale))


@torch.no_grad()
def _truth(t: Training, net: Net, scaler: tuple[States, States]) -> str:
    """Explained variance, KL and active units on held-out states."""
    raw = WORLDS[t.world](np.random.default_rng(1), 2000, 1.0 if t.host in ("drift", "switch") else 0.5)
    states = torch.from_numpy((raw - scaler[0]) / scaler[1])
    mean, log_var = net.encoder(states).chunk(2, -1)
    explained = _explained(t, net, states)
    kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1).mean()
    return f"held-out EV {explained:.2f}, KL {kl:.3g}, {int((mean.var(0) > 0.01).sum())}/{t.latents} active"


def build(folder: Path, chosen: int = 1) -> list[Run]:
    """Trains all of the chosen set and writes them into ``folder``."""
    torch.set_num_threads(1)
    runs = []
    for t in SETS[chosen]:
        place = folder / t.name
        place.mkdir(parents=True)
        series, config, truth = train(t)
        path = WRITERS[t.form](place, series, config)
        points = len(series[t.names[0]][0])
        runs.append(Run(t.name, "real", path, t.accepted, t.why, {}, f"{points} points, {t.form}; {truth}"))
    return runs


if __name__ == "__main__":
    for run in build(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 1):
        print(f"{run.name:24} {'/'.join(run.accepted) or 'healthy':24} {run.truth}")
