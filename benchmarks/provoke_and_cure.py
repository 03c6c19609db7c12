"""The doctor put to the test: every illness provoked by a real run, named, and cured by its own suggestion.

    python benchmarks/provoke_and_cure.py [--jobs 2] [--seeds 31 32] [--healthy 5] [--results DIR] [--only NAME ...]

On simple_tag and on foraging: trains omg_vae with one setting turned wrong, diagnoses the run, trains again from its
``suggested.yaml``, and diagnoses that. Also trains the unchanged configuration with further seeds, which must be
found healthy. The seeds are none of those that the doctor's thresholds were set on. Writes
``benchmarks/doctor/doctor.md`` and ``doctor.json``, and keeps one picture of each symptom for the guide. Runs that
are there already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omarl.analysis.doctor import DiagnoseConfig, Diagnosis, diagnose
from omarl.analysis.doctor.picture import draw_diagnosis
from omarl.analysis.doctor.reading import canonical
from omarl.analysis.runs import read_metrics

HERE = Path(__file__).parent
ROOT = HERE.parent
ENVS = ("simple_tag", "foraging")
# Agents without memory train three times as fast, and the VAE is what is looked at here.
LEAN = ("t_max=60000", "test_interval=0", "save_model=False", "use_tensorboard=False", "env_workers=0")
QUICK = (*LEAN, "use_rnn=False")


@dataclass(frozen=True)
class Case:
    """One setting turned wrong, and the symptom that the doctor must name first."""

    settings: str
    symptom: str


CASES = (
    Case("vae_lr=0.05", "learning_rate_too_high"),
    Case("vae_lr=0.01", "learning_rate_too_high"),
    Case("omg_vae_alpha=1e-6", "kl_weight_too_small"),
    Case("omg_vae_alpha=0.1", "kl_weight_too_large"),
    Case("omg_vae_alpha=10", "posterior_collapse"),
    Case("vae_latent_dim=128", "latent_oversized"),
    Case("vae_log_var_bound=exp_clamp vae_log_var_init=6 vae_alpha_ramp=0", "negative_kl"),
    Case("vae_log_var_bound=none vae_log_var_init=100", "non_finite"),
    Case("vae_log_var_limit=0.1", "logvar_saturation"),
    Case("grad_norm_clip=0.01", "gradient_clipping"),
    Case("vae_alpha_schedule=cyclical vae_alpha_ramp=400", "kl_oscillation"),
    Case("vae_lr=1e-6", "reconstruction_plateau"),
    Case("vae_hidden_dim=1", "reconstruction_plateau"),
    Case("batch_size=1", "sampling_noise"),
    Case("t_max=3000", "too_short"),
)


@dataclass(frozen=True)
class Outcome:
    """One run and what the doctor said of it; ``cure`` is the same after its suggestion, None for healthy runs."""

    case: Case
    env: str
    seed: int
    provoked: Diagnosis
    cure: Diagnosis | None

    @property
    def first(self) -> str:
        """The symptom named first."""
        return self.provoked.findings[0].symptom if self.provoked.findings else "healthy"

    @property
    def is_cured(self) -> bool:
        """Whether the run from the suggestion is healthy."""
        return self.cure is not None and self.cure.healthy


def train(folder: Path, words: list[str]) -> Path:
    """One run through ``main.py`` as a user types it: its folder. A run that fails on purpose is a run too."""
    done = list(folder.glob("sacred/*/*/*/run.json"))
    if not (done and json.loads(done[0].read_text())["status"] in ("COMPLETED", "FAILED")):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with (folder / "console.txt").open("w") as console:
            command = [sys.executable, "main.py", *words, f"local_results_path={folder}"]
            subprocess.run(command, cwd=ROOT, stdout=console, stderr=console, check=False)
        done = list(folder.glob("sacred/*/*/*/run.json"))
    return done[0].parent


def examine(run: Path) -> Diagnosis:
    """The doctor's verdict, with its files in the run's folder."""
    return diagnose(DiagnoseConfig(run=str(run)))


def provoke(results: Path, case: Case, env: str, seed: int) -> Outcome:
    """Provokes, diagnoses, follows the suggestion, diagnoses again."""
    folder = results / f"{env}_{seed}_{case.settings.replace(' ', ',').replace('/', '-')}"
    words = ["--config=omg_vae", f"--env-config={env}", "with", f"seed={seed}", *QUICK, *case.settings.split()]
    run = train(folder / "provoked", words)
    found = examine(run)
    cured = train(folder / "cured", [f"--config={run / 'suggested.yaml'}", "with", f"seed={seed}"])
    return Outcome(case, env, seed, found, examine(cured))


def stay_healthy(results: Path, env: str, seed: int) -> Outcome:
    """The unchanged configuration, agents with memory and all."""
    words = ["--config=omg_vae", f"--env-config={env}", "with", f"seed={seed}", *LEAN]
    run = train(results / f"{env}_{seed}_healthy", words)
    return Outcome(Case("", "healthy"), env, seed, examine(run), None)


def numbers(diagnosis: Diagnosis) -> str:
    """What a table's cell says of a run."""
    m = diagnosis.measured
    said = [f"KL {m['kl_mean']:.3g}"] if "kl_mean" in m else []
    said += [f"drift {m['kl_drift']:+.0%}"] if "kl_drift" in m else []
    said += [f"osc. {m['kl_oscillation']:.1%}"] if "kl_oscillation" in m else []
    said += [f"explained {1 - m['unexplained']:.2f}"] if "unexplained" in m else []
    return ", ".join(said)


def verdict(diagnosis: Diagnosis) -> str:
    """The symptoms in their order."""
    names = ", ".join(finding.symptom for finding in diagnosis.findings)
    return f"healthy ({names})" if diagnosis.healthy and names else names or "healthy"


def remedy(diagnosis: Diagnosis) -> str:
    """All keys that the suggestion changes."""
    wanted: dict[str, Any] = {}
    for finding in diagnosis.findings:
        wanted = {**finding.remedy, **wanted}
    return " ".join(f"{name}={value}" for name, value in wanted.items())


def report(outcomes: list[Outcome], healthy: list[Outcome], seconds: float) -> str:
    """The table."""
    named = sum(o.first == o.case.symptom for o in outcomes)
    cured = sum(o.is_cured for o in outcomes)
    well = sum(o.provoked.healthy for o in healthy)
    lines = [
        "# The doctor put to the test",
        "",
        "`python benchmarks/provoke_and_cure.py`: runs of omg_vae with one setting turned wrong, diagnosed, trained "
        "again from their `suggested.yaml` and diagnosed again; 60,000 environment steps each (unless provoked "
        "otherwise), agents without memory. None of the seeds was used to set a threshold.",
        "",
        f"- named first as provoked: **{named} of {len(outcomes)}**",
        f"- healthy after the suggestion: **{cured} of {len(outcomes)}**",
        f"- unchanged configuration found healthy: **{well} of {len(healthy)}**",
        f"- {seconds / 60:.0f} minutes on {os.cpu_count()} cores",
        "",
        "## Provoked and cured",
        "",
        "| provoked by | on, seed | must be named | the doctor says | measured | suggests | then | measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        told = verdict(o.provoked) if o.first == o.case.symptom else f"**{verdict(o.provoked)}**"
        after = "" if o.cure is None else verdict(o.cure) if o.cure.healthy else f"**{verdict(o.cure)}**"
        cells = (
            f"`{o.case.settings}`", f"{o.env}, {o.seed}", o.case.symptom, told, numbers(o.provoked),
            f"`{remedy(o.provoked)}`", after, numbers(o.cure) if o.cure else "",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Unchanged", "", "| on, seed | the doctor says | measured |", "|---|---|---|"]
    lines += [f"| {o.env}, {o.seed} | {verdict(o.provoked)} | {numbers(o.provoked)} |" for o in healthy]
    return "\n".join(lines) + "\n"


def keep_pictures(outcomes: list[Outcome], folder: Path) -> None:
    """One diagnosis.png of each symptom, of the first run in which it was named."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in reversed(outcomes):
        if outcome.first == outcome.case.symptom:
            run = Path(outcome.provoked.files[0]).parent
            title = f"{outcome.env} with {outcome.case.settings}"
            draw_diagnosis(outcome.provoked, canonical(read_metrics(run)), folder / f"{outcome.first}.png", title)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32], help="one an environment")
    parser.add_argument("--healthy", type=int, default=5, help="unchanged runs on each environment")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "doctor")
    parser.add_argument("--only", nargs="*", help="symptoms; writes nothing into benchmarks/")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    results, begun = args.results.resolve(), time.monotonic()
    cases = [case for case in CASES if not args.only or case.symptom in args.only]
    with ThreadPoolExecutor(args.jobs) as pool:
        where = [(case, env, seed) for case in cases for env, seed in zip(ENVS, args.seeds, strict=True)]
        runs = [pool.submit(provoke, results, *at) for at in where]
        seeds = range(max(args.seeds) + 1, max(args.seeds) + 1 + (0 if args.only else args.healthy))
        unchanged = [pool.submit(stay_healthy, results, env, seed) for env in ENVS for seed in seeds]
        outcomes, healthy = [run.result() for run in runs], [run.result() for run in unchanged]
    text = report(outcomes, healthy, time.monotonic() - begun)
    print(text)
    if not args.only:
        kept = HERE / "doctor"
        kept.mkdir(exist_ok=True)
        (kept / "doctor.md").write_text(text, encoding="utf-8")
        raw = [
            {"settings": o.case.settings, "expected": o.case.symptom, "env": o.env, "seed": o.seed,
             "provoked": o.provoked.as_dict(), "cured": o.cure and o.cure.as_dict()}
            for o in (*outcomes, *healthy)
        ]  # fmt: skip
        (kept / "doctor.json").write_text(json.dumps(raw, indent=1, default=float) + "\n", encoding="utf-8")
        keep_pictures(outcomes, ROOT / "docs" / "symptoms")


if __name__ == "__main__":
    main()
