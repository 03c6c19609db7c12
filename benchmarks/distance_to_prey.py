"""How far from the prey a predator learns to be, against the training opponents of pools; one table for all pools.

    python benchmarks/distance_to_prey.py --pools FOLDER ...

All predators receive the reward of each catch, also of those that the learner has no part in. Writes
``benchmarks/omg/distance_to_prey.md``.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omarl import run
from omarl.components.rollout import Rollout
from omarl.configuration.request import from_keywords
from omarl.games.lookup import place_indices
from omarl.opponents.pool import Member, read_pool
from omarl.utils.metrics import Logger
from torch import Tensor

OUT = Path(__file__).parent / "omg" / "distance_to_prey.md"
ROLLOUTS, LOOKED_AT = 160, 10  # of training, and of each row of the table


def means(rollouts: list[tuple[Tensor, Tensor, Tensor]], among: Tensor) -> str:
    """Mean distance, and mean reward in 50 steps, in the copies whose opponents are ``among`` [members]."""
    distance, reward, opponents = (torch.cat(each) for each in zip(*rollouts, strict=True))
    chosen = among[opponents]
    if not chosen.any():
        return " | "
    return f"{distance[chosen].mean():.2f} | {50 * reward[chosen].mean():.1f}"


def measured(batch: Rollout, places: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Distance to the prey, the learner's reward and the index of the opponent at each step: [E, T].

    They are copies, because the runner writes the next rollout into the same memory.
    """
    me, prey = batch["state"][:, :-1][..., places].unflatten(-1, (2, 2)).unbind(dim=-2)
    steps = me.shape[:2]
    reward, opponent = (batch[name][:, : steps[1]].reshape(*steps, -1)[..., 0] for name in ("reward", "opponent"))
    return (me - prey).norm(dim=-1), reward.clone(), opponent.long().clone()


def built(folder: str, steps: int) -> tuple[run.Parts, tuple[Member, ...], list[int]]:
    """A run of ``ppo_history`` against a pool, its training opponents, and where states have both places."""
    pool = read_pool(folder)
    keys = {"pool": folder, "env_args": pool.env_args, "omg_learners": "adversary_0", "gamma": 0.95,
            "opponent_information": ["actions"], "t_max": steps, "seed": 1}  # fmt: skip
    made = run.build(from_keywords(keys, "ppo_history", "simple_tag").values, Logger(logging.getLogger("distance")))
    info: Any = made.info  # a PoolInfo
    return made, pool.split("train"), place_indices(info.full, ["adversary_0", "agent_0"])[0]


def rows(folder: str, steps: int) -> Iterator[str]:
    """The table's rows of a pool, along a training of ``ppo_history``."""
    made, members, places = built(folder, steps)
    scripts = torch.tensor([member.kind == "scripted" for member in members])
    name = f"{int(scripts.sum())} scripts, {int((~scripts).sum())} teams"
    made.runner.begin()
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    for k in range(1, ROLLOUTS + 1):
        batch = made.runner.run()
        seen = [*seen[1 - LOOKED_AT :], measured(batch, places)]
        made.learner.train(batch, made.runner.t_env, 0)
        if k == LOOKED_AT or k % (ROLLOUTS // 4) == 0:
            yield f"| {name} | {made.runner.t_env:,} | {means(seen, scripts)} | {means(seen, ~scripts)} |"


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=1_000_000, help="of the schedule of the learning rate")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["# Distance to the prey while a predator learns", "",
             f"`ppo_history`, seed 1; means over {LOOKED_AT} rollouts of 128 copies. Reward: the learner's, in 50 "
             "steps. `python benchmarks/distance_to_prey.py --pools FOLDER ...`", "",
             "| training opponents | steps | distance, scripts | reward, scripts | distance, teams | reward, teams |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [row for folder in args.pools for row in rows(folder, args.steps)]
    OUT.write_text("\n".join([*lines, ""]), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
