"""Compares a translated Markdown page with its English page, line by line.

A line of the translation has the structure of its English line: the kind (heading, table row, list item, code),
the numbers, the words in backticks, the links and pictures, and the bold passages. Only the prose differs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from os.path import normpath
from pathlib import Path

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]*)\)")
IMAGE = re.compile(r"<img [^>]*?src=\"([^\"]+)\"[^>]*>")
NUMBER = re.compile(r"(?<![A-Za-z0-9_.])-?\d+(?:,\d{3})*(?:\.\d+)*(?:e-?\d+)?%?")
NAME = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z]+[0-9_][A-Za-z0-9_]*")  # simple_tag, beta1
CELL_END = re.compile(r"(?<!\\)\|")
EXPLANATION = re.compile(r"\s+#\s.*|(?<=\S)\s{3,}.*")  # what follows the code of a line of code: prose


@dataclass(frozen=True)
class Line:
    """A line of a page that is not blank: its number, counted from 1, its text, its kind, and what must agree."""

    number: int
    text: str
    kind: str
    contents: Counter[str]

    @property
    def signature(self) -> tuple[str, frozenset[tuple[str, int]]]:
        return self.kind, frozenset(self.contents.items())


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors_of(text: str) -> list[str]:
    """The anchors of a page's headings, in their order."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [slug(heading) for heading in re.findall(r"^#+ (.+)$", prose, re.M)]


@dataclass(frozen=True)
class Pages:
    """``files``: the root folder of the pages. ``english``: {translated page: its English page}, paths below it."""

    files: Path
    english: Mapping[str, str]

    def text(self, page: str) -> str:
        return (self.files / page).read_text(encoding="utf-8")

    def target(self, page: str, link: str) -> tuple[str, str]:
        """The file that a link of a page leads to, as a path below ``files``, and the anchor there."""
        path, _, anchor = link.partition("#")
        return normpath(Path(page).parent / path) if path else page, anchor

    def english_target(self, page: str, link: str) -> str:
        """The place on the English pages that a link corresponds to: translated pages have other anchors.

        The anchor is left out while the two pages differ in the number of headings, which is another message.
        """
        if "://" in link:
            return link
        file, anchor = self.target(page, link)
        translated = {english: name for name, english in self.english.items()}.get(file, file)
        if anchor and translated in self.english:
            own, english = (anchors_of(self.text(name)) for name in (file, self.english[translated]))
            if len(own) != len(anchors_of(self.text(translated))) or len(own) != len(english):
                anchor = ""
            elif anchor in own:
                anchor = english[own.index(anchor)]
        file = self.english.get(file, file)
        return f"{file}#{anchor}" if anchor else file

    def lines(self, page: str) -> list[Line]:
        found, fenced = [], False
        for number, text in enumerate(self.text(page).splitlines(), 1):
            fence = text.startswith("```")
            fenced ^= fence
            kind = "line of code" if fenced or fence else kind_of(text)
            if text.strip():
                found.append(Line(number, text, kind, self.contents(page, text, kind)))
        return found

    def contents(self, page: str, text: str, kind: str) -> Counter[str]:
        """What must agree, each thing as words for the message."""
        things: Counter[str] = Counter()
        if kind == "line of code":
            code = EXPLANATION.sub("", text)
            things[f"the code {code.strip()}"] += 1
            text = text[len(code) :]
        for picture, _, link in LINK.findall(text):
            things[f"the {'picture' if picture else 'link to'} {self.english_target(page, link)}"] += 1
        things.update(f"the picture {self.english_target(page, link)}" for link in IMAGE.findall(text))
        text = IMAGE.sub("", LINK.sub(r"\2", text))
        things.update(f"`{words}`" for words in re.findall(r"`([^`]+)`", text))
        text = re.sub(r"`[^`]+`", "` `", text)
        things.update(f"the number {number}" for number in NUMBER.findall(text))
        things.update(f"the name {name}" for name in NAME.findall(text))
        bold = text.count("**") // 2
        things.update({"a bold passage": bold} if bold else {})
        return things


def kind_of(text: str) -> str:
    if text.startswith("#"):
        return f"heading of level {len(text) - len(text.lstrip('#'))}"
    if text.startswith("|"):
        return f"table row of {len(CELL_END.findall(text)) - 1} cells"
    return "list item" if re.match(r"(?:-|\d+\.) ", text) else "paragraph"


def differences(pages: Pages, page: str) -> Iterator[str]:
    """What to edit in a translated page, one message a place; nothing if it is in step with its English page."""
    english, lines = pages.lines(pages.english[page]), pages.lines(page)
    if [line.kind for line in english] == [line.kind for line in lines]:
        blocks = [(1, i, i + 1, i, i + 1) for i in range(len(lines))]
    else:
        matcher = SequenceMatcher(None, [x.signature for x in english], [x.signature for x in lines], autojunk=False)
        blocks = [(tag != "equal", *ends) for tag, *ends in matcher.get_opcodes()]
    for changed, i, i_end, j, j_end in blocks:
        if not changed:
            continue
        if [x.kind for x in english[i:i_end]] == [x.kind for x in lines[j:j_end]]:
            yield from (
                f"{page}, line {new.number}: {what}\n    English, line {old.number}: {old.text}\n    now: {new.text}"
                for old, new in zip(english[i:i_end], lines[j:j_end], strict=True)
                for what in [line_difference(old, new)]
                if what
            )
            continue
        before = lines[j - 1].number if j else 0
        where = (
            "line " + ", ".join(str(new.number) for new in lines[j:j_end]) if j < j_end else f"after line {before}"
        )
        todo = "translate these English lines" if i < i_end else "remove, since the English page has no such lines"
        listed = "".join(f"\n    English, line {old.number} ({old.kind}): {old.text}" for old in english[i:i_end])
        yield f"{page}, {where}: {todo}{listed}" + "".join(f"\n    now: {new.text}" for new in lines[j:j_end])


def line_difference(english: Line, line: Line) -> str:
    """What a line lacks and has too much; digits may stand for a number that the English line has as a word."""
    lacking, extra = english.contents - line.contents, line.contents - english.contents
    words = re.findall(r"[a-z]+", english.text.lower())
    for value, word in enumerate(WORDS):
        extra[f"the number {value}"] -= words.count(word)
    parts = [f"{sign} {thing}" for sign, things in (("add", lacking), ("remove", +extra)) for thing in things]
    if line.text == english.text and line.kind != "line of code" and len(prose_words(line.text)) > 3:
        parts.append("translate this line")
    return "; ".join(parts)


def prose_words(text: str) -> list[str]:
    """The words of a line outside backticks, links, and names."""
    return re.findall(r"(?<![\w.])[A-Za-z]{2,}(?![\w.])", re.sub(r"`[^`]+`", "", LINK.sub("", text)))
