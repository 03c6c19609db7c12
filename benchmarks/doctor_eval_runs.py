"""Runs of the doctor's evaluation half, written as hosts write them.

    python benchmarks/doctor_eval_runs.py FOLDER [2]    # the 60 simulated runs of a set, for inspection

Deterministic: a run's seed is its name. ``doctor_eval_table`` and ``doctor_eval_table_2`` hold the runs of the two
sets, ``doctor_eval_curves`` the simulation.
"""

from __future__ import annotations

import csv
import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from doctor_eval_curves import EVENTS, Curves, add_noise, add_outliers, round_to, schedule, simulate, smooth
from doctor_eval_specs import MAPPED, NAMES, ROLES, Spec
from doctor_eval_table import SPECS
from doctor_eval_table_2 import SPECS as SPECS_2
from numpy.typing import NDArray

Array = NDArray[np.float64]
Series = dict[str, tuple[Array, Array]]  # steps and values by name
SETS = {1: SPECS, 2: SPECS_2}


@dataclass(frozen=True)
class Run:
    """A run for the doctor, and its label.

    Attributes:
        name, kind: kind is "simulated" or "real".
        path: the run's directory, or its file.
        accepted: right first findings; none where healthy.
        why: the label's reason.
        mapping: ``diagnose.kl=NAME`` and the like.
        truth: length and form, and of a real training what was measured on states never trained on.
    """

    name: str
    kind: str
    path: Path
    accepted: tuple[str, ...]
    why: str
    mapping: dict[str, str]
    truth: str = ""

    @property
    def healthy(self) -> bool:
        return not self.accepted


def seed_of(name: str) -> int:
    return zlib.crc32(f"evaluation half, {name}".encode())


def clean(spec: Spec) -> Curves:
    """The run without noise, nats per state."""
    rng = np.random.default_rng(seed_of(spec.name))
    kind, options = spec.weights
    x = np.linspace(0, 1, spec.points)
    curves = simulate(spec.setting, x, lambda at: schedule(kind, at, **options), rng, spec.speed, spec.horizon)
    for event, arguments in spec.events:
        EVENTS[event](curves, rng, **arguments)
    return curves


def _extras(spec: Spec, curves: Curves, rng: np.random.Generator) -> None:
    """Further series of the host, from the curves and the setting."""
    setting, x = spec.setting, curves.x
    share = 1 - curves.recon / setting.null
    active = min(setting.latents, setting.rank) if spec.active is None else spec.active
    bound = 0.93 if "vae_log_var_limit" in spec.config else 0.0
    norms = spec.typical_norm * np.exp(0.5 * rng.normal(size=curves.points)) * (1 + 4 * np.exp(-x / 0.03))
    extra = {
        "explained": share + 0.004 * rng.normal(size=curves.points),
        "active": np.round(active * np.clip(1.05 - np.exp(-x / 0.05), 0, 1)).clip(0, active),
        "grad_norm": norms,
        "log_var": np.clip(bound + 0.02 * rng.normal(size=curves.points), 0, 1),
        "weight": curves.weight * setting.alpha,
    }
    curves.extra = {name: values for name, values in extra.items() if name in spec.log}


def _logged(spec: Spec, curves: Curves) -> dict[str, Array]:
    """Logged values [points] by role: the host's reductions, and total = recon + weight * KL as its code has them."""
    setting = spec.setting
    weight = curves.weight * setting.alpha
    reduced = curves.kl * setting.per_latent
    recon = curves.recon * setting.scale
    kl = weight * reduced if setting.kl == "weighted" else reduced
    roles = {"kl": kl, "recon": recon, "loss": recon + weight * reduced, **curves.extra}
    return {role: values for role, values in roles.items() if role not in spec.without}


def _steps(spec: Spec, rng: np.random.Generator) -> Array:
    """Strictly increasing steps; intervals vary, because they end with episodes."""
    gaps = rng.uniform(0.8, 1.2, spec.points)
    steps = np.round(np.cumsum(gaps) / gaps.sum() * spec.span)
    return steps if np.all(np.diff(steps) > 0) else np.arange(1.0, spec.points + 1)


def series_of(spec: Spec) -> Series:
    """The run's series as its host logged them."""
    rng = np.random.default_rng(seed_of(spec.name) + 1)
    curves = clean(spec)
    add_noise(curves, *spec.noise, rng)
    if spec.outliers:
        share, size, *last = spec.outliers
        add_outliers(curves, share, size, rng, bool(last))
    _extras(spec, curves, rng)
    steps = _steps(spec, rng)
    names = dict(zip(ROLES, NAMES[spec.names], strict=True))
    out: Series = {}
    for role, values in _logged(spec, curves).items():
        if spec.memory and role in ("kl", "recon", "loss"):
            values = smooth(values, spec.memory)
        if spec.digits:
            values = round_to(values, spec.digits)
        keep = rng.random(spec.points) >= spec.dropped
        if spec.unequal and role != "kl":
            keep &= np.arange(spec.points) % 3 == 1
        out[names[role]] = (steps[keep], values[keep])
    return {**out, **_of_the_plugin(spec, curves, steps), **_of_the_agents(spec, rng)}


def _of_the_plugin(spec: Spec, curves: Curves, steps: Array) -> Series:
    """Further metrics of omarl's learner in a host."""
    if "spread" not in spec.log:
        return {}
    kl, recon = curves.kl, curves.recon * spec.setting.scale
    beta = curves.weight * spec.setting.alpha
    out = {"vae_alpha": beta / 20, "vae_clipped_share": (curves.extra["grad_norm"] > spec.clip).astype(float)}
    out["vae_lr"] = np.full(spec.points, spec.lr)
    for name, mean in (("vae_kl_loss", kl), ("vae_recon_loss", recon), ("vae_loss", recon + beta * kl)):
        for suffix, factor in (("std", 0.04), ("min", 0.9), ("max", 1.1)):
            out[f"{name}_{suffix}"] = mean * factor
    return {name: (steps, values) for name, values in out.items()}


def _of_the_agents(spec: Spec, rng: np.random.Generator) -> Series:
    """A PyMARL fork's own series: ``loss`` is the agents', with separate steps."""
    if spec.form not in ("sacred", "metrics"):
        return {}
    n = max(10, min(spec.points, 200))
    steps = np.round(np.linspace(0.005, 1, n) * spec.span) + np.arange(n)
    x = np.linspace(0, 1, n)
    values = {
        "loss": 0.4 * np.exp(-x) * (1 + 0.2 * rng.normal(size=n)) + 0.3 * x,
        "grad_norm": np.exp(0.4 * rng.normal(size=n)),
        "return_mean": 12 * x / (0.2 + x) + rng.normal(size=n),
        "ep_length_mean": 25 + 3 * rng.normal(size=n),
        "epsilon": np.maximum(0.05, 1 - 2 * x),
    }
    return {name: (steps, value) for name, value in values.items()}


def config_of(spec: Spec) -> dict[str, Any]:
    """A fork's config.json: the agents' keys, and the VAE's unless the host keeps them in code."""
    config: dict[str, Any] = {
        "name": "qmix_vae", "mac": "basic_mac", "learner": "am_learner", "runner": "parallel", "batch_size": 32,
        "lr": 0.0005, "gamma": 0.99, "t_max": spec.span, "learner_log_interval": 1000, "optim_alpha": 0.99,
    }  # fmt: skip
    if spec.unconfigured:
        return {}
    if not spec.bare:
        setting = spec.setting
        code = "vae_latent_dim" if spec.names == "plugin" else "subgoal_dim"
        alpha = setting.alpha / 20 if spec.names == "plugin" else setting.alpha
        config |= {"vae_lr": spec.lr, "omg_vae_alpha": alpha, code: setting.latents, "grad_norm_clip": spec.clip}
    return {**config, **spec.config}


# --- files ----------------------------------------------------------------------------------------


def _rows(series: Series, clock: str) -> list[dict[str, float]]:
    """One row a step, with what was logged at it; ``clock`` is the step's name."""
    rows: dict[float, dict[str, float]] = {}
    for name, (steps, values) in series.items():
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            rows.setdefault(step, {})[name] = value
    return [{clock: int(step), **rows[step]} for step in sorted(rows)]


def write_sacred(folder: Path, series: Series, config: dict[str, Any], clock: str = "step") -> Path:
    """Sacred's metrics.json, NaN written as Sacred writes it."""
    start = "2026-03-02T09:00:00.000000"
    metrics = {
        name: {"steps": [int(step) for step in steps], "values": values.tolist(), "timestamps": [start] * len(steps)}
        for name, (steps, values) in series.items()
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_csv(folder: Path, series: Series, config: dict[str, Any], clock: str = "step") -> Path:
    file = folder / "progress.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, [clock, *series])
        writer.writeheader()
        writer.writerows(_rows(series, clock))
    return file


def write_lines(folder: Path, series: Series, config: dict[str, Any], clock: str = "step") -> Path:
    file = folder / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in _rows(series, clock)))
    return file


def write_events(folder: Path, series: Series, config: dict[str, Any], clock: str = "step") -> Path:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for name, (steps, values) in series.items():
            for step, value in zip(steps, values, strict=True):
                writer.add_scalar(name, value, int(step))
    return folder


WRITERS = {"sacred": write_sacred, "csv": write_csv, "jsonl": write_lines, "tensorboard": write_events}


def build(folder: Path, chosen: int = 1) -> list[Run]:
    """Writes the simulated runs of the chosen set into ``folder``."""
    runs = []
    for spec in SETS[chosen]:
        place = folder / spec.name
        place.mkdir(parents=True)
        path = WRITERS[spec.form](place, series_of(spec), config_of(spec), spec.clock)
        known = f"{spec.points} points, {spec.form}"
        runs.append(Run(spec.name, "simulated", path, spec.accepted, spec.why, MAPPED.get(spec.names, {}), known))
    return runs


if __name__ == "__main__":
    print(f"{len(build(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 1))} runs in {sys.argv[1]}")
