"""Compares settings of the VAE on one recorded stream of states, each setting with many seeds.

``python main.py ablate --config=omg_vae`` trains the agents once and records the states. Their distribution shifts
while the policies learn. Then it trains the VAE alone on this stream, with each setting and each seed.
``regime=replay`` records the states of each VAE update. ``regime=refresh`` records the states as they are collected
and makes many updates on each batch in turn, as hosts do that discard a batch after training on it.
"""

import math
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from .. import run
from ..analysis.ablation_report import write_report
from ..analysis.runs import Series
from ..analysis.symptoms import measured_window, motion
from ..components.vae_config import VAEConfig
from ..components.vae_trainer import VAETrainer
from ..config.keys import OutputKeys
from ..config.schema import key, new_default, read
from ..envs.make import cores
from ..learners.omg_vae_learner import OMGVAELearner
from ..training_loop import Training
from ..types import ConfigError
from ..utils.files import writable
from ..utils.metrics import Logger
from ..utils.run_directory import write_json
from .settings import Trial, settings

EXPLAINED = "vae_explained_variance"
POINT = 20  # updates behind each point of a curve
FEWEST_BATCHES = 4  # of regime=refresh


@dataclass(frozen=True)
class AblateConfig(run.RunConfig, OutputKeys):
    """Keys of ``ablate``, in addition to those of the recorded run."""

    ablate_seeds: int = key(10, low=2, help="seeds of each setting")
    regime: Literal["replay", "refresh"] = key(
        "replay",
        help="replay: train on the states of each recorded update; refresh: on collected batches",
    )
    ablate_states: int = key(128, low=8, help="states of each recorded update (regime=replay)")
    ablate_batch: int = key(900, low=20, help="states of each batch (regime=refresh)")
    ablate_updates: int = key(900, low=20, help="updates on each batch (regime=refresh)")
    out: str = new_default(
        OutputKeys, "out", "", "folder of the report; where empty, ablation/<env key> under local_results_path"
    )


def record(values: Mapping[str, Any], folder: Path, logger: Logger) -> VAEConfig:
    """Trains once and writes ``stream.npy`` [batches, M, S] and ``held_out.npy`` [M', S] into ``folder``.

    Returns:
        The VAE's configuration of that run.

    Raises:
        ConfigError: the learner is not the OMG VAE learner, or the stream is too short.
    """
    config = read(AblateConfig, values)
    with run.opened(values, logger, trains=True) as parts:
        learner = parts.learner
        if not isinstance(learner, OMGVAELearner):
            raise ConfigError("learner: ablate records the states of omg_vae_learner; use --config=omg_vae")
        stream = _states_of_updates(learner, config) if config.regime == "replay" else _fresh_states(parts)
        Training(parts, values, None).run()
        batches = parts.tester.collect(config.test_nepisode)
        held_out = torch.cat([learner.real_states(batch) for batch in batches]).cpu().numpy()
    if config.regime == "replay":
        kept, few = np.stack(stream), 10 * POINT
    else:
        states, size, few = np.concatenate(stream), config.ablate_batch, FEWEST_BATCHES
        kept = states[: len(states) // size * size].reshape(-1, size, states.shape[1])
    if len(kept) < few:
        raise ConfigError(f"t_max: {len(kept)} batches are too few to ablate; t_max={config.t_max * 10} gives more")
    np.save(folder / "stream.npy", kept)
    np.save(folder / "held_out.npy", held_out)
    return read(VAEConfig, values)


def _states_of_updates(learner: OMGVAELearner, config: AblateConfig) -> list[np.ndarray]:
    """A list that grows by a sample of the states of each update."""
    kept: list[np.ndarray] = []
    rng, collect = np.random.default_rng(config.seed), learner.trainer.collect

    def keep(states: Any) -> None:
        rows = rng.choice(len(states), config.ablate_states, replace=len(states) < config.ablate_states)
        kept.append(states[rows].cpu().numpy())
        collect(states)

    learner.trainer.collect = keep  # type: ignore[method-assign]
    return kept


def _fresh_states(parts: run.Parts) -> list[np.ndarray]:
    """A list that grows by all states of each collection."""
    kept: list[np.ndarray] = []
    collect, learner = parts.runner.run, parts.learner
    assert isinstance(learner, OMGVAELearner)

    def keep(*args: Any, **kwargs: Any) -> Any:
        batch = collect(*args, **kwargs)
        kept.append(learner.real_states(batch).cpu().numpy())
        return batch

    parts.runner.run = keep
    return kept


def numbers_of(trainer: VAETrainer, stream: np.ndarray, trial: Trial) -> Iterator[Mapping[str, Any]]:
    """Trains on the stream and yields the numbers of each update."""
    for i in range(0, len(stream) - trial.joined + 1, trial.joined):
        states = torch.from_numpy(np.concatenate(stream[i : i + trial.joined]))
        if not trial.updates:
            yield trainer.update(states)
            continue
        trainer.collect(states)
        for _ in range(trial.updates):
            yield trainer.update()


def train_on(stream: np.ndarray, held_out: np.ndarray, trial: Trial, seed: int) -> dict[str, Any]:
    """Trains one VAE on the stream; returns its curves (means over 20 updates) and its measures."""
    torch.manual_seed(seed)
    trainer = VAETrainer(stream.shape[-1], trial.config)
    names = ("vae_kl_loss", "vae_recon_loss", "vae_alpha", "vae_clipped_share", "vae_grad_norm")
    rows = np.array([[float(n[name]) for name in names] for n in numbers_of(trainer, stream, trial)])
    table = rows[: len(rows) // POINT * POINT].reshape(-1, POINT, len(names))
    curves = {name: table[:, :, i].mean(axis=1) for i, name in enumerate(names)}
    last = torch.from_numpy(np.concatenate(stream[-10:] if not trial.updates else stream[-1:]))
    described = trainer.describe(last)
    result = {
        "curves": {name: curve.tolist() for name, curve in curves.items()},
        "held_out_explained_variance": trainer.describe(torch.from_numpy(held_out)).get(EXPLAINED, math.nan),
        "explained_variance": described.get(EXPLAINED, math.nan),
        "active_units": described["vae_active_units"],
        **movement(curves, table[:, :, 0].std(axis=1)),
    }
    for i, name in enumerate(("kl_sawtooth", "recon_sawtooth") if trial.updates else ()):
        result[name] = sawtooth(rows[:, i], trial.updates)
    return result


def sawtooth(values: np.ndarray, period: int) -> float:
    """The mean relative jump of a series between batches, over the last half of the batches.

    A jump is |mean of the first 5% of a batch - mean of the last 5% of the batch before| / mean of the two.
    """
    batches = values[: len(values) // period * period].reshape(-1, period)
    few = max(1, period // 20)
    before, after = batches[:-1, -few:].mean(axis=1), batches[1:, :few].mean(axis=1)
    jumps = np.abs(after - before) / np.maximum(np.abs(after + before) / 2, 1e-12)
    return float(jumps[len(jumps) // 2 :].mean()) if len(jumps) else float("nan")


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


def _task(job: tuple[str, Trial, int, str]) -> tuple[str, int, dict[str, Any]]:
    name, trial, seed, folder = job
    torch.set_num_threads(1)
    stream = np.load(Path(folder) / "stream.npy", mmap_mode="r")
    held_out = np.load(Path(folder) / "held_out.npy")
    return name, seed, train_on(stream, held_out, trial, seed)


def ablate(values: Mapping[str, Any], logger: Logger) -> Path:
    """Records, trains and writes the report; returns its folder."""
    config, console = read(AblateConfig, values), logger.console_logger
    label = str(config.env_args.get("key", config.env)).replace("/", "_")
    regime = "" if config.regime == "replay" else f"_{config.regime}"
    folder = Path(config.out) if config.out else Path(config.local_results_path) / "ablation" / f"{label}{regime}"
    folder = writable(folder, "out" if config.out else "local_results_path")
    begin = time.time()
    console.info(f"recording one run of {config.name} on {label}")
    with TemporaryDirectory(dir=folder, prefix=".recorded-") as stream:
        default = record(values, Path(stream), logger)
        recorded = time.time()
        updates = 0 if config.regime == "replay" else config.ablate_updates
        found = settings(default, updates)
        _, _, of_default = _task(("", found["our default"], 0, stream))
        held = found["PI to the default's KL"]
        target = replace(held.config, vae_kl_target=round(of_default["kl"], 1))
        found["PI to the default's KL"] = held._replace(config=target)
        jobs = [(name, trial, seed, stream) for name, trial in found.items() for seed in range(config.ablate_seeds)]
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in found}
        workers = cores() if config.env_workers == "auto" else max(1, config.env_workers)
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for name, seed, result in tqdm(pool.map(_task, jobs), total=len(jobs), unit="training"):
                results[name].append({"seed": seed, **result})
    summary = {
        "environment": label,
        "t_max": config.t_max,
        "seeds": config.ablate_seeds,
        "regime": config.regime,
        "states_per_update": config.ablate_states,
        "batch": config.ablate_batch,
        "updates_per_batch": updates,
        "record_seconds": round(recorded - begin),
        "train_seconds": round(time.time() - recorded),
        "settings": {
            name: {**vars(t.config), "updates_per_batch": t.updates, "joined_batches": t.joined}
            for name, t in found.items()
        },
        "results": results,
    }
    write_json(folder / "ablation.json", summary)
    write_report(summary, folder)
    console.info((folder / "ablation.md").read_text())
    return folder
