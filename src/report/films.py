"""The films of a report: what ``replay`` has drawn of its runs, inside the page, with controls and in words."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from ..analysis.groups import Group, Record
from .page import details, paragraph

BUDGET = 6_000_000  # bytes of all films; a third more in the page, of whose 10 MB the rest is left to everything else
FILMS = (".mp4", ".gif")  # preferred first
TYPES = {".mp4": "video/mp4", ".gif": "image/gif", ".png": "image/png"}
MOST_WORDS = 20_000  # characters of a film in words


class Film(NamedTuple):
    """A film of one run."""

    file: Path
    title: str
    still: Path | None  # a frame of it as a picture

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for file in (self.file, self.still) if file)


def films_of(groups: Sequence[Group]) -> tuple[list[Film], list[Film]]:
    """The films that the page has room for, and the others. The first film of every group comes before others."""
    by_group = [[Film(file, title_of(group, r, file), still_of(file)) for r in group.records if (file := film_of(r))]
                for group in groups]  # fmt: skip
    rounds = range(max(map(len, by_group), default=0))
    shown: list[Film] = []
    left_out: list[Film] = []
    left = BUDGET
    for film in (films[i] for i in rounds for films in by_group if i < len(films)):
        (shown if film.size <= left else left_out).append(film)
        left -= film.size if film.size <= left else 0
    return shown, left_out


def film_of(record: Record) -> Path | None:
    """The film of a run: of its last checkpoint that has one, or in its folder; an MP4 rather than a GIF."""
    checkpoints = sorted(
        record.run.glob("checkpoints/*/replay"), key=lambda folder: _step(folder.parent), reverse=True
    )
    for folder in [*checkpoints, record.run]:
        for ending in FILMS:
            if files := sorted(folder.glob(f"*{ending}")):
                return files[0]
    return None


def still_of(file: Path) -> Path | None:
    """A frame from the middle, which stands for the film until it plays, and in print."""
    stills = sorted(file.parent.glob("step_*.png"))
    return stills[len(stills) // 2] if stills else None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name) if checkpoint.name.isdecimal() else -1


def title_of(group: Group, record: Record, file: Path) -> str:
    """What a film shows, in words."""
    checkpoint = file.parent.parent.name
    at = f", after {int(checkpoint):,} steps" if file.parent.name == "replay" and checkpoint.isdecimal() else ""
    return f"A test episode of {group.label} on {group.task}, seed {record.config.get('seed', '?')}{at}"


def films(groups: Sequence[Group]) -> str:
    """The part of the page; empty if no run has a film."""
    shown, left_out = films_of(groups)
    html = "".join(map(figure, shown))
    if left_out:
        names = ", ".join(str(film.file) for film in left_out)
        html += paragraph(f"Left out, because the page would be too large: {names}.", "note")
    return f'<div class="films">{html}</div>' if shown else html


def figure(film: Film) -> str:
    """One film with its controls. A GIF moves without end, so it is shown on demand."""
    title, data = escape(film.title), data_url(film.file)
    if film.file.suffix == ".mp4":
        poster = f' poster="{data_url(film.still)}"' if film.still else ""
        words = 'controls muted loop playsinline preload="metadata"'
        html = f'<video {words} aria-label="{title}" src="{data}"{poster}></video>'
    else:
        still = f'<img src="{data_url(film.still)}" alt="A frame: {title}">' if film.still else ""
        html = still + details("Show the film", f'<img src="{data}" alt="{title}">')
    text = "".join(words_of(film.file))
    return f"<figure><figcaption>{title}</figcaption>{html}{text}</figure>"


def data_url(file: Path) -> str:
    """The content of a file as an address."""
    return f"data:{TYPES[file.suffix]};base64,{b64encode(file.read_bytes()).decode()}"


def words_of(file: Path) -> Iterator[str]:
    """The text beside a film, which ``replay`` writes: what is drawn, and the opponent model's text at each step."""
    text = file.with_suffix(".txt")
    if text.is_file():
        content = text.read_text(encoding="utf-8", errors="replace")[:MOST_WORDS]
        yield details("In words", f'<pre tabindex="0">{escape(content)}</pre>')
