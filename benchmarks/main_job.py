"""Measures the default run: the VAE's explained variance on held-out states, and the predators' return.

    python benchmarks/main_job.py [--seeds 5] [--episodes 500] [--results DIR] [with KEY=VALUE ...]

Trains the default run (`python main.py --config=omg_vae`) once for each seed and times the command, plays test
episodes with the trained agents and with random agents in their place, and writes ``benchmarks/main_job.md`` and
``main_job.json``. Existing runs are not trained again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omarl import run, testing
from omarl.analysis.statistics import intervals_apart, mean_interval
from omarl.configuration.request import from_keywords
from omarl.utils.checkpoints import find_checkpoint, load_checkpoint
from omarl.utils.metrics import Logger

HERE = Path(__file__).parent
ROOT = HERE.parent
PREDATORS = ("adversary_0", "adversary_1", "adversary_2")


def train(seed: int, results: Path, changes: list[str]) -> tuple[Path, float]:
    """The default run with one seed, as a user starts it; a finished one is not made again.

    Returns:
        The folder of the run, and the seconds from the command to its end.
    """
    folder, seconds = results / str(seed), results / f"{seed}.seconds"
    if not seconds.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        words = [f"seed={seed}", f"local_results_path={folder}", *changes]
        begun = time.perf_counter()
        subprocess.run([sys.executable, str(ROOT / "main.py"), "--config=omg_vae", "with", *words], check=True)
        seconds.write_text(f"{time.perf_counter() - begun:.1f}", encoding="utf-8")
    return next(folder.rglob("metrics.jsonl")).parent, float(seconds.read_text(encoding="utf-8"))


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
        f"`{command}` trains the default run (`python main.py --config=omg_vae`, mpe2 simple_tag_v3) with seeds "
        f"{seeds}, one after the other, and tests each run in {data['episodes']} greedy episodes. "
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
        f"Seconds from the command to its end: median {statistics.median(data['seconds']):.0f} "
        f"[{min(data['seconds']):.0f}, {max(data['seconds']):.0f}].",
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
    seeds = list(range(1, options.seeds + 1))
    runs = {seed: train(seed, options.results.resolve(), words) for seed in seeds}
    arms = {
        arm: [play(runs[seed][0], 1000 + seed, options.episodes, random) for seed in seeds]
        for arm, random in ARMS.items()
    }
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pettingzoo", "mpe2"))
    data = {
        "seeds": seeds,
        "episodes": options.episodes,
        "arms": arms,
        "seconds": [seconds for _, seconds in runs.values()],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}, "
        f"{time.strftime('%Y-%m-%d')}",
    }
    (HERE / "main_job.json").write_text(json.dumps(data, indent=1) + "\n")
    command = " ".join(["python", "benchmarks/main_job.py", *(["with", *words] if words else [])])
    (HERE / "main_job.md").write_text(report(data, command))
    print((HERE / "main_job.md").read_text())


if __name__ == "__main__":
    main()
