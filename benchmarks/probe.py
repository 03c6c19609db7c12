"""What is known of opponents' goals: by what is seen, by memories, by opponent models, by a Bayes filter.

    python benchmarks/probe.py --runs RUN [RUN ...] --out benchmarks/omg/TASK_probe.md

For each run the learner plays scripts of its pool, those to train with and those of the tests, and small networks
are trained, on the first alone, to tell from what it has which goal the opponent is after: food, or prey's next
stop. The table has how often they are right about those that they were trained with and about the others. The
filter's own favourite is beside them.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omarl.envs.make import make_vec_env
from omarl.opponents.pool import read_pool
from omarl.opponents.pool_env import PoolEnv
from omarl.opponents.tag import STOPS
from omarl.pooling import words
from omarl.run import build
from omarl.utils.checkpoints import find_checkpoint
from omarl.utils.metrics import Logger
from torch import Tensor, nn
from torch.nn import functional as F

COPIES, STEPS, UPDATES = 128, 500, 2000
TOLD = ("goal", "belief")  # beside what the runs were told, which must be neither


def which(goal: Tensor, goals: int) -> Tensor:
    """Which of so many goals each player is after, [E], told as [E, G]; -1 where that is none of them."""
    if goal.shape[1] != goals:  # a point: prey's
        return (goal[:, None] - torch.tensor(np.array(STOPS, np.float32))).abs().sum(dim=2).argmin(dim=1)
    return torch.where(goal.sum(dim=1) > 0, goal.argmax(dim=1), -1)


@torch.no_grad()
def play(mac: Any, values: dict[str, Any], split: str, seed: int) -> dict[str, Tensor]:
    """What is there at every decision against a split's scripts, [D, ...] each, and the goal's number, [D]."""
    told = words(values["opponents_told"])
    everyone = make_vec_env(values["env"], values["env_args"], COPIES, seed, 0)
    learners = words(values["omg_learners"])
    env = PoolEnv(everyone, read_pool(values["pool"]), split, learners, [*told, *TOLD], seed, False)
    sees, seats = env.info.told_slice("goal").start, len(env.seats)
    scripted = torch.tensor([member.kind == "scripted" for member in env.members])
    found = defaultdict(list)
    observation, carry = env.reset(), mac.initial_carry(COPIES)
    last = torch.zeros(COPIES, 1, env.info.n_actions)
    for _ in range(STEPS):
        everything = torch.as_tensor(observation.obs)[:, 0]
        seen = observation._replace(obs=np.ascontiguousarray(observation.obs[..., :sees]))
        actions, carry = mac.act(seen, last, carry, 10**9, True)
        memory, models = mac.split_carry(carry)
        of_last = [everything[:, env.info.told_slice(what)].unflatten(1, (seats, -1))[:, -1] for what in TOLD]
        aim, believed = of_last  # of the last player: prey, where there is one
        goal = which(aim, believed.shape[1])
        keep = scripted[torch.as_tensor(env.met)] & (goal >= 0)
        have = {"seen": everything[:, :sees], "memory": memory[:, 0], "filter": believed, "goal": goal}
        if mac.model is not None:
            have |= {"model's memory": models[:, 0], "what the policy is told": mac.model.condition(models)[:, 0]}
        for name, value in have.items():
            found[name].append(value[keep])
        step = env.step(actions.numpy())
        observation = step.observation
        carry[torch.as_tensor(step.terminated | step.truncated)] = mac.initial_carry(1)
    env.close()
    return {name: torch.cat(parts) for name, parts in found.items()}


def right(known: dict[str, Tensor], new: dict[str, Tensor], names: tuple[str, ...]) -> tuple[float, float]:
    """How often a network that is trained on ``known`` is right about it, and about ``new``."""
    inputs = torch.cat([known[name] for name in names], dim=1)
    mean, std, goals = inputs.mean(dim=0), inputs.std(dim=0) + 1e-3, known["goal"]
    network = nn.Sequential(nn.Linear(inputs.shape[1], 128), nn.ReLU(), nn.Linear(128, known["filter"].shape[1]))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def answer(x: Tensor) -> Tensor:
        return network(((x - mean) / std).clamp(-5, 5))

    for _ in range(UPDATES):
        rows = torch.randint(len(inputs), (1024,))
        loss = F.cross_entropy(answer(inputs[rows]), goals[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        others = torch.cat([new[name] for name in names], dim=1)
        hits = [(answer(x).argmax(dim=1) == y).float().mean() for x, y in ((inputs, goals), (others, new["goal"]))]
    return float(hits[0]), float(hits[1])


def probed(run: Path) -> tuple[str, dict[str, tuple[float, float]]]:
    """A run's label, and what each thing it has tells."""
    values = json.loads((run / "config.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    parts = build(values, Logger(logging.getLogger("probe")))
    parts.learner.load_models(find_checkpoint(str(run)))
    parts.close()
    known, new = (play(parts.learner.mac, values, split, seed) for seed, split in enumerate(("train", "test")))
    found = {name: right(known, new, tuple(dict.fromkeys(("seen", name)))) for name in known if name != "goal"}
    hits = [float((each["filter"].argmax(dim=1) == each["goal"]).float().mean()) for each in (known, new)]
    return str(values["label"]), {**found, "filter": (hits[0], hits[1])}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for run in args.runs:
        label, answers = probed(run)
        for what, hits in answers.items():
            found[label, what].append(hits)
            print(label, what, hits, flush=True)
    lines = ["# What is known of opponents' goals", "",
             "How often a small network, trained with the training scripts, is right about the goal of an opponent, "
             "from what the learner sees and one thing more; the filter's own favourite beside them. Means over runs "
             "(`python benchmarks/probe.py`).", "",
             "| runs of | | runs | training scripts | test scripts |", "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for (label, what), hits in found.items():
        train, test = np.mean(hits, axis=0)
        lines.append(f"| {label} | {what} | {len(hits)} | {train:.3f} | {test:.3f} |")
    args.out.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
