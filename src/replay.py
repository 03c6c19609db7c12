"""``replay``: a test episode of a checkpoint as a film, with the opponent model's inference at each step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .analysis.film import Film, write_film
from .components.episode_batch import EpisodeBatch
from .config.keys import OutputKeys
from .config.schema import key, new_default, read
from .games.layout import Layout
from .games.lookup import layout_of
from .opponent_models.evaluation import Drawing
from .opponent_models.model import OpponentModel
from .opponents.information import full_info
from .opponents.pool_env import PoolEnv
from .run import Parts, RunConfig, opened
from .types import ConfigError
from .utils.checkpoints import find_checkpoint, load_checkpoint
from .utils.files import is_within, writable
from .utils.metrics import Logger


@dataclass(frozen=True)
class ReplayConfig(RunConfig, OutputKeys):
    """Keys of ``replay``."""

    out: str = new_default(OutputKeys, "out", "", "folder of the film; empty: the folder replay in the checkpoint")
    opponent: str = key("", help="name of the opponent to play against; empty: the first of the split")


def replay(values: Mapping[str, Any], logger: Logger) -> list[Path]:
    """Plays an episode and writes ``episode.gif`` and a few frames; returns their paths.

    Raises:
        ConfigError: no such checkpoint or opponent, or an environment whose state cannot be drawn.
    """
    config = read(ReplayConfig, values)
    folder = find_checkpoint(config.checkpoint_path, config.load_step)
    if not config.out and not is_within(folder / "replay", Path(config.checkpoint_path)):
        raise ConfigError(f"out: {folder / 'replay'} is a link to another folder; give out=FOLDER")
    out = writable(Path(config.out) if config.out else folder / "replay", "out")
    with opened({**values, "test_nepisode": 1}, logger) as parts:
        load_checkpoint(folder, parts.learner)
        full = full_info(parts.info)
        layout = layout_of(full)
        if layout is None:
            raise ConfigError(
                f"game: the layout of the state of {full.key} is unknown, so it cannot be drawn; known are "
                "foraging with players that see the complete board, simple_tag and simple_spread; game=CLASS adds one"
            )
        turn, who = _turn(parts.test_env, config.opponent)
        batch = parts.tester.collect(turn + 1)[-1].to(parts.args.device)
        film = film_of(parts, batch, layout, f"{config.name} {who}".strip())
    return write_film(film, out)


def _turn(env: Any, wanted: str) -> tuple[int, str]:
    """The index of the test episode against the wanted opponent, and its name; 0 and no name without a pool."""
    if not isinstance(env, PoolEnv):
        if wanted:
            raise ConfigError(f"opponent: {wanted!r} is not available: the checkpoint was not trained against a pool")
        return 0, ""
    names = [member.name for member in env.members]
    if wanted and wanted not in names:
        raise ConfigError(f"opponent: {wanted!r} is none of {', '.join(names)}")
    return (names.index(wanted) if wanted else 0), f"with {wanted or names[0]}"


def film_of(parts: Parts, batch: EpisodeBatch, layout: Layout, title: str) -> Film:
    """The film of the episode in ``batch`` [1, T+1]."""
    info = parts.info
    full = full_info(info)
    names = getattr(info, "opponents", ())
    opponents = tuple(full.agents.index(name) for name in names)
    steps = int(batch["filled"].sum())
    states = batch["state"].flatten(2)[0, :steps].cpu().numpy()
    positions = states[:, layout.places]
    model: OpponentModel | None = getattr(parts.learner, "model", None)  # PyMARL's learners have none
    drawing = Drawing([""] * steps) if model is None else model.draw(batch)
    high = max(float(positions.max()), layout.high or 0.0)
    low = min(float(positions.min()), layout.low)
    objects = [layout.objects(state) for state in states]
    return Film(title, full.agents, opponents, positions, objects, drawing.inferred, drawing.odds, drawing.captions,
                drawing.horizon, layout.is_grid, low, high)  # fmt: skip
