"""Measures the information about opponents' goals in observations, memories, opponent models and a Bayes filter.

    python benchmarks/probe.py --runs RUN [RUN ...] [--supervised RUN ...] --out benchmarks/omg/TASK_probe.md

The learner of each run plays with the training scripts and the test scripts of its pool. Small networks (probes) are
trained on the games with training scripts only. Each probe predicts the opponent's goal, a food or the prey's next
stop, from one kind of information. The table has the accuracy with training scripts and with test scripts, and that
of the goal that the filter considers most probable.

``--supervised`` trains recurrent networks on the games of a run. Their targets are the goal or the targets of
opponent models. This shows how much of the test scripts' goals can be learned from the training scripts. Two more
networks are trained on the goals of more scripts, and on other games of the test scripts: ``OTHER_GAMES``.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from omarl.envs.make import make_vec_env
from omarl.games.lookup import place_indices
from omarl.games.tag.scripts import STOPS
from omarl.modules.agents.feature_agent import FeatureAgent
from omarl.modules.unrolling import unroll_rows
from omarl.opponents.information import PoolInfo
from omarl.opponents.pool import read_pool
from omarl.opponents.pool_env import PoolEnv
from omarl.pooling import words
from omarl.run import build
from omarl.utils.checkpoints import find_checkpoint
from omarl.utils.metrics import Logger
from torch import Tensor, nn
from torch.nn import functional as F

COPIES, STEPS, UPDATES = 128, 500, 2000
GRU_COPIES, GRU_UPDATES, WINDOW, AHEAD, WIDTH = 256, 1000, 50, 10, 128  # of the supervised recurrent networks
OTHER_GAMES = {  # splits whose games replace those of the training scripts, with the same number of steps
    "the goal, half of the games with 10 more scripts": ("train", "validation"),
    "the goal, on other games of the test scripts": ("test",),
}
TRUTH = ("goal", "belief")  # information that probes predict or are compared with; the runs must not have it


def goal_index(goal: Tensor, goals: int) -> Tensor:
    """Index of each player's goal, [E], from its representation [E, G]; -1 if it has no goal."""
    if goal.shape[1] != goals:  # a point, the prey's next stop
        return (goal[:, None] - torch.tensor(np.array(STOPS, np.float32))).abs().sum(dim=2).argmin(dim=1)
    return torch.where(goal.sum(dim=1) > 0, goal.argmax(dim=1), -1)


@torch.no_grad()
def play(mac: Any, values: dict[str, Any], split: str, seed: int, copies: int) -> tuple[dict[str, Tensor], PoolInfo]:
    """Plays STEPS steps in each copy.

    Returns:
        The information at each step, [E, T, ...], with the goal's index and whether a script has it, [E, T]; and the
        environment's description.
    """
    information = words(values["opponent_information"])
    everyone = make_vec_env(values["env"], values["env_args"], copies, 0, seed)
    learners = words(values["omg_learners"])
    env = PoolEnv(everyone, read_pool(values["pool"]), split, learners, [*information, *TRUTH], seed, False)
    info = env.info
    assert isinstance(info, PoolInfo)
    sees, seats = info.information_slice("goal").start, len(env.seats)
    scripted = torch.tensor([member.kind == "scripted" for member in env.members])
    found = defaultdict(list)
    observation, carry = env.reset(), mac.initial_carry(copies)
    last, begins = torch.zeros(copies, 1, env.info.n_actions), torch.ones(copies, dtype=torch.bool)
    for _ in range(STEPS):
        everything = torch.as_tensor(observation.obs)[:, 0]
        seen = observation._replace(obs=np.ascontiguousarray(observation.obs[..., :sees]))
        actions, carry = mac.act(seen, last, carry, 10**9, True)
        memory, models = mac.split_carry(carry)
        of_last = [everything[:, info.information_slice(what)].unflatten(1, (seats, -1))[:, -1] for what in TRUTH]
        aim, believed = of_last  # of the last player, which is the prey if there is one
        goal = goal_index(aim, believed.shape[1])
        keep = scripted[torch.as_tensor(env.lineup.playing)] & (goal >= 0)
        have = {"seen": everything[:, :sees], "memory": memory[:, 0], "filter": believed, "goal": goal, "keep": keep,
                "begins": begins, "state": torch.tensor(observation.state).flatten(1)}  # fmt: skip
        if mac.model is not None:
            have |= {"model's memory": models[:, 0], "condition": mac.model.condition_of(models)[:, 0]}
        for name, value in have.items():
            found[name].append(value)
        step = env.step(actions.numpy())
        observation = step.observation
        begins = torch.as_tensor(step.terminated | step.truncated)
        carry[begins] = mac.initial_carry(1)
    env.close()
    return {name: torch.stack(parts, dim=1) for name, parts in found.items()}, info


def decisions(games: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs and targets of probes, [D, ...] each: the steps at which a script's goal is known."""
    return {name: value[games["keep"]] for name, value in games.items() if name not in ("keep", "begins", "state")}


def right(known: dict[str, Tensor], new: dict[str, Tensor], names: tuple[str, ...]) -> tuple[float, float]:
    """Accuracy of a probe, trained on ``known``, on ``known`` and on ``new``."""
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


class Target(NamedTuple):
    """The training target of a recurrent network.

    Attributes:
        values: [E, T, K], indices below ``choices``, or real numbers.
        known: bool [E, T], where there is a target.
        choices: number of classes; 0 for real numbers.
    """

    values: Tensor
    known: Tensor
    choices: int


def targets(games: dict[str, Tensor], info: PoolInfo) -> dict[str, Target]:
    """The goal, and the targets of opponent models."""
    episode = games["begins"].long().cumsum(dim=1)

    def later(what: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        same = torch.zeros_like(games["keep"])
        same[:, :-steps] = episode[:, steps:] == episode[:, :-steps]
        return what.roll(-steps, dims=1), same

    last = games["seen"][..., info.information_slice("actions")].unflatten(-1, (-1, info.n_actions)).argmax(dim=-1)
    state = (games["state"] - games["state"].mean(dim=(0, 1))) / (games["state"].std(dim=(0, 1)) + 1e-3)
    assert info.full is not None
    places, _ = place_indices(info.full, info.opponents)
    return {
        "the goal": Target(games["goal"].clamp(min=0)[..., None], games["keep"], games["filter"].shape[-1]),
        "opponents' next actions": Target(*later(last, 1), info.n_actions),
        f"the state {AHEAD} steps later": Target(*later(state, AHEAD), 0),
        f"opponents' places {AHEAD} steps later": Target(*later(state[..., places], AHEAD), 0),
        f"the last opponent's place {AHEAD} steps later": Target(*later(state[..., places[-2:]], AHEAD), 0),
    }


def add_memory(known: dict[str, Tensor], new: dict[str, Tensor], wanted: Target) -> None:
    """Trains a recurrent network on ``known`` and stores its state in both games as ``memory``."""
    target, there, choices = wanted
    mean, std = known["seen"].mean(dim=(0, 1)), known["seen"].std(dim=(0, 1)) + 1e-3
    settings = SimpleNamespace(hidden_dim=WIDTH, use_rnn=True, n_actions=1, duelling=False, layer_norm=False)
    network = FeatureAgent(len(mean), settings)
    head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, target.shape[-1] * max(choices, 1)))
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], 1e-3)

    def features(games: dict[str, Tensor], rows: Tensor, steps: slice) -> Tensor:
        seen, begins = games["seen"][rows, steps], games["begins"][rows, steps, None].float()
        hidden = network.init_hidden().expand(len(rows), -1)
        return unroll_rows(network, ((seen - mean) / std).clamp(-5, 5), hidden, begins)

    for _ in range(GRU_UPDATES):
        rows, start = torch.randint(len(target), (64,)), int(torch.randint(STEPS // WINDOW, ()))
        steps = slice(start * WINDOW, (start + 1) * WINDOW)
        answers, true = head(features(known, rows, steps)), target[rows, steps]
        if choices:
            loss = F.cross_entropy(answers.unflatten(-1, (-1, choices)).permute(0, 3, 1, 2), true, reduction="none")
        else:
            loss = (answers - true).square()
        loss = loss[there[rows, steps]].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        for games in (known, new):
            games["memory"] = features(games, torch.arange(len(games["seen"])), slice(None))


def values_and_mac(run: Path) -> tuple[dict[str, Any], Any]:
    """The configuration of a run and its trained controller."""
    values = json.loads((run / "config.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    parts = build(values, Logger(logging.getLogger("probe")))
    parts.learner.load_models(find_checkpoint(str(run)))
    parts.close()
    return values, cast(Any, parts.learner).mac


def probed(run: Path) -> tuple[str, dict[str, tuple[float, float]]]:
    """The label of a run, and the accuracy with each kind of information."""
    values, mac = values_and_mac(run)
    known, new = (
        decisions(play(mac, values, split, seed, COPIES)[0]) for seed, split in enumerate(("train", "test"))
    )
    found = {name: right(known, new, tuple(dict.fromkeys(("seen", name)))) for name in known if name != "goal"}
    hits = [float((each["filter"].argmax(dim=1) == each["goal"]).float().mean()) for each in (known, new)]
    return str(values["label"]), {**found, "filter": (hits[0], hits[1])}


def probed_supervised(run: Path) -> dict[str, tuple[float, float]]:
    """Accuracy from the memories of networks that were trained on one target each."""
    values, mac = values_and_mac(run)
    (known, info), (new, _) = (
        play(mac, values, split, seed, GRU_COPIES) for seed, split in enumerate(("train", "test"))
    )
    found = {}
    for name, target in targets(known, info).items():
        add_memory(known, new, target)
        found[name] = right(decisions(known), decisions(new), ("seen", "memory"))
    for name, splits in OTHER_GAMES.items():
        torch.manual_seed(0)
        games = [play(mac, values, split, 2, GRU_COPIES // len(splits))[0] for split in splits]
        joined = {key: torch.cat([each[key] for each in games]) for key in known}
        add_memory(joined, new, targets(joined, info)["the goal"])
        found[name] = right(decisions(joined), decisions(new), ("seen", "memory"))
    return found


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", type=Path, required=True)
    parser.add_argument("--supervised", nargs="+", type=Path, default=[])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for run in args.runs:
        label, answers = probed(run)
        for what, hits in answers.items():
            found[label, what].append(hits)
            print(label, what, hits, flush=True)
    for run in args.supervised:
        for what, hits in probed_supervised(run).items():
            found["a GRU trained on", what].append(hits)
            print(what, hits, flush=True)
    lines = ["# Information about opponents' goals", "",
             "Accuracy of probes that predict an opponent's goal. A probe is a small network, trained on games with "
             "the training scripts; its inputs are the learner's observation (seen) and the information in the "
             "second column. Rows with *filter* have the accuracy of the filter's most probable goal. The last rows "
             f"use the memories of GRUs of width {WIDTH}, each trained on one target over {GRU_COPIES * STEPS:,} "
             "stored steps of games with the training scripts, or of the games named. Means over runs "
             "(`python benchmarks/probe.py`).", "",
             "| runs of | information | runs | training scripts | test scripts |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for (label, what), all_hits in found.items():
        train, test = np.mean(all_hits, axis=0)
        lines.append(f"| {label} | {what} | {len(all_hits)} | {train:.3f} | {test:.3f} |")
    args.out.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
