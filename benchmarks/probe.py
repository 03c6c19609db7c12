"""What is known of opponents' goals: by what is seen, by memories, by opponent models, by a Bayes filter.

    python benchmarks/probe.py --runs RUN [RUN ...] [--taught RUN ...] --out benchmarks/omg/TASK_probe.md

For each run the learner plays scripts of its pool, those to train with and those of the tests, and small networks
are trained, on the first alone, to tell from what it has which goal the opponent is after: food, or prey's next
stop. The table has how often they are right about those that they were trained with and about the others. The
filter's own favourite is beside them. ``--taught`` adds, of the games of such a run, what recurrent networks know
that were taught, from the same history, the goal itself or what opponent models are taught: how much there is to
be learned from the training scripts about the others. Two more are taught the goal by more scripts, and by the very
scripts of the tests in other games: ``SCHOOLS``.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from omarl.envs.make import make_vec_env
from omarl.modules.agents.feature_agent import FeatureAgent
from omarl.modules.unrolling import unroll_rows
from omarl.opponents.boards import opponents_places
from omarl.opponents.pool import read_pool
from omarl.opponents.pool_env import PoolEnv, PoolInfo
from omarl.opponents.tag import STOPS
from omarl.pooling import words
from omarl.run import build
from omarl.utils.checkpoints import find_checkpoint
from omarl.utils.metrics import Logger
from torch import Tensor, nn
from torch.nn import functional as F

COPIES, STEPS, UPDATES = 128, 500, 2000
TAUGHT_COPIES, TAUGHT_UPDATES, WINDOW, AHEAD, WIDTH = 256, 1000, 50, 10, 128  # of recurrent networks that are taught
SCHOOLS = {  # which splits' games teach beside the training scripts', as many in all
    "the goal, half of it by 10 more scripts": ("train", "validation"),
    "the goal, by other games of the test scripts": ("test",),
}
TOLD = ("goal", "belief")  # beside what the runs were told, which must be neither


def which(goal: Tensor, goals: int) -> Tensor:
    """Which of so many goals each player is after, [E], told as [E, G]; -1 where that is none of them."""
    if goal.shape[1] != goals:  # a point: prey's
        return (goal[:, None] - torch.tensor(np.array(STOPS, np.float32))).abs().sum(dim=2).argmin(dim=1)
    return torch.where(goal.sum(dim=1) > 0, goal.argmax(dim=1), -1)


@torch.no_grad()
def play(mac: Any, values: dict[str, Any], split: str, seed: int, copies: int) -> tuple[dict[str, Tensor], PoolInfo]:
    """What is there at each step, [E, T, ...], the goal's number and whether it is a script's, [E, T]; who plays."""
    told = words(values["opponents_told"])
    everyone = make_vec_env(values["env"], values["env_args"], copies, seed, 0)
    learners = words(values["omg_learners"])
    env = PoolEnv(everyone, read_pool(values["pool"]), split, learners, [*told, *TOLD], seed, False)
    sees, seats = env.info.told_slice("goal").start, len(env.seats)
    scripted = torch.tensor([member.kind == "scripted" for member in env.members])
    found = defaultdict(list)
    observation, carry = env.reset(), mac.initial_carry(copies)
    last, begins = torch.zeros(copies, 1, env.info.n_actions), torch.ones(copies, dtype=torch.bool)
    for _ in range(STEPS):
        everything = torch.as_tensor(observation.obs)[:, 0]
        seen = observation._replace(obs=np.ascontiguousarray(observation.obs[..., :sees]))
        actions, carry = mac.act(seen, last, carry, 10**9, True)
        memory, models = mac.split_carry(carry)
        of_last = [everything[:, env.info.told_slice(what)].unflatten(1, (seats, -1))[:, -1] for what in TOLD]
        aim, believed = of_last  # of the last player: prey, where there is one
        goal = which(aim, believed.shape[1])
        keep = scripted[torch.as_tensor(env.met)] & (goal >= 0)
        have = {"seen": everything[:, :sees], "memory": memory[:, 0], "filter": believed, "goal": goal, "keep": keep,
                "begins": begins, "state": torch.tensor(observation.state).flatten(1)}  # fmt: skip
        if mac.model is not None:
            have |= {"model's memory": models[:, 0], "what the policy is told": mac.model.condition_of(models)[:, 0]}
        for name, value in have.items():
            found[name].append(value)
        step = env.step(actions.numpy())
        observation = step.observation
        begins = torch.as_tensor(step.terminated | step.truncated)
        carry[begins] = mac.initial_carry(1)
    env.close()
    return {name: torch.stack(parts, dim=1) for name, parts in found.items()}, env.info


def decisions(games: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a probe is given of them, [D, ...] each: the steps at which a script's goal is known."""
    return {name: value[games["keep"]] for name, value in games.items() if name not in ("keep", "begins", "state")}


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


class Lesson(NamedTuple):
    """What a network is taught.

    Attributes:
        target: [E, T, K], whole numbers below ``choices``, or measures.
        there: bool [E, T], where there is a target.
        choices: 0 for measures.
    """

    target: Tensor
    there: Tensor
    choices: int


def lessons(games: dict[str, Tensor], info: PoolInfo) -> dict[str, Lesson]:
    """The goal, and what opponent models are taught."""
    episode = games["begins"].long().cumsum(dim=1)

    def later(what: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        same = torch.zeros_like(games["keep"])
        same[:, :-steps] = episode[:, steps:] == episode[:, :-steps]
        return what.roll(-steps, dims=1), same

    last = games["seen"][..., info.told_slice("actions")].unflatten(-1, (-1, info.n_actions)).argmax(dim=-1)
    state = (games["state"] - games["state"].mean(dim=(0, 1))) / (games["state"].std(dim=(0, 1)) + 1e-3)
    places, _ = opponents_places(info, info.opponents)
    return {
        "the goal": Lesson(games["goal"].clamp(min=0)[..., None], games["keep"], games["filter"].shape[-1]),
        "opponents' next actions": Lesson(*later(last, 1), info.n_actions),
        f"the state {AHEAD} steps on": Lesson(*later(state, AHEAD), 0),
        f"opponents' places {AHEAD} steps on": Lesson(*later(state[..., places], AHEAD), 0),
        f"the last one's place {AHEAD} steps on": Lesson(*later(state[..., places[-2:]], AHEAD), 0),
    }


def taught(known: dict[str, Tensor], new: dict[str, Tensor], lesson: Lesson) -> None:
    """Puts the ``memory`` of a recurrent network into games: it was taught a lesson in those to train with."""
    target, there, choices = lesson
    mean, std = known["seen"].mean(dim=(0, 1)), known["seen"].std(dim=(0, 1)) + 1e-3
    settings = SimpleNamespace(hidden_dim=WIDTH, use_rnn=True, n_actions=1, duelling=False, layer_norm=False)
    network = FeatureAgent(len(mean), settings)
    head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, target.shape[-1] * max(choices, 1)))
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], 1e-3)

    def features(games: dict[str, Tensor], rows: Tensor, steps: slice) -> Tensor:
        seen, begins = games["seen"][rows, steps], games["begins"][rows, steps, None].float()
        hidden = network.init_hidden().expand(len(rows), -1)
        return unroll_rows(network, ((seen - mean) / std).clamp(-5, 5), hidden, begins)

    for _ in range(TAUGHT_UPDATES):
        rows, start = torch.randint(len(target), (64,)), int(torch.randint(STEPS // WINDOW, ()))
        steps = slice(start * WINDOW, (start + 1) * WINDOW)
        answers, wanted = head(features(known, rows, steps)), target[rows, steps]
        if choices:
            loss = F.cross_entropy(answers.unflatten(-1, (-1, choices)).permute(0, 3, 1, 2), wanted, reduction="none")
        else:
            loss = (answers - wanted).square()
        loss = loss[there[rows, steps]].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        for games in (known, new):
            games["memory"] = features(games, torch.arange(len(games["seen"])), slice(None))


def values_and_mac(run: Path) -> tuple[dict[str, Any], Any]:
    """A run's configuration and its controller as it was at the end."""
    values = json.loads((run / "config.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    parts = build(values, Logger(logging.getLogger("probe")))
    parts.learner.load_models(find_checkpoint(str(run)))
    parts.close()
    return values, parts.learner.mac


def probed(run: Path) -> tuple[str, dict[str, tuple[float, float]]]:
    """A run's label, and what each thing it has tells."""
    values, mac = values_and_mac(run)
    known, new = (
        decisions(play(mac, values, split, seed, COPIES)[0]) for seed, split in enumerate(("train", "test"))
    )
    found = {name: right(known, new, tuple(dict.fromkeys(("seen", name)))) for name in known if name != "goal"}
    hits = [float((each["filter"].argmax(dim=1) == each["goal"]).float().mean()) for each in (known, new)]
    return str(values["label"]), {**found, "filter": (hits[0], hits[1])}


def probed_taught(run: Path) -> dict[str, tuple[float, float]]:
    """What networks know that were taught one thing each."""
    values, mac = values_and_mac(run)
    (known, info), (new, _) = (
        play(mac, values, split, seed, TAUGHT_COPIES) for seed, split in enumerate(("train", "test"))
    )
    found = {}
    for name, lesson in lessons(known, info).items():
        taught(known, new, lesson)
        found[name] = right(decisions(known), decisions(new), ("seen", "memory"))
    for said, splits in SCHOOLS.items():
        torch.manual_seed(0)
        games = [play(mac, values, split, 2, TAUGHT_COPIES // len(splits))[0] for split in splits]
        school = {name: torch.cat([each[name] for each in games]) for name in known}
        taught(school, new, lessons(school, info)["the goal"])
        found[said] = right(decisions(school), decisions(new), ("seen", "memory"))
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", type=Path, required=True)
    parser.add_argument("--taught", nargs="+", type=Path, default=[])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for run in args.runs:
        label, answers = probed(run)
        for what, hits in answers.items():
            found[label, what].append(hits)
            print(label, what, hits, flush=True)
    for run in args.taught:
        for what, hits in probed_taught(run).items():
            found["a GRU taught", what].append(hits)
            print(what, hits, flush=True)
    lines = ["# What is known of opponents' goals", "",
             "How often a small network, trained with the training scripts, is right about the goal of an opponent, "
             "from what the learner sees and one thing more; the filter's own favourite beside them. At the end, the "
             f"memories of GRUs of {WIDTH} that were taught one thing each in the training scripts' games, or in "
             f"those said, of which {TAUGHT_COPIES * STEPS:,} steps were stored. Means over runs "
             "(`python benchmarks/probe.py`).", "",
             "| runs of | | runs | scripts to learn from | test scripts |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for (label, what), hits in found.items():
        train, test = np.mean(hits, axis=0)
        lines.append(f"| {label} | {what} | {len(hits)} | {train:.3f} | {test:.3f} |")
    args.out.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
