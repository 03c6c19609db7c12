"""Hooks of the documentation site: pages from outside docs/, code beside equations, MathML.

Pages are written with links that work in the repository. Here the links between them are adapted to the site. A
linked file that is no page, such as a test, becomes a page that shows it.
"""

import html
import json
import posixpath
import re
import textwrap
from functools import cache
from pathlib import Path

import griffe
from configuration_page import files_page, keys_page
from latex2mathml.converter import convert
from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).parents[2]
# pages from outside docs/: path in the repository -> path in the site
OUTSIDE = {"README.md": "index.md", "README.zh-CN.md": "zh/index.md",
           "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}  # fmt: skip
GENERATED = {"reference/configuration.md": keys_page, "reference/files.md": files_page}
FOLDERS = {"src/config/algs": "reference/files.md", "src/config/envs": "reference/files.md"}
LINK = re.compile(r'(\]\(|(?:src|href)=")(?![a-z]+:)([^)"\s#]+)')
SOURCE = re.compile(r"```source\n(.*?)```", re.S)
CELL = re.compile(r"<td.*?</td>", re.S)
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.S)

in_repository: dict[str, str] = {}  # path in the site -> path in the repository


def on_files(files, config):
    """Adds the pages from outside docs/, the generated ones, and one for each linked file."""
    in_repository.clear()
    for file in files:
        in_repository[file.src_uri] = f"docs/{file.src_uri}"
    for path, uri in OUTSIDE.items():
        if (ROOT / path).is_file():
            _add(files, config, uri, path)
    for path in sorted(ROOT.glob("benchmarks/**/*.*")):
        if path.suffix in (".md", ".png", ".csv"):
            name = path.relative_to(ROOT).as_posix()
            _add(files, config, name, name)
    for uri, make in GENERATED.items():
        files.append(File.generated(config, uri, content=make(), inclusion=InclusionLevel.NOT_IN_NAV))
    files.append(File.generated(config, "python.md", content=_notebook("docs/python-api.ipynb")))
    in_repository["python.md"] = "docs/python-api.ipynb"
    for path in sorted(_linked_files() - {*in_repository.values()}):
        uri = f"source/{path}.md"
        text = f"# {path}\n\n```{Path(path).suffix[1:]}\n{(ROOT / path).read_text(encoding='utf-8')}```\n"
        files.append(File.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV))
        in_repository[uri] = path
    return files


def _add(files, config, uri, path):
    is_in_nav = path in OUTSIDE or path == "benchmarks/README.md"
    inclusion = InclusionLevel.INCLUDED if is_in_nav else InclusionLevel.NOT_IN_NAV
    files.append(File.generated(config, uri, abs_src_path=str(ROOT / path), inclusion=inclusion))
    in_repository[uri] = path


def _linked_files():
    """The paths in the repository of all files that pages link to."""
    pages = [path for path in in_repository.values() if path.endswith(".md") and (ROOT / path).is_file()]
    found = {
        _target(link, page) for page in pages for _, link in LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    }
    return {path for path in found if (ROOT / path).is_file()}


def _target(link, page):
    """The path in the repository to which ``page`` links."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def on_page_markdown(markdown, page, **_):
    """Adapts links to the site, and replaces the names in ``source`` blocks by their code."""
    uri = page.file.src_uri
    if uri.startswith(("benchmarks/", "source/")) and uri != "benchmarks/README.md":
        page.meta["search"] = {"exclude": True}  # tables of single runs, and code
    sites = {path: site for site, path in in_repository.items()}

    def adapted(match):
        before, link = match.groups()
        path = _target(link, in_repository.get(uri, uri))
        site = sites.get(path) or FOLDERS.get(path)
        is_other = site and site != uri
        return before + (posixpath.relpath(site, posixpath.dirname(uri)) if is_other else link)

    return SOURCE.sub(_code, LINK.sub(adapted, markdown))


@cache
def _package():
    return griffe.load("omarl", search_paths=[ROOT / "typings"])


def _code(match):
    """The code of the named classes and functions, each below the name of its file."""
    blocks = []
    for name in match[1].split():
        found = _package()[name]
        file = found.filepath.relative_to(ROOT / "typings" / "omarl").as_posix()
        code = textwrap.dedent("\n".join(found.lines))
        blocks.append(f'```python title="src/{file}, line {found.lineno}"\n{code}\n```')
    return "\n\n".join(blocks)


def on_page_content(content, **_):
    """Formulas as MathML, which browsers draw without a script; ``\\|`` in cells as GitHub shows it, also in code."""

    def drawn(match):
        formula = html.unescape(match[2]).strip()
        if formula.startswith(r"\["):
            return f'<div class="formula">{convert(formula[2:-2], display="block")}</div>'
        return convert(formula[2:-2])

    content = content.replace("typings/omarl/", "src/")  # where mkdocstrings finds the package
    content = CELL.sub(lambda cell: cell[0].replace("\\|", "|"), content)
    return FORMULA.sub(drawn, content)


def on_post_page(output, page, **_):
    """States the language of the Chinese pages."""
    return output.replace('lang="en"', 'lang="zh-CN"', 1) if page.file.src_uri.startswith("zh/") else output


def _notebook(name):
    """A notebook as a page: its text, its code and what the code prints."""
    parts = []
    for cell in json.loads((ROOT / name).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", [])})
            is_markdown = "text/markdown" in data
            text = "".join(data["text/markdown" if is_markdown else "text/plain"]).rstrip()
            parts.append(text if is_markdown else f"```text\n{text}\n```")
    return "\n\n".join(parts) + f"\n\n[This page as a notebook]({posixpath.basename(name)})\n"
