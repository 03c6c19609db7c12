"""Draws an episode as a film: the board and the agents, or pictures, and what an opponent model infers."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..utils.files import write_files
from .figures import INK, MUTED, RULE, new_figure
from .panels import BLUE, GREEN, ORANGE, VERMILLION
from .video import ENCODERS

STILLS = 4  # frames that are written as pictures
UNLIKELY = 0.02  # places with a lower probability are not drawn


class Board(NamedTuple):
    """What happens on a board. Positions are row and column on a grid, else x and y."""

    names: tuple[str, ...]  # of the N agents
    opponents: tuple[int, ...]  # indices of the M opponents
    positions: NDArray[Any]  # [T+1, N, 2]
    objects: Sequence[Sequence[tuple[float, float, str]]]  # at each step: coordinates and label of each object
    inferred: NDArray[Any] | None  # [T+1, M, 2], the place inferred for each opponent, NaN: none; None: no inference
    odds: NDArray[Any] | None  # [T+1, K, 3], places and the probability of each; None: the model has none
    horizon: int  # H, the number of the opponents' next steps that are drawn
    is_grid: bool  # see ``games.layout.Layout``, also for ``low`` and ``high``
    low: float
    high: float

    def legend(self) -> list[str]:
        """The meaning of what is drawn, in lines."""
        lines = [f"blue: learners, red: opponents; dotted: their next {self.horizon} steps"] if self.opponents else []
        if self.inferred is not None:
            lines.append(
                "star: inferred place" + ("; discs: probabilities of places" if self.odds is not None else "")
            )
        return lines

    def draw(self, ax: Any, t: int) -> None:
        """The board at step ``t``."""
        draw_board(ax, self, t)


class Pictures(NamedTuple):
    """Pictures that the environment made."""

    frames: Sequence[NDArray[np.uint8]]  # T+1, [height, width, 3] each

    def legend(self) -> list[str]:
        """See ``Board``."""
        return ["drawn by the environment itself"]

    def draw(self, ax: Any, t: int) -> None:
        """The picture at step ``t``."""
        ax.imshow(self.frames[t])
        ax.set_axis_off()


class Film(NamedTuple):
    """The T+1 frames of an episode."""

    title: str  # of every frame
    captions: Sequence[str]  # a line under each frame, T+1
    scene: Board | Pictures


def write_film(film: Film, folder: Path, name: str, formats: Sequence[str], fps: float, stills: bool) -> list[Path]:
    """Writes ``<name>.<format>`` and, if ``stills``, ``<name>.txt`` and a few frames ``step_<t>.png``.

    Returns:
        The paths.

    Args:
        formats: names of ``video.ENCODERS``.
        fps: frames, which are steps, per second.

    Raises:
        OmarlError: the folder takes no files.
    """
    from PIL import Image

    last = len(film.captions) - 1
    files: dict[str, str | bytes] = {
        f"{name}.{each}": ENCODERS[each]((drawn(film, t) for t in range(last + 1)), fps) for each in formats
    }
    if stills:
        files[f"{name}.txt"] = in_words(film)
    for t in sorted({round(i * last / (STILLS - 1)) for i in range(STILLS)}) if stills else ():
        picture = BytesIO()
        Image.fromarray(drawn(film, t)).save(picture, "PNG")
        files[f"step_{t:02d}.png"] = picture.getvalue()
    return write_files(folder, files)


def in_words(film: Film) -> str:
    """The film for people who do not see it: what is drawn, and the text under each frame."""
    steps = [f"step {t}: {caption}" for t, caption in enumerate(film.captions) if caption]
    return "\n".join([f"{film.title}, {len(film.captions) - 1} steps", *film.scene.legend(), *steps]) + "\n"


def drawn(film: Film, t: int) -> NDArray[np.uint8]:
    """Frame ``t`` as an image [height, width, 3]."""
    figure = new_figure(5.4, 5.9, dpi=90)
    ax = figure.add_axes((0.06, 0.14, 0.88, 0.78))
    film.scene.draw(ax, t)
    figure.text(0.06, 0.955, film.title, fontsize=9, fontweight="bold", color=INK, parse_math=False)
    figure.text(0.94, 0.955, f"step {t} of {len(film.captions) - 1}", fontsize=8, color=MUTED, ha="right")
    figure.text(0.06, 0.075, film.captions[t], fontsize=8, color=INK)
    figure.text(0.06, 0.02, "\n".join(film.scene.legend()), fontsize=7, color=MUTED)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def draw_board(ax: Any, board: Board, t: int) -> None:
    """The board at step ``t``, the opponents' next steps, and the places inferred for them."""
    margin = 0.6 if board.is_grid else 0.15
    limits = (board.low - margin, board.high + margin)
    ax.set_xlim(limits)
    ax.set_ylim(limits[::-1] if board.is_grid else limits)  # a grid's rows are numbered from the top
    ax.set_aspect("equal")
    ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    ax.spines[:].set_color(RULE)
    if board.is_grid:
        lines = np.arange(board.low - 0.5, board.high + 1)
        for draw_lines in (ax.hlines, ax.vlines):
            draw_lines(lines, board.low - 0.5, board.high + 0.5, color=RULE, linewidth=0.8, zorder=0)
    for first, second, label in board.objects[t]:
        x, y = _xy(board, (first, second))
        ax.scatter(x, y, s=150, color=GREEN if board.is_grid else RULE, zorder=1)
        ax.text(x, y, label, ha="center", va="center", fontsize=8, color="white", zorder=2)
    if board.odds is not None:
        likely = board.odds[t][board.odds[t, :, 2] >= UNLIKELY]
        x, y = _xy(board, likely[:, :2].T)
        ax.scatter(x, y, s=1500 * likely[:, 2], color=ORANGE, alpha=0.35, linewidth=0, zorder=1)
    for i, name in enumerate(board.names):
        x, y = _xy(board, board.positions[t, i])
        colour = VERMILLION if i in board.opponents else BLUE
        ax.scatter(x, y, s=210, marker="s" if board.is_grid else "o", color=colour, zorder=3)
        ax.text(x, y, name.rsplit("_", 1)[-1], ha="center", va="center", fontsize=8, color="white", zorder=4)
        if len({other.rsplit("_", 1)[0] for other in board.names}) > 1:
            ax.annotate(name, (x, y), (0, -15), textcoords="offset points", ha="center", fontsize=6, color=MUTED)
    for m, i in enumerate(board.opponents):
        path = np.array([_xy(board, place) for place in board.positions[t : t + 1 + board.horizon, i]])
        ax.plot(path[:, 0], path[:, 1], color=VERMILLION, linewidth=1.6, linestyle=":", zorder=2)
        if board.inferred is not None:
            x, y = _xy(board, board.inferred[t, m])
            ax.scatter(x, y, s=260, marker="*", facecolor="none", edgecolor=ORANGE, linewidth=1.8, zorder=5)


def _xy(board: Board, place: Any) -> tuple[Any, Any]:
    first, second = place
    return (second, first) if board.is_grid else (first, second)
