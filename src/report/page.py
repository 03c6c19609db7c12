"""The HTML of a report: one file, with its style, its script and the charting library inside."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..types import ConfigError

ASSETS = Path(__file__).parent / "assets"


def page(title: str, sections: Sequence[tuple[str, str]], data: Any) -> str:
    """A complete page.

    Args:
        title: the heading.
        sections: heading and HTML of each part.
        data: what the script reads, written as JSON.

    Raises:
        ConfigError: the charting library is not installed.
    """
    library = _charting_library()
    style = _joined(library / "uPlot.min.css", ASSETS / "page.css")
    script = _joined(library / "uPlot.iife.js", ASSETS / "page.js")
    ids = [f"part-{i}" for i in range(len(sections))]
    links = "".join(f'<li><a href="#{i}">{escape(name)}</a></li>' for i, (name, _) in zip(ids, sections, strict=True))
    body = "".join(
        f'<section id="{i}" aria-labelledby="{i}-h"><h2 id="{i}-h">{escape(name)}</h2>{html}</section>'
        for i, (name, html) in zip(ids, sections, strict=True)
    )
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f'<a class="skip" href="#{ids[0]}">Skip to the summary</a><header><h1>{escape(title)}</h1>'
        f'<nav aria-label="Parts"><ul>{links}</ul></nav></header><main>{body}</main>'
        f'<script type="application/json" id="data">{text}</script><script>{script}</script></body></html>\n'
    )


def _joined(*files: Path) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _charting_library() -> Path:
    """The folder of uPlot's script and style in the package uplot-python, which need not be imported."""
    found = find_spec("uplot")
    if found is None or found.origin is None:
        raise ConfigError("report: its charts need uPlot; pip install uplot-python")
    return Path(found.origin).parent / "static"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; ``kind`` is its class."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def bullets(lines: Iterable[str], kind: str = "") -> str:
    """A list."""
    return f'<ul class="{kind}">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """A table that scrolls sideways by itself on a narrow screen.

    Args:
        caption: what it shows.
        header: of the columns.
        rows: texts; the first column names the row.
        classes: a class for each column; "" for none.
    """
    kinds = [f' class="{kind}"' if kind else "" for kind in [*classes, *[""] * (len(header) - len(classes))]]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td{kind}>{escape(text)}</td>" for text, kind in zip(rest, kinds[1:], strict=True))
        body += f'<tr><th scope="row"{kinds[0]}>{escape(first)}</th>{cells}</tr>'
    return _framed(caption, head, body)


def shaded(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], first: int) -> str:
    """A matrix of numbers, shaded from lowest to highest in each column; numbers begin at column ``first``."""
    shares = [_shares([row[c] for row in rows]) if c >= first else [""] * len(rows) for c in range(len(header))]
    body = ""
    for r, (name, *rest) in enumerate(rows):
        cells = "".join(f"<td{shares[c][r]}>{escape(text)}</td>" for c, text in enumerate(rest, 1))
        body += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    return _framed(caption, "".join(f'<th scope="col">{escape(name)}</th>' for name in header), body)


def _framed(caption: str, head: str, body: str) -> str:
    """The caption stands outside of what scrolls, so that a narrow screen shows all of it."""
    text = escape(caption)
    return (
        f'<p class="caption">{text}</p><div class="scroll" role="region" tabindex="0" aria-label="{text}">'
        f'<table aria-label="{text}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _shares(column: Sequence[str]) -> list[str]:
    """The attributes that shade the cells of a column, from 0 for the lowest to 1 for the highest number."""
    values = [_number(text) for text in column]
    known = [value for value in values if value is not None]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    return ["" if value is None or not span else f' class="shade" style="--share:{(value - low) / span:.2f}"'
            for value in values]  # fmt: skip


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value else None  # NaN


def chart(name: str, caption: str) -> str:
    """A place for a chart that the script draws; its controls and the table of its numbers are added there."""
    return (
        f'<figure class="chart" data-chart="{escape(name)}"><figcaption>{escape(caption)}</figcaption>'
        '<div class="controls"></div><div class="plot"></div>'
        "<noscript>The chart needs JavaScript; the tables do not.</noscript></figure>"
    )


def details(summary: str, html: str) -> str:
    """A part that opens on demand, and in print."""
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def code(lines: Iterable[str]) -> str:
    """Commands, one per line."""
    return f'<pre tabindex="0">{escape(chr(10).join(lines))}</pre>'
