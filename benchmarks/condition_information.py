"""Measures what conditions of opponent models say about the test opponents beyond the learner's observation.

    python benchmarks/condition_information.py --runs RUN [RUN ...] --out benchmarks/omg/study/TASK_information.md

The learner of each run plays with the test opponents of its pool. Small networks (probes) predict, for each opponent,
the next action and the cell in which it is ``AHEAD`` steps later. A row of the table is one kind of input. Its number
is the cross-entropy that the input saves in comparison with the observation alone, in bits for each opponent. Probes
are fitted on half of the copies and stopped by a quarter; the numbers are of the last quarter.

Two rows are for comparison: the condition of another copy, which says nothing, and the opponents' last actions, which
say what a memory of them could.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omarl.analysis.statistics import mean_interval
from omarl.envs.make import make_vec_env
from omarl.games.lookup import place_indices
from omarl.opponents.information import PoolInfo
from omarl.opponents.pool import read_pool
from omarl.opponents.pool_env import PoolEnv
from omarl.pooling import words
from probe import values_and_mac
from torch import Tensor, nn
from torch.nn import functional as F

COPIES, STEPS, AHEAD, SIDE, LAST = 512, 300, 5, 6, 8
UPDATES, ROWS, CHECK, WIDTH = 2000, 512, 100, 128
OBSERVATION = "observation"
INPUTS = ("condition", "condition of another copy", f"last {LAST} actions")


class Games(NamedTuple):
    """Steps of one learner, [E, T, ...]."""

    inputs: dict[str, Tensor]
    actions: Tensor  # [E, T, M], the opponents' next actions
    cells: Tensor  # [E, T, M], the opponents' cells ``AHEAD`` steps later
    is_same: Tensor  # bool [E, T], whether the episode goes on so long


@torch.no_grad()
def play(values: dict[str, Any], mac: Any) -> Games:
    """Plays ``STEPS`` steps in each copy with the test opponents."""
    everyone = make_vec_env(values["env"], values["env_args"], COPIES, 0, 1)
    information = words(values["opponent_information"])
    env = PoolEnv(everyone, read_pool(values["pool"]), "test", words(values["omg_learners"]), information, 1, False)
    info, found, episode = env.info, defaultdict(list), torch.zeros(COPIES, dtype=torch.long)
    assert isinstance(info, PoolInfo)
    observation, carry = env.reset(), mac.initial_carry(COPIES)
    last = torch.zeros(COPIES, len(info.agents), info.n_actions)
    for _ in range(STEPS):
        actions, carry = mac.act(observation, last, carry, 10**9, True)
        for name, value in ((OBSERVATION, torch.as_tensor(observation.obs)[:, 0]), ("episode", episode),
                            ("condition", mac.model.condition_of(mac.split_carry(carry)[1])[:, 0]),
                            ("state", torch.as_tensor(observation.state).flatten(1))):  # fmt: skip
            found[name].append(value.clone())
        step = env.step(actions.numpy())
        observation = step.observation
        is_over = torch.as_tensor(step.terminated | step.truncated)
        carry[is_over] = mac.initial_carry(1)
        episode = episode + is_over
    env.close()
    return described({name: torch.stack(parts, dim=1) for name, parts in found.items()}, info)


def described(steps: dict[str, Tensor], info: PoolInfo) -> Games:
    """The inputs and targets of probes."""
    seen, episode = steps[OBSERVATION], steps["episode"]
    acted = seen[..., info.information_slice("actions")]  # of the step before
    one_hot = acted.unflatten(-1, (len(info.opponents), -1))[..., : info.n_actions]
    history = torch.cat([acted.roll(k, dims=1) * (episode.roll(k, dims=1) == episode)[..., None]
                         for k in range(LAST)], dim=-1)  # fmt: skip
    assert info.full is not None
    places, _ = place_indices(info.full, info.opponents)
    where = steps["state"][..., places]
    edges = torch.linspace(0, 1, SIDE + 1)[1:-1]
    bins = torch.stack([torch.bucketize(column, column.flatten().quantile(edges))
                        for column in map(Tensor.contiguous, where.unbind(-1))], dim=-1)  # fmt: skip
    cells = (bins[..., 0::2] * SIDE + bins[..., 1::2]).roll(-AHEAD, dims=1)
    is_same = episode.roll(-AHEAD, dims=1) == episode
    is_same[:, -AHEAD:] = False
    is_same[:, : LAST - 1] = False  # the actions before are not known
    condition = steps["condition"]
    inputs = dict(zip((OBSERVATION, *INPUTS), (seen, condition, condition.roll(1, dims=0), history), strict=True))
    return Games(inputs, one_hot.roll(-1, dims=1).argmax(-1), cells, is_same)


class Probe:
    """Classifies each opponent's action or cell, on top of the logits of a probe with fewer inputs."""

    def __init__(self, games: Games, names: tuple[str, ...], target: Tensor, below: Probe | None = None) -> None:
        torch.manual_seed(0)
        self.inputs, self.below = torch.cat([games.inputs[name] for name in names], dim=-1), below
        self.target, self.known, self.classes = target, games.is_same, int(target.max()) + 1
        fit = self.inputs[: COPIES // 2]
        self.mean, self.std = fit.mean(dim=(0, 1)), fit.std(dim=(0, 1)) + 1e-3
        head = nn.Linear(WIDTH, target.shape[-1] * self.classes)
        nn.init.zeros_(head.weight)
        self.network = nn.Sequential(nn.Linear(fit.shape[-1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(),
                                     head)  # fmt: skip
        self._fit()

    def logits(self, copies: Tensor, steps: Tensor) -> Tensor:
        """Logits [R, M, C] of single steps."""
        x = ((self.inputs[copies, steps] - self.mean) / self.std).clamp(-5, 5)
        own = self.network(x).unflatten(-1, (-1, self.classes))
        if self.below is None:
            return own
        with torch.no_grad():
            below = self.below.logits(copies, steps)
        return own + below

    def loss(self, copies: Tensor, steps: Tensor) -> Tensor:
        """Cross-entropy in bits for each opponent."""
        logits = self.logits(copies, steps)
        return F.cross_entropy(logits.flatten(0, 1), self.target[copies, steps].flatten()) / np.log(2)

    def steps_of(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """The steps with known targets of some copies."""
        copies, steps = self.known[begin:end].nonzero(as_tuple=True)
        return copies + begin, steps

    def _fit(self) -> None:
        """Fits the network, and keeps the parameters that are best on the quarter that stops it."""
        copies, steps = self.steps_of(0, COPIES // 2)
        others = self.steps_of(COPIES // 2, COPIES * 3 // 4)
        optimiser = torch.optim.AdamW(self.network.parameters(), 1e-3)
        lowest, best = np.inf, self.network.state_dict()
        for update in range(UPDATES):
            if update % CHECK == 0:
                with torch.no_grad():
                    now = float(self.loss(*others))
                if now < lowest:
                    lowest, best = now, copy.deepcopy(self.network.state_dict())
            rows = torch.randint(len(copies), (ROWS,))
            optimiser.zero_grad()
            self.loss(copies[rows], steps[rows]).backward()
            optimiser.step()
        self.network.load_state_dict(best)

    @torch.no_grad()
    def bits(self) -> float:
        """The cross-entropy on the last quarter."""
        return float(self.loss(*self.steps_of(COPIES * 3 // 4, COPIES)))


def saved_bits(run: Path) -> dict[str, tuple[float, float]]:
    """For each kind of input, the bits that it saves of the next action and of the cell later on."""
    games = play(*values_and_mac(run))
    targets = games.actions, games.cells
    alone = [Probe(games, (OBSERVATION,), target) for target in targets]
    saved = {OBSERVATION: (alone[0].bits(), alone[1].bits())}
    for name in INPUTS:
        first, second = (below.bits() - Probe(games, (OBSERVATION, name), target, below).bits()
                         for below, target in zip(alone, targets, strict=True))  # fmt: skip
        saved[name] = first, second
    return saved


def table(found: dict[tuple[str, str], list[tuple[float, float]]]) -> str:
    """The page."""
    lines = ["# What conditions say about the test opponents", "",
             "Cross-entropy of probes in bits for each opponent: first that of the observation alone, then what is "
             f"saved by a further input. Cells are {SIDE}x{SIDE} quantiles of an opponent's coordinates {AHEAD} "
             "steps later. Means over runs with 95% intervals (Student's t). "
             "`python benchmarks/condition_information.py`", "",
             "| runs of | input | runs | next action | cell |", "|---|---|---|---|---|"]  # fmt: skip
    for (label, what), values in found.items():
        cells = []
        for each in zip(*values, strict=True):
            mean = mean_interval(np.array(each))
            sign = "" if what == OBSERVATION else "+"
            cells.append(f"{mean.point:{sign}.3f} [{mean.low:.3f}, {mean.high:.3f}]")
        name = what if what == OBSERVATION else f"+ {what}"
        lines.append(f"| {label} | {name} | {len(values)} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for run in args.runs:
        label = json.loads((run / "config.json").read_text(encoding="utf-8"))["label"]
        for what, each in saved_bits(run).items():
            found[label, what].append(each)
            print(label, what, each, flush=True)
    args.out.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
