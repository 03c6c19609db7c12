"""Which remedy keeps the KL where it is? One recorded stream of states, many settings of the VAE, many seeds.

``python main.py ablate --config=omg_vae`` trains the agents once and keeps the states that each VAE update saw, so
that the stream shifts as the policies learn; then it trains the VAE alone on that identical stream under each
setting with each seed.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from . import run, training
from .analysis.ablation_report import write_report
from .analysis.runs import Series
from .analysis.symptoms import measured_window, motion
from .components.vae_trainer import VAEConfig, VAETrainer
from .config.schema import key, read
from .envs.make import cores
from .learners.omg_vae_learner import OMGVAELearner
from .types import ConfigError
from .utils.files import writable
from .utils.metrics import Logger
from .utils.run_directory import write_json

POINT = 20  # updates behind each point of a curve

# A configuration as people have it before they look for help, and one with everything that is usually advised.
FIRST: dict[str, Any] = {
    "vae_optimiser": "adam",
    "vae_betas": [0.9, 0.999],
    "vae_lr": 5e-4,
    "omg_vae_alpha": 0.001,
    "vae_alpha_schedule": "constant",
    "grad_norm_clip": 5.0,
    "vae_log_var_bound": "none",
    "vae_latent_dim": 64,
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

# Each changes the first settings in one thing. The number is its kind: 1 KL weight, 2 learning rate, 3 beta1, 4 clip,
# 5 log_var, 6 latents.
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
}


@dataclass(frozen=True)
class AblateConfig(run.RunConfig):
    """Keys of ``ablate``, beside those of the run whose states are recorded."""

    ablate_seeds: int = key(10, low=2, help="seeds of each setting")
    ablate_states: int = key(128, low=8, help="states of each recorded update")
    out: str = key("", help="folder of the report; default: ablation/<env key> under local_results_path")


def settings(default: VAEConfig) -> dict[str, VAEConfig]:
    """Every setting by name; ``default`` is what the configuration says."""
    found = {"first settings": read(VAEConfig, FIRST)}
    found |= {name: read(VAEConfig, {**FIRST, **change}) for name, change in REMEDIES.items()}
    found["final settings"] = read(VAEConfig, {**FIRST, **FINAL})
    found["final settings, tanh bound"] = read(VAEConfig, {**FIRST, **FINAL, "vae_log_var_bound": "tanh"})
    found["our default"] = default
    return found


def record(values: Mapping[str, Any], folder: Path) -> VAEConfig:
    """Trains once and keeps the stream in ``folder``: ``stream.npy`` [updates, M, S], ``held_out.npy`` [M', S].

    Returns:
        The VAE's configuration of that run.

    Raises:
        ConfigError: the learner is not the OMG VAE learner.
    """
    config = read(AblateConfig, values)
    logger = Logger(logging.getLogger("omarl"))
    parts = run.build(values, logger)
    try:
        learner = parts.learner
        if not isinstance(learner, OMGVAELearner):
            raise ConfigError("learner: ablate records the states of omg_vae_learner; use --config=omg_vae")
        kept: list[np.ndarray] = []
        rng, collect = np.random.default_rng(config.seed), learner.trainer.collect

        def keep(states: Any) -> None:
            rows = rng.choice(len(states), config.ablate_states, replace=len(states) < config.ablate_states)
            kept.append(states[rows].cpu().numpy())
            collect(states)

        learner.trainer.collect = keep  # type: ignore[method-assign]
        training.Training(parts, values, None).run()
        batches = parts.tester.collect(config.test_nepisode)
        held_out = torch.cat([learner.real_states(batch) for batch in batches]).numpy()
    finally:
        parts.close()
    if len(kept) < 10 * POINT:
        raise ConfigError(f"t_max: {len(kept)} updates are too few to ablate; t_max={config.t_max * 10} gives more")
    np.save(folder / "stream.npy", np.stack(kept))
    np.save(folder / "held_out.npy", held_out)
    return read(VAEConfig, values)


def train_on(stream: Iterable[np.ndarray], held_out: np.ndarray, config: VAEConfig, seed: int) -> dict[str, Any]:
    """Trains one VAE on the stream; returns its curves (means over 20 updates) and its measures."""
    torch.manual_seed(seed)
    trainer: VAETrainer | None = None
    rows: list[list[float]] = []
    names = ("vae_kl_loss", "vae_recon_loss", "vae_alpha", "vae_clipped_share", "vae_grad_norm")
    last: list[torch.Tensor] = []
    n_updates = 0
    for batch in stream:
        states = torch.from_numpy(np.array(batch))
        trainer = trainer or VAETrainer(states.shape[1], config)
        numbers = trainer.update(states)
        rows.append([torch.as_tensor(numbers[name]).item() for name in names])
        n_updates += 1
        last = [*last[-9:], states]
    assert trainer is not None
    table = np.array(rows)[: n_updates // POINT * POINT].reshape(-1, POINT, len(names))
    curves = {name: table[:, :, i].mean(axis=1) for i, name in enumerate(names)}
    spread = table[:, :, 0].std(axis=1)
    return {
        "curves": {name: curve.tolist() for name, curve in curves.items()},
        "held_out_explained_variance": trainer.describe(torch.from_numpy(held_out))["vae_explained_variance"],
        **{
            name.removeprefix("vae_"): value
            for name, value in trainer.describe(torch.cat(last)).items()
            if name in ("vae_explained_variance", "vae_active_units")
        },
        **movement(curves, spread),
    }


def movement(curves: Mapping[str, np.ndarray], spread: np.ndarray) -> dict[str, float]:
    """KL drift and oscillation over the last half (``analysis.symptoms``), and means over it."""
    t = np.arange(1.0, len(spread) + 1) * POINT
    window = measured_window(t)
    kl = window.of(Series(t, curves["vae_kl_loss"]))
    found = motion(kl, window.of(Series(t, spread)), POINT)
    half = t >= window.start
    return {
        "kl": float(curves["vae_kl_loss"][half].mean()),
        "kl_drift": found.drift,
        "kl_oscillation": found.oscillation,
        "recon": float(curves["vae_recon_loss"][half].mean()),
        "clipped_share": float(curves["vae_clipped_share"].mean()),
    }


def _task(job: tuple[str, VAEConfig, int, str]) -> tuple[str, int, dict[str, Any]]:
    name, config, seed, folder = job
    torch.set_num_threads(1)
    stream = np.load(Path(folder) / "stream.npy", mmap_mode="r")
    held_out = np.load(Path(folder) / "held_out.npy")
    return name, seed, train_on(stream, held_out, config, seed)


def ablate(values: Mapping[str, Any], console: logging.Logger) -> Path:
    """The whole of it; returns the folder of the report."""
    config = read(AblateConfig, values)
    label = str(config.env_args.get("key", config.env)).replace("/", "_")
    folder = Path(config.out) if config.out else Path(config.local_results_path) / "ablation" / label
    folder = writable(folder, "out" if config.out else "local_results_path")
    begin = time.time()
    console.info(f"recording one run of {config.name} on {label}")
    with TemporaryDirectory(dir=folder, prefix=".recorded-") as stream:
        default = record(values, Path(stream))
        recorded = time.time()
        found = settings(default)
        target = _kl_of_default(found["our default"], stream)
        found["PI to the default's KL"] = read(
            VAEConfig, {**FIRST, **REMEDIES["PI to the default's KL"], "vae_kl_target": target}
        )
        jobs = [(name, c, seed, stream) for name, c in found.items() for seed in range(config.ablate_seeds)]
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in found}
        workers = cores() if config.env_workers == "auto" else max(1, config.env_workers)
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for name, seed, result in tqdm(pool.map(_task, jobs), total=len(jobs), unit="training"):
                results[name].append({"seed": seed, **result})
    summary = {
        "environment": label,
        "t_max": config.t_max,
        "seeds": config.ablate_seeds,
        "states_per_update": config.ablate_states,
        "record_seconds": round(recorded - begin),
        "train_seconds": round(time.time() - recorded),
        "settings": {name: vars(c) for name, c in found.items()},
        "results": results,
    }
    write_json(folder / "ablation.json", summary)
    write_report(summary, folder)
    console.info((folder / "ablation.md").read_text())
    return folder


def _kl_of_default(config: VAEConfig, stream: str) -> float:
    """The KL that the default settles at with one seed: what the controller is asked to hold."""
    _, _, result = _task(("", config, 0, stream))
    return round(result["kl"], 1)
