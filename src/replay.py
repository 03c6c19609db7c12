"""``replay``: a test episode of a checkpoint as a film, with what its opponent model infers at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .analysis.film import Film, write_film
from .components.episode_batch import EpisodeBatch
from .config.keys import OutputKeys
from .config.schema import key, new_default, read
from .learners.subgoals import PlacePrior
from .opponents.boards import Board, board_of
from .opponents.models.action_model import ActionModel
from .opponents.models.objects import ObjectModel
from .opponents.pool_env import PoolEnv
from .run import Parts, RunConfig, opened
from .types import ConfigError
from .utils.checkpoints import find_checkpoint, load_checkpoint
from .utils.files import writable
from .utils.metrics import Logger

HORIZON = 5  # steps of the opponents' way that are drawn where no subgoal has a horizon of its own


@dataclass(frozen=True)
class ReplayConfig(RunConfig, OutputKeys):
    """Keys of ``replay``."""

    out: str = new_default(OutputKeys, "out", "", "folder of the film; where empty, replay in the checkpoint")
    opponent: str = key("", help="name of the opponent to play against; empty: the first of the split")


def replay(values: Mapping[str, Any], logger: Logger) -> list[Path]:
    """Plays an episode and writes it.

    Returns:
        The files: ``episode.gif`` and a few frames.

    Raises:
        ConfigError: no such checkpoint or opponent, or an environment whose state cannot be drawn.
    """
    config = read(ReplayConfig, values)
    folder = find_checkpoint(config.checkpoint_path, config.load_step)
    out = writable(Path(config.out) if config.out else folder / "replay", "out")
    with opened({**values, "test_nepisode": 1}, logger) as parts:
        load_checkpoint(folder, parts.learner)
        whole = getattr(parts.info, "whole", None) or parts.info
        board = board_of(whole)
        if board is None:
            raise ConfigError(
                f"env_args: the state of {whole.key} does not say where its players stand; foraging, simple_tag and "
                "simple_spread can be drawn"
            )
        turn, who = _turn(parts.test_env, config.opponent)
        batch = parts.tester.collect(turn + 1)[-1].to(parts.args.device)
        film = film_of(parts, batch, board, f"{config.name} {who}".strip())
    return write_film(film, out)


def _turn(env: Any, wanted: str) -> tuple[int, str]:
    """Which test episode is played against the opponent, and its name; 0 where there is no pool."""
    if not isinstance(env, PoolEnv):
        if wanted:
            raise ConfigError(f"opponent: {wanted!r} cannot be met, the checkpoint was not trained against a pool")
        return 0, ""
    names = [member.name for member in env.members]
    if wanted and wanted not in names:
        raise ConfigError(f"opponent: {wanted!r} is none of {', '.join(names)}")
    return (names.index(wanted) if wanted else 0), f"with {wanted or names[0]}"


def film_of(parts: Parts, batch: EpisodeBatch, board: Board, title: str) -> Film:
    """The episode in ``batch`` [1, T+1] as it is drawn."""
    info = parts.info
    whole: Any = getattr(info, "whole", None) or info
    names = getattr(info, "opponents", ())
    opponents = tuple(whole.agents.index(name) for name in names)
    steps = int(batch["filled"].sum())
    states = batch["state"].flatten(2)[0, :steps].cpu().numpy()
    positions = states[:, board.places]
    inferred, odds, captions, horizon = _inferred(parts, batch, board, opponents)
    high = max(float(positions.max()), board.high or 0.0)
    low = min(float(positions.min()), board.low)
    return Film(title, whole.agents, opponents, positions, [board.things(state) for state in states],
                inferred, odds, captions, horizon, board.is_grid, low, high)  # fmt: skip


@torch.no_grad()
def _inferred(
    parts: Parts, batch: EpisodeBatch, board: Board, opponents: tuple[int, ...]
) -> tuple[Any, Any, list[str], int]:
    """Where subgoals have the opponents [T+1, M, 2], if any, and the odds of places [T+1, K, 3], if those are what
    is inferred; what to say at each step; and how far they look."""
    model, prior = getattr(parts.learner, "model", None), getattr(parts.learner, "prior", None)
    steps = int(batch["filled"].sum())
    if model is None:
        return None, None, [""] * steps, HORIZON
    features = model.features(batch, model.initial_carry(1))[:, :steps]
    if isinstance(model, ObjectModel):
        return _gone_for(model, batch, features)
    if prior is None:
        said = _foretold(model, batch, features) if isinstance(model, ActionModel) else [""] * steps
        return None, None, said, HORIZON
    horizon = parts.learner.config.omg_horizon
    goals = model.condition(features)
    decoded = prior.decode(goals)[0, :, 0].cpu().numpy()
    odds = prior.odds(goals)[0, :, 0].cpu().numpy() if isinstance(prior, PlacePrior) else None
    inferred = decoded[:, board.places[list(opponents)]]
    others = [name not in model.subjects for name in model.info.opponents]
    inferred[:, others] = np.nan  # nothing is inferred of them
    places = batch["state"].flatten(2)[0, :steps].cpu().numpy()[:, board.places[list(opponents)]]
    captions = [_passed(places[t + 1 : t + 1 + horizon], inferred[t], board.near) for t in range(steps)]
    return inferred, odds, captions, horizon


def _gone_for(model: ObjectModel, batch: EpisodeBatch, features: Any) -> tuple[Any, Any, list[str], int]:
    """As ``_inferred``, of a model of objects: the likeliest one of each opponent, and the odds of all."""
    steps, shape = features.shape[1], (model.n_subjects, model.n_objects)
    odds = model.odds(batch, features)[0, :, 0].cpu().numpy()
    each = odds.reshape(steps, *shape, 3)
    likeliest = each[..., 2].argmax(axis=-1)
    inferred = np.full((steps, len(model.info.opponents), 2), np.nan)
    inferred[:, model.places_of_subjects] = np.take_along_axis(each, likeliest[..., None, None], axis=2)[:, :, 0, :2]
    inferred[(each[..., 2].sum(axis=-1) == 0).all(axis=-1)] = np.nan  # nothing is left
    next_one = model.lesson(batch)[0, :, 0].cpu().numpy()
    said = []
    for t in range(steps):
        known = t < len(next_one) and bool((next_one[t] >= 0).all())
        right = known and bool((next_one[t] == likeliest[t]).all())
        said.append("comes to rest there next" if right else "comes to rest elsewhere next" if known else "")
    return inferred, odds, said, model.horizon


def _passed(way: Any, goal: Any, near: float) -> str:
    """Whether the opponents pass through the inferred places [M, 2], where there are any, on their way [H, M, 2]."""
    there = ((np.abs(way - goal) <= near) | np.isnan(goal)).all(axis=(1, 2))
    return f"passes there in {there.argmax() + 1}" if there.any() else "does not pass there"


def _foretold(model: ActionModel, batch: EpisodeBatch, features: Any) -> list[str]:
    """Each opponent's likeliest next action as foretold, and what it did."""
    logits = model.action_logits(features)[0, :, 0].unflatten(-1, (model.n_subjects, model.n_actions))
    chances, likeliest = logits.softmax(-1).max(-1)
    taken = model.actions_taken(batch)[0, :, 0]
    said = []
    for t in range(len(logits)):
        parts = []
        for m, name in enumerate(model.subjects):
            did = f", did {int(taken[t, m])}" if t + 1 < len(logits) else ""
            parts.append(f"{name}: foretold {int(likeliest[t, m])} ({float(chances[t, m]):.2f}){did}")
        said.append("; ".join(parts))
    return said
