"""Measures the default run: the VAE's explained variance on held-out states, and the predators' return.

    python benchmarks/main_job.py [--seeds 5] [--episodes 500] [--results DIR] [with KEY=VALUE ...]

Trains the default run (`python main.py --config=omg_vae`, to step 100,000, 256 states in each VAE update) once for
each seed, plays test episodes with the trained agents and with random agents in their place, and writes
``benchmarks/main_job.md`` and ``main_job.json``. Existing runs are not trained again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import omarl
import torch
from keywords import keywords
from omarl import run, testing
from omarl.analysis.statistics import intervals_apart, mean_interval
from omarl.configuration.request import from_keywords
from omarl.utils.checkpoints import find_checkpoint, load_checkpoint
from omarl.utils.metrics import Logger

HERE = Path(__file__).parent
ROOT = HERE.parent
PREDATORS = ("adversary_0", "adversary_1", "adversary_2")


def train(seed: int, results: Path, changes: dict[str, Any]) -> omarl.Run:
    """The default run with one seed; a finished one is not made again."""
    folder = results / str(seed)
    record = folder / "run.json"
    if record.is_file() and json.loads(record.read_text())["status"] == "COMPLETED":
        return omarl.Run(folder)
    shutil.rmtree(folder, ignore_errors=True)
    keys = {"seed": seed, "t_max": 100_000, "vae_batch_states": 256, **changes}
    return omarl.train("omg_vae", path=folder, progress=True, **keys)


class RandomIn:
    """A controller in which some agents play at random."""

    def __init__(self, mac: Any, agents: list[int]) -> None:
        self.mac, self.agents = mac, agents
        self.initial_carry = mac.initial_carry

    def act(self, observation: Any, last: Any, carry: Any, t_env: int, test_mode: bool) -> tuple[Any, Any]:
        """The controller's actions, and uniform available ones for the random agents."""
        actions, carry = self.mac.act(observation, last, carry, t_env, test_mode)
        avail = torch.as_tensor(observation.avail).float()
        random = torch.multinomial(avail.flatten(0, 1), 1).view(actions.shape)
        actions[:, self.agents] = random[:, self.agents]
        return actions, carry


def play(folder: Path, seed: int, episodes: int, random: list[int]) -> dict[str, float]:
    """Plays test episodes with a run's agents; agents with an index in ``random`` act at random.

    Returns:
        The predators' return (summed), the prey's return, and the VAE's explained variance.
    """
    keys = {"checkpoint_path": folder, "seed": seed, "test_nepisode": episodes}
    values = from_keywords(keys, command="evaluate").values
    with run.opened(values, Logger(logging.getLogger("benchmark"))) as parts:
        load_checkpoint(find_checkpoint(folder), parts.learner)
        parts.tester.mac = RandomIn(parts.tester.mac, random)
        testing.log_test(parts, 0)
    latest = parts.logger.latest
    return {
        "predators": sum(latest[f"test_return_mean/{name}"] for name in PREDATORS),
        "prey": latest["test_return_mean/agent_0"],
        "explained": latest["test_vae_explained_variance"],
    }


ARMS = {
    "learned predators, learned prey": [],
    "random predators, learned prey": [0, 1, 2],
    "random predators, random prey": [0, 1, 2, 3],
}


def shown(values: list[float]) -> str:
    """Mean and 95% interval over seeds, as text."""
    interval = mean_interval(np.array(values))
    return f"{interval.point:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def report(data: dict[str, Any], command: str) -> str:
    """The text of ``main_job.md``."""
    arms = data["arms"]
    seeds = data["seeds"]
    lines = [
        "# The default run",
        "",
        f"`{command}` trains the default run (`python main.py --config=omg_vae with t_max={data['t_max']} "
        "vae_batch_states=256`, mpe2 "
        f"simple_tag_v3) with seeds {seeds} and tests each run in {data['episodes']} greedy episodes. "
        "Means over seeds with Student's 95% intervals; the predators' return is the sum over the three.",
        "",
        "| agents | predators' return | prey's return |",
        "|---|---|---|",
    ]
    for arm, rows in arms.items():
        predators, prey = ([row[name] for row in rows] for name in ("predators", "prey"))
        lines.append(f"| {arm} | {shown(predators)} | {shown(prey)} |")
    learned, *others = (mean_interval(np.array([row["predators"] for row in rows])) for rows in arms.values())
    apart = all(intervals_apart(learned, other) and learned.low > other.high for other in others)
    explained = [row["explained"] for row in next(iter(arms.values()))]
    lines += [
        "",
        f"The interval of learned predators lies above those of both random rows: **{'yes' if apart else 'no'}**.",
        "",
        f"Explained variance of held-out states (greedy test episodes): {shown(explained)}, "
        f"lowest seed {min(explained):.3f}.",
        "",
        f"Machine: {data['machine']}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "benchmarks" / "main_job")
    parser.add_argument("changes", nargs="*", help="with KEY=VALUE ...")
    options = parser.parse_args()
    words = [word for word in options.changes if word != "with"]
    changes = keywords(words)
    seeds = list(range(1, options.seeds + 1))
    runs = {seed: train(seed, options.results, changes) for seed in seeds}
    arms = {
        arm: [play(runs[seed].path, 1000 + seed, options.episodes, random) for seed in seeds]
        for arm, random in ARMS.items()
    }
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pettingzoo", "mpe2"))
    data = {
        "seeds": seeds,
        "episodes": options.episodes,
        "t_max": runs[1].config["t_max"],
        "arms": arms,
        "seconds": [float(one.metrics["wall_s"].values[-1]) for one in runs.values()],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}, "
        f"{time.strftime('%Y-%m-%d')}",
    }
    (HERE / "main_job.json").write_text(json.dumps(data, indent=1) + "\n")
    command = " ".join(["python", "benchmarks/main_job.py", *(["with", *words] if words else [])])
    (HERE / "main_job.md").write_text(report(data, command))
    print((HERE / "main_job.md").read_text())


if __name__ == "__main__":
    main()
