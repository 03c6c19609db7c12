"""Writes the files of runs as a study leaves them, with made-up numbers."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

OPPONENTS = {"runner": "script", "hunter": "script", "ippo_1": "ippo"}


def write_run(folder: Path, name: str, task: str, seed: int, points: int = 60, vae: bool = False) -> Path:
    """A finished run of ``points`` logged steps whose return rises to a level that depends on its name and task."""
    rng = np.random.default_rng([seed, len(name), sum(map(ord, task))])
    level, t = 10 * len(name) + 5 * rng.normal(), np.linspace(0, 100_000, points)
    columns = {"wall_s": t / 500, "test_return_mean": level * (1 - np.exp(-t / 3e4)) + rng.normal(size=points),
               "return_mean": level * (1 - np.exp(-t / 3e4)) + 3 * rng.normal(size=points),
               "loss": 5 * np.exp(-t / 5e4) + 0.1 * rng.random(points)}  # fmt: skip
    if vae:
        columns["vae_kl_loss"] = 20 * (1 - np.exp(-t / 1e4)) + 0.1 * rng.normal(size=points)
        columns["vae_recon_loss"] = 3 + 30 * np.exp(-t / 1e4) + 0.05 * rng.normal(size=points)
        columns["vae_explained_variance"] = 0.98 * (1 - np.exp(-t / 1e4))
    rows = [{"t_env": int(t[i]), **{k: float(v[i]) for k, v in columns.items()}} for i in range(points)]
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"name": name, "seed": seed, "t_max": 100_000, "env_args": {"key": f"mpe2.{task}_v3"}}
    (folder / "config.json").write_text(json.dumps(config))
    words = [f"--config={name}", "--id=x", f"--env-config={task}", "with", f"seed={seed}"]
    run = {"status": "COMPLETED", "meta": {"words": words},
           "host": {"cpu": "A processor", "os": ["Linux", "Linux 6"], "python_version": "3.11.7"},
           "experiment": {"dependencies": ["numpy==2.4.6", "omarl==0.2.0"],
                          "repositories": [{"commit": "0123456789", "dirty": False}]}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def write_evaluation(run: Path, rng: np.random.Generator) -> None:
    """The result of ``evaluate`` against a pool."""
    folder = run / "checkpoints" / "100000"
    folder.mkdir(parents=True)
    returns = {name: 10 * i + rng.normal() for i, name in enumerate(OPPONENTS)}
    rows = [{"of": "opponent", "name": name, "return": value} for name, value in returns.items()]
    for family in dict.fromkeys(OPPONENTS.values()):
        of_family = [value for name, value in returns.items() if OPPONENTS[name] == family]
        rows.append({"of": "family", "name": family, "return": float(np.mean(of_family))})
    rows.append({"of": "all", "name": "all", "return": float(np.mean(list(returns.values())))})
    (folder / "evaluation.json").write_text(json.dumps({"by_opponent": rows}))


def write_study(root: Path, names: list[str], tasks: list[str], seeds: int) -> Path:
    """Runs of all combinations; those with the VAE's name have a VAE, and all are evaluated against a pool."""
    for task in tasks:
        for name in names:
            for seed in range(1, seeds + 1):
                run = write_run(root / "sacred" / name / task / str(seed), name, task, seed, vae="vae" in name)
                write_evaluation(run, np.random.default_rng([seed, len(name)]))
    return root


def write_film(run: Path, ending: str = ".gif", steps: int = 12, words: bool = True) -> Path:
    """A film that ``replay`` has drawn of the run: a square that moves."""
    from omarl.analysis.video import ENCODERS

    frames = np.full((steps, 120, 100, 3), 245, np.uint8)
    for t, frame in enumerate(frames):
        frame[40:60, 4 * t : 4 * t + 20] = (11, 92, 173)
    folder = run / "checkpoints" / "100000" / "replay"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"episode{ending}"
    file.write_bytes(ENCODERS[ending[1:]](iter(frames), 3.0))
    for t in (0, steps // 2, steps - 1):
        Image.fromarray(frames[t]).save(folder / f"step_{t:02d}.png")
    if words:
        (folder / "episode.txt").write_text("iql with runner, 11 steps\nstep 0: passes 3 | 4\n")
    return file


def write_crossplay(folder: Path, names: list[str], opponents: list[str]) -> None:
    """The matrix of ``crossplay``."""
    rng = np.random.default_rng(0)
    rows = [",".join([name, "5", *(f"{value:.3f}" for value in rng.normal(size=len(opponents)))]) for name in names]
    folder.mkdir(parents=True)
    (folder / "crossplay.csv").write_text("\n".join([",".join(["", "runs", *opponents]), *rows]) + "\n")
