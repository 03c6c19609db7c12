"""Tests the doctor on omarl's VAE: provokes faults, diagnoses them, and trains with the suggested settings.

    python benchmarks/provoke_and_cure.py [--jobs 1] [--only NAME ...] [--families NAME NAME] [--updates 3000]

Drives the VAE's trainer on recorded states, in two regimes: *replay* draws the states of an update from all that
were recorded so far; *refresh* trains on one small batch after another (450 states, 18 episodes) and discards it.
One setting is faulty (two for the pairs). The run is diagnosed, trained again with its ``suggested.yaml`` and
diagnosed again. The unchanged configuration must be found healthy. Writes ``benchmarks/doctor/provoked.md`` and
``provoked.json``, and one picture of each symptom for the guide. With the variable KEEP_RUNS=DIRECTORY trainings are
stored, so that changed rules can be tested on them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from omarl.analysis.doctor import Diagnosis, examine
from omarl.analysis.doctor.picture import draw_diagnosis
from omarl.analysis.doctor.reading import canonical
from omarl.analysis.doctor.report import suggested_yaml
from omarl.analysis.runs import Series

HERE = Path(__file__).parent
ROOT = HERE.parent
BATCHES, REFRESHED_STATES, STEPS_PER_UPDATE, LOG_EVERY = 8, 450, 10, 25
HOST = {"base_learner": "q_learner", "learner": "omg_vae_learner", "vae_updates": 1}


@dataclass(frozen=True)
class Case:
    """Faulty settings, and the expected symptoms; "a/b" accepts either name."""

    settings: str
    symptoms: tuple[str, ...]
    regime: str = "replay"


SINGLE = (
    Case("vae_lr=0.05", ("learning_rate_too_high",)),
    Case("vae_lr=0.01", ("learning_rate_too_high",)),
    Case("omg_vae_alpha=1e-6", ("kl_weight_too_small",)),
    Case("omg_vae_alpha=0.1", ("kl_weight_too_large/posterior_collapse",)),
    Case("omg_vae_alpha=10", ("posterior_collapse",)),
    Case("vae_latent_dim=128", ("latent_oversized",)),
    # the linear path keeps log_var from leaving the clamp, so the trap needs the plain networks of most forks
    Case("vae_log_var_bound=exp_clamp vae_log_var_init=6 vae_alpha_ramp=0 vae_linear_path=False", ("negative_kl",)),
    Case("vae_log_var_bound=none vae_log_var_init=100", ("non_finite",)),
    Case("vae_log_var_limit=0.1", ("logvar_saturation",)),
    Case("grad_norm_clip=0.01", ("gradient_clipping",)),
    Case("vae_alpha_schedule=cyclical vae_alpha_ramp=400", ("kl_oscillation",)),
    Case("vae_lr=1e-6", ("reconstruction_plateau",)),
    Case("vae_linear_path=False vae_hidden_dim=1", ("reconstruction_plateau",)),
    Case("vae_batch_states=2", ("sampling_noise",)),
    Case("t_max=1500", ("too_short",)),
)
REFRESHED = Case("vae_window=1", ("data_refresh",), "refresh")
PAIRS = (
    Case("vae_window=1 omg_vae_alpha=1e-6", ("data_refresh", "kl_weight_too_small"), "refresh"),
    Case("vae_window=1 grad_norm_clip=0.01", ("data_refresh", "gradient_clipping"), "refresh"),
    Case(
        "vae_window=1 vae_alpha_schedule=cyclical vae_alpha_ramp=300", ("data_refresh", "kl_oscillation"), "refresh"
    ),
    Case("vae_window=1 vae_latent_dim=128", ("data_refresh", "latent_oversized"), "refresh"),
    Case("vae_window=1 vae_log_var_limit=0.1", ("data_refresh", "logvar_saturation"), "refresh"),
    Case("vae_window=1 vae_lr=0.01", ("data_refresh", "learning_rate_too_high"), "refresh"),
    Case("grad_norm_clip=0.01 omg_vae_alpha=1e-6", ("gradient_clipping", "kl_weight_too_small")),
    Case("grad_norm_clip=0.01 omg_vae_alpha=10", ("gradient_clipping", "posterior_collapse")),
    Case("grad_norm_clip=0.01 vae_latent_dim=128", ("gradient_clipping", "latent_oversized")),
    Case("vae_log_var_limit=0.1 grad_norm_clip=0.01", ("logvar_saturation", "gradient_clipping")),
)


def stream(family: str, seed: int) -> list[NDArray[np.float32]]:
    """Batches of recorded states [M, S], in recorded order."""
    from state_families import make_family

    batches = make_family(family, seed).batches(BATCHES)
    return [np.concatenate(batch).astype(np.float32) for batch in batches]


class Training(NamedTuple):
    """The metrics that a learner logs, and the message of the error that ended the training ("": none)."""

    series: dict[str, Series]
    failure: str


def train(settings: Mapping[str, Any], family: str, regime: str, seed: int, updates: int) -> Training:
    """``trained``, or its stored result if KEEP_RUNS is set."""
    if not os.environ.get("KEEP_RUNS"):
        return trained(settings, family, regime, seed, updates)
    name = hashlib.sha1(repr((sorted(settings.items(), key=str), family, regime, seed, updates)).encode()).hexdigest()
    file = Path(os.environ["KEEP_RUNS"]) / f"{name}.npz"
    if file.exists():
        kept = np.load(file)
        failure = str(kept["failure"]) if "failure" in kept.files else ""
        return Training({name: Series(*kept[name]) for name in kept.files if name != "failure"}, failure)
    training = trained(settings, family, regime, seed, updates)
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: np.stack([s.t, s.value]) for name, s in training.series.items()}
    np.savez_compressed(file, failure=training.failure, **arrays)
    return training


def trained(settings: Mapping[str, Any], family: str, regime: str, seed: int, updates: int) -> Training:
    """One training of the VAE on a recorded stream."""
    import torch
    from omarl.components.optimisers import DivergenceError
    from omarl.components.vae_trainer import VAEConfig, VAETrainer
    from omarl.utils.metrics import IntervalStats

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    known = {field.name for field in fields(VAEConfig)}
    trainer = VAETrainer(
        int(stream_cached(family, seed)[0].shape[1]), VAEConfig(**{k: v for k, v in settings.items() if k in known})
    )
    batches = [torch.from_numpy(batch) for batch in stream_cached(family, seed)]
    updates = min(updates, int(settings["t_max"]) // STEPS_PER_UPDATE)
    logger, stats, failure = Recorder(), IntervalStats(), ""
    for done in range(updates):
        place = min(done * BATCHES // updates, BATCHES - 1)
        try:
            if regime == "refresh":
                trainer.collect(batches[place][:REFRESHED_STATES])
                stats.add(trainer.update())
            else:
                states = batches[int(torch.randint(place + 1, ()))]
                stats.add(trainer.update(states[torch.randperm(len(states))[: trainer.config.vae_batch_states]]))
        except DivergenceError as error:
            failure = str(error)
        if failure or (done + 1) % LOG_EVERY == 0:
            step = (done + 1) * STEPS_PER_UPDATE
            stats.flush(logger, step)
            for name, value in trainer.describe(batches[place][:256]).items():
                if name not in ("vae_recon_loss", "vae_kl_loss"):
                    logger.log_stat(name, value, step)
            logger.log_stat("updates", trainer.updates, step)
            if failure or not trainer.is_finite():
                break
    return Training(logger.series(), failure)


STREAMS: dict[tuple[str, int], list[NDArray[np.float32]]] = {}


def stream_cached(family: str, seed: int) -> list[NDArray[np.float32]]:
    """The stream, recorded once in each process."""
    if (family, seed) not in STREAMS:
        STREAMS[family, seed] = stream(family, seed)
    return STREAMS[family, seed]


class Recorder:
    """A logger that stores all values."""

    console_logger: Any = None

    def __init__(self) -> None:
        self.kept: dict[str, list[tuple[float, float]]] = {}

    def log_stat(self, name: str, value: float, t: int) -> None:
        """PyMARL's logging method."""
        self.kept.setdefault(name, []).append((float(t), float(value)))

    def series(self) -> dict[str, Series]:
        """The stored series by name."""
        return {n: Series(*np.array(points, dtype=np.float64).T) for n, points in self.kept.items()}


def configuration(words: str, updates: int) -> dict[str, Any]:
    """The default configuration with the faulty settings."""
    from omarl.components.vae_trainer import VAEConfig

    config = {**asdict(VAEConfig()), **HOST, "t_max": updates * STEPS_PER_UPDATE}
    for word in words.split():
        name, value = word.split("=")
        if isinstance(config[name], bool):
            config[name] = value == "True"
        else:
            config[name] = type(config[name])(float(value)) if isinstance(config[name], int | float) else value
    return config


def provoke(case: Case, family: str, seed: int, updates: int, picture: str = "") -> dict[str, Any]:
    """Trains with faulty settings, diagnoses, trains with the suggested settings, and diagnoses again."""
    config = configuration(case.settings, updates)
    training = train(config, family, case.regime, seed, updates)
    found = examine(training.series, config, training.failure)
    result = {"case": case.settings, "regime": case.regime, "family": family, "seed": seed,
              "expected": list(case.symptoms), "found": summary(found)}  # fmt: skip
    first = found.findings[0].symptom if found.findings else ""
    if picture and len(case.symptoms) == 1 and first in case.symptoms[0].split("/"):
        title = f"{family}, {case.regime}, with {case.settings}"
        draw_diagnosis(found, canonical(training.series), Path(picture) / f"{first}.png", title)
    if case.symptoms:
        text = suggested_yaml(found, config, Path("run"), Path("suggested.yaml"))
        suggested = yaml.safe_load(text)
        again = train(
            suggested, family, case.regime, seed + 100, max(updates, suggested["t_max"] // STEPS_PER_UPDATE)
        )
        result |= {"suggested": {k: v for k, v in suggested.items() if config.get(k) != v},
                   "cured": summary(examine(again.series, suggested, again.failure))}  # fmt: skip
    return result


def summary(diagnosis: Diagnosis) -> dict[str, Any]:
    """The stored part of a diagnosis."""
    return {
        "healthy": diagnosis.healthy,
        "symptoms": [f.symptom for f in diagnosis.findings],
        "explains": [s for f in diagnosis.findings for s in f.explains],
        "measured": {k: v for k, v in diagnosis.measured.items() if isinstance(v, int | float) and math.isfinite(v)},
    }


def is_named(result: Mapping[str, Any]) -> bool:
    """Whether a single fault is named first, or both faults of a pair are named."""
    found, expected = result["found"]["symptoms"], result["expected"]
    if not expected:
        return bool(result["found"]["healthy"])
    if len(expected) == 1:
        return bool(found) and found[0] in expected[0].split("/")
    return all(set(each.split("/")) & set(found) for each in expected)


def report(results: list[dict[str, Any]], command: str, seconds: float) -> str:
    """The page: rates and a table of all cases, in Markdown."""
    kinds = {"single faults, named first": 1, "pairs, both named": 2, "unchanged, found healthy": 0}
    lines = [
        "# Provoked and cured",
        "",
        f"`{command}`: {seconds / 60:.0f} minutes. The rules were set with seed 41.",
        "",
    ]
    for title, size in kinds.items():
        some = [r for r in results if len(r["expected"]) == size]
        cured = sum(r["cured"]["healthy"] for r in some if "cured" in r)
        after = f"; healthy after one suggested.yaml: **{cured} of {len(some)}**" if size else ""
        lines.append(f"- {title}: **{sum(map(is_named, some))} of {len(some)}**{after}")
    head = "| provoked by | regime, states | expected | found | suggested | after the suggestion |"
    lines += ["", "Failures are bold.", "", head, "|---|---|---|---|---|---|"]
    for r in results:
        found = ", ".join(r["found"]["symptoms"]) or "healthy"
        then = (", ".join(r["cured"]["symptoms"]) or "healthy") if "cured" in r else ""
        then = then if "cured" not in r or r["cured"]["healthy"] else f"**{then}**"
        changes = " ".join(f"{k}={v}" for k, v in r.get("suggested", {}).items())
        cells = (
            f"`{r['case']}`" if r["case"] else "nothing",
            f"{r['regime']}, {r['family']} {r['seed']}",
            " + ".join(r["expected"]) or "healthy",
            found if is_named(r) else f"**{found}**",
            f"`{changes}`",
            then,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--families", nargs=2, default=["simple_tag", "stag_hunt"])
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--healthy", type=int, default=3, help="unchanged runs for each family and regime")
    parser.add_argument("--only", default="", help="settings that contain this; writes nothing")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begun = time.monotonic()
    pictures = "" if args.only else str(ROOT / "docs" / "symptoms")
    jobs: list[tuple[Any, ...]] = []
    for i, (family, regime) in enumerate(zip(args.families, ("replay", "refresh"), strict=True)):
        for case in (*(Case(c.settings, c.symptoms, regime) for c in SINGLE), REFRESHED, *PAIRS):
            jobs.append((case, family, args.seed + i, args.updates, pictures))
        jobs += [(Case("", (), each), family, args.seed + i + 10 * n, args.updates)
                 for each in ("replay", "refresh") for n in range(1, args.healthy + 1)]  # fmt: skip
    jobs = [job for job in jobs if args.only in job[0].settings]
    with ProcessPoolExecutor(args.jobs) as pool:
        results = []
        for future in [pool.submit(provoke, *job) for job in jobs]:
            results.append(future.result())
            last = results[-1]
            print("ok" if is_named(last) else "WRONG", last["case"], last["regime"], last["found"]["symptoms"], "->",
                  last.get("cured", {}).get("symptoms"), last.get("suggested"), flush=True)  # fmt: skip
    text = report(results, f"python benchmarks/provoke_and_cure.py --seed {args.seed}", time.monotonic() - begun)
    print(text)
    if not args.only:
        (HERE / "doctor" / "provoked.md").write_text(text, encoding="utf-8")
        (HERE / "doctor" / "provoked.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
