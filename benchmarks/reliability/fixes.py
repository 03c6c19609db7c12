"""Results of the same seed before and after each fix of numbers and masks, one figure for each.

    python benchmarks/reliability/fixes.py [--out benchmarks/reliability/fixes.csv]

Each figure is measured at two revisions of this repository: the parent of the fix and the fix. The script prints and
writes a line for each: the fix, the figure, before and after. About 4 minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import omarl
import torch
from omarl.components.episode_batch import make_scheme
from omarl.controllers.model_controller import ModelMAC
from omarl.envs.make import make_vec_env
from omarl.games.game import Game, Scripts
from omarl.learners.opponent_model_learner import OpponentModelLearner
from omarl.opponents.pool import Member, Pool
from omarl.opponents.pool_env import PoolEnv
from omarl.runners.episode_runner import EpisodeRunner
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import EnvInfo
from pettingzoo import ParallelEnv

ROOT = Path(__file__).resolve().parents[2]
GRU, MASKS = ("33fb2f4", "ce7fe50"), ("8bbb733", "8c78893")
NAMES = ["learner", "frail"]
STEPS, DIES_AT = 9, 3


class Noisy(Scripts):
    """Action 1 with probability 2/3, else action 2; action 0 if no other one is available."""

    def __init__(
        self, names: list[str], noise: list[float], info: EnvInfo, seats: list[int], n_envs: int, seed: int
    ) -> None:
        self.seats, self.random = seats, np.random.default_rng(seed)

    def act(self, rows: Any, which: Any, obs: Any, avail: Any) -> Any:
        return (1 + (self.random.random((len(rows), len(self.seats))) > 2 / 3)) * avail[rows][:, self.seats, 1]


class Plain(Game):
    scripts = Noisy


class Mortal(ParallelEnv):
    """``frail`` dies after ``DIES_AT`` of ``STEPS`` steps; observations count steps."""

    metadata = {"name": "mortal_v0"}  # noqa: RUF012
    game = Plain
    max_cycles = STEPS

    def __init__(self, render_mode: str | None = None) -> None:
        self.possible_agents = list(NAMES)

    @functools.cache  # noqa: B019
    def observation_space(self, agent: str) -> Any:
        return gymnasium.spaces.Box(-99.0, 99.0, (2,), np.float32)

    @functools.cache  # noqa: B019
    def action_space(self, agent: str) -> Any:
        return gymnasium.spaces.Discrete(3)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self.t = list(NAMES), 0
        return {a: np.ones(2) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions: Any) -> Any:
        self.t += 1
        agents, over = self.agents, self.t >= STEPS
        dead = {a: self.t == DIES_AT and a == "frail" for a in agents}
        self.agents = [a for a in agents if not dead[a] and not over]
        observed = {a: np.full(2, 1.0 + self.t) for a in agents}
        return observed, dict.fromkeys(agents, 0.0), dead, dict.fromkeys(agents, over), {a: {} for a in agents}


def accuracy_with_dead_opponents() -> float:
    """``model_action_accuracy`` of ``naive`` in test episodes; the best possible is 2/3."""
    pool = Pool(Path(), "p", {}, (Member("noisy", "script", "scripted", "train", script="noisy"),))
    envs = [
        PoolEnv(make_vec_env("fixes:Mortal", {}, 16, 0, seed), pool, "train", ["learner"], ["actions"], seed, False)
        for seed in (0, 1)
    ]
    info = envs[0].info
    args = SimpleNamespace(
        n_agents=1, n_actions=3, agent_types=("learner",), device="cpu", common_reward=False, hidden_dim=8,
        reward_scalarisation="sum", learner_log_interval=10**9, env_info=info, opponent_model="naive", t_max=10**6,
        rollout_steps=STEPS, model_hidden_dim=16, model_lr=5e-3, agent="features", obs_last_action=False,
        action_selector="softmax",
    )  # fmt: skip
    scheme, groups = make_scheme(info, False)
    torch.manual_seed(0)
    mac = ModelMAC(scheme, groups, args)
    logger: Any = SimpleNamespace(console_logger=None, log_stat=lambda *row: None)
    learner = OpponentModelLearner(mac, scheme, logger, args)
    runner = RolloutRunner(envs[0], mac, scheme, groups, args)
    for _ in range(100):
        learner.train(runner.run(), runner.t_env, 0)
    tester = EpisodeRunner(envs[1], mac, scheme, groups, args, test_mode=True)
    return learner.evaluate(tester.collect(160))["model_action_accuracy"]


def last(config: str, env: str, metric: str, **keys: Any) -> float:
    """The last value of a metric of a short run with seed 7."""
    settings = {"t_max": 6000, "test_interval": 0, "learner_log_interval": 1000, "runner_log_interval": 1000,
                "save_model": False, "use_tensorboard": False, "env_workers": 0, "seed": 7}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = omarl.train(config, env, path=Path(folder) / "run", **{**settings, **keys})
        return float(run.metrics[metric].values[-1])


FIGURES = {
    "compiled GRU": (GRU, "loss of iql with agent=rnn on simple_spread", lambda: last(
        "iql", "simple_spread", "loss", agent="rnn")),
    "dead opponents": (MASKS, "test accuracy of naive_om, at most 0.667", accuracy_with_dead_opponents),
    "last states": (MASKS, "vae_kl_loss of omg_vae with base_learner=ppo_learner on simple_spread", lambda: last(
        "omg_vae", "simple_spread", "vae_kl_loss", base_learner="ppo_learner", runner="rollout",
        action_selector="softmax", batch_size_run=16, rollout_steps=40)),
    "current goals": (MASKS, "return_mean of ppo_history with goals on foraging", lambda: last(
        "ppo_history", "foraging", "return_mean", opponent_information=["actions", "goal"], batch_size_run=16,
        t_max=16_000, env_args={"episode_limit": 20})),
}  # fmt: skip


def measured(revision: str, name: str, work: Path) -> float:
    """The figure at a revision."""
    folder = work / revision
    if not folder.exists():
        command = ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(folder), revision]
        subprocess.run(command, check=True, capture_output=True)
    paths = [str(folder / "typings"), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", name]
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{revision}, {name}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fixes.csv"))
    parser.add_argument("--measure", choices=FIGURES, help="print one figure of the omarl on the path")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(FIGURES[options.measure][2]()))
        return
    rows = [["fix", "figure", "before", "after"]]
    with tempfile.TemporaryDirectory() as work:
        try:
            for name, (revisions, figure, _) in FIGURES.items():
                values = [f"{measured(revision, name, Path(work)):.9g}" for revision in revisions]
                rows.append([name, figure, *values])
                print(" | ".join(rows[-1]), flush=True)
        finally:
            for folder in Path(work).iterdir():
                command = ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(folder)]
                subprocess.run(command, check=False, capture_output=True)
    with options.out.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
