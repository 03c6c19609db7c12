"""``replay``: a test episode of a checkpoint as a film, with the opponent model's inference at each step."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .analysis.film import Board, Film, Pictures, write_film
from .analysis.video import ENCODERS, check_encoders
from .components.episode_batch import EpisodeBatch
from .config.keys import OutputKeys
from .config.schema import key, new_default, read
from .envs.make import PACKAGED, raw_env
from .games.layout import Layout
from .games.lookup import layout_of
from .opponent_models.evaluation import Drawing
from .opponent_models.model import OpponentModel
from .opponents.information import full_info
from .opponents.pool_env import PoolEnv
from .pooling import info_of
from .run import Parts, RunConfig, opened
from .types import ConfigError
from .utils.checkpoints import find_checkpoint, load_checkpoint
from .utils.files import is_within, writable
from .utils.metrics import Logger

OTHER_FORMATS = ("avi", "mkv", "mov", "webm", "png", "jpg", "apng", "webp")


@dataclass(frozen=True)
class ReplayConfig(RunConfig, OutputKeys):
    """Keys of ``replay``."""

    out: str = new_default(
        OutputKeys,
        "out",
        "",
        "folder of the film, or a file .gif or .mp4; empty: the folder replay in the checkpoint",
    )
    formats: list[Literal["gif", "mp4"]] = key(["gif"], help="[gif,mp4]: files of the film in a folder")
    fps: float = key(3.0, above=0, high=60, help="steps per second of the film")
    drawing: Literal["auto", "board", "env"] = key(
        "auto",
        help="board: drawn from the layout of the state; env: the environment's own render; auto: board if known",
    )
    opponent: str = key("", help="name of the opponent to play against; empty: the first of the split")


class Target(NamedTuple):
    """The files to write."""

    folder: Path
    name: str  # without its ending
    formats: Sequence[str]
    stills: bool  # a few frames as pictures, too


def target_of(config: ReplayConfig, checkpoint: Path) -> Target:
    """The files that a configuration asks for.

    Raises:
        ConfigError: the folder cannot be written, or the ending is that of another format.
    """
    if not config.out and not is_within(checkpoint / "replay", Path(config.checkpoint_path)):
        raise ConfigError(f"out: {checkpoint / 'replay'} is a link to another folder; give out=FOLDER")
    path = Path(config.out) if config.out else checkpoint / "replay"
    ending = path.suffix.lower().removeprefix(".")
    if ending in OTHER_FORMATS:
        raise ConfigError(f"out: {path.name} has an unknown format; give a folder or a file .gif or .mp4")
    is_file = ending in ENCODERS
    formats = [ending] if is_file else list(dict.fromkeys(config.formats))
    check_encoders(formats)
    folder = writable(path.parent if is_file else path, "out")
    return Target(folder, path.stem if is_file else "episode", formats, not is_file)


def replay(values: Mapping[str, Any], logger: Logger) -> list[Path]:
    """Plays an episode and writes ``episode.gif`` and a few frames, or what ``out`` and ``formats`` ask for.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: no such checkpoint or opponent, or an environment that cannot be drawn.
    """
    config = read(ReplayConfig, values)
    folder = find_checkpoint(config.checkpoint_path, config.load_step)
    target = target_of(config, folder)
    layout, frames = layout_for(config, values), Frames()
    shown = {} if layout is not None else {"env_args": drawn_args(config), "env_workers": 0}
    with opened({**values, **shown, "test_nepisode": 1}, logger) as parts:
        load_checkpoint(folder, parts.learner)
        turn, who = _turn(parts.test_env, config.opponent)
        if layout is None:
            watch(parts.test_env, frames)
        *before, batch = parts.tester.collect(turn + 1)
        drawing = drawing_of(parts, batch.to(parts.args.device))
        first = sum(int(each["filled"].sum()) for each in before)
        scene = Pictures(frames.taken[first:]) if layout is None else board_of(parts, batch, layout, drawing)
        film = Film(f"{config.name} {who}".strip(), drawing.captions, scene)
    return write_film(film, *target[:3], config.fps, target.stills)


def layout_for(config: ReplayConfig, values: Mapping[str, Any]) -> Layout | None:
    """The layout from which the board is drawn; None where the environment draws itself.

    Raises:
        ConfigError: ``drawing=board`` without a known layout.
    """
    layout = None if config.drawing == "env" else layout_of(info_of(values))
    if layout is None and config.drawing == "board":
        raise ConfigError("drawing: board needs the layout of the state, which is unknown; game=CLASS adds one")
    return layout


def watch(env: Any, frames: "Frames") -> None:
    """Takes the pictures of the environment below opponents or stacked observations."""
    while not hasattr(env, "watch"):
        env = env.env
    env.watch(frames.take)


class Frames:
    """The pictures of an environment, one after each reset and each step."""

    def __init__(self) -> None:
        self.taken: list[NDArray[np.uint8]] = []

    def take(self, env: Any) -> None:
        """Adds the present picture."""
        drawn = env if hasattr(env, "render") else env.unwrapped  # a faster form of it lacks ``render``
        self.taken.append(np.asarray(drawn.render(), np.uint8)[..., :3])


def drawn_args(config: ReplayConfig) -> dict[str, Any]:
    """``env_args`` with which the environment's ``render`` returns pictures.

    Raises:
        ConfigError: it returns none.
    """
    own = {"backend": "pettingzoo"} if config.env in PACKAGED else {}  # arrays are not drawn
    for arguments in ({**config.env_args, **own, "render_mode": "rgb_array"}, {**config.env_args, **own}):
        with suppress(Exception):  # it may take no such argument, or lack a package that only drawing needs
            env = raw_env(config.env, arguments)
            try:
                env.reset(seed=0)
                if np.ndim(env.render()) == 3:
                    return arguments
            finally:
                env.close()
    name = config.env_args.get("key", config.env)
    if config.drawing == "env":
        raise ConfigError(f"drawing: the render of {name} returns no picture (rgb_array)")
    raise ConfigError(
        f"game: {name} cannot be drawn: its render returns no picture (rgb_array), and the layout of its state is "
        "unknown; game=CLASS adds one"
    )


def replayed(values: Mapping[str, Any], logger: Logger) -> str:
    """The command ``replay``: see ``replay``; returns a line for each file."""
    return "\n".join(map(str, replay(values, logger)))


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


def drawing_of(parts: Parts, batch: EpisodeBatch) -> Drawing:
    """What the opponent model, if any, says about the episode in ``batch`` [1, T+1]."""
    model: OpponentModel | None = getattr(parts.learner, "model", None)  # PyMARL's learners have none
    return Drawing([""] * int(batch["filled"].sum())) if model is None else model.draw(batch)


def board_of(parts: Parts, batch: EpisodeBatch, layout: Layout, drawing: Drawing) -> Board:
    """The board during the episode in ``batch`` [1, T+1]."""
    full = full_info(parts.info)
    opponents = tuple(full.agents.index(name) for name in getattr(parts.info, "opponents", ()))
    states = batch["state"].flatten(2)[0, : int(batch["filled"].sum())].cpu().numpy()
    positions = states[:, layout.places]
    high = max(float(positions.max()), layout.high or 0.0)
    low = min(float(positions.min()), layout.low)
    objects = [layout.objects(state) for state in states]
    return Board(full.agents, opponents, positions, objects, drawing.inferred, drawing.odds, drawing.horizon,
                 layout.is_grid, low, high)  # fmt: skip
