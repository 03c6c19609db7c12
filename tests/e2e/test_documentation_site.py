"""The documentation site: built without warnings, complete, and usable without a network."""

import os
import re
import subprocess
import sys
from dataclasses import fields

import pytest
from e2e.command import ROOT
from omarl.commands import COMMANDS, keys_of
from omarl.components.vae_trainer import VAEConfig
from omarl.config.files import packaged


def build(folder, *options):
    words = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder), *options]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; mkdocs.yml makes every warning an error."""
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def read(path):
    return path.read_text(encoding="utf-8")


def test_a_browser_fetches_nothing_from_the_network(site):
    fetched = r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//|<link\b[^>]*\bhref=\"(?:https?:)?//"
    assert not [page.name for page in site.rglob("*.html") if re.search(fetched, read(page))]
    assert not [sheet.name for sheet in site.rglob("*.css") if re.search(r"url\([\"']?(?:https?:)?//", read(sheet))]


def test_the_search_needs_no_server(site):
    assert "posterior_collapse" in read(site / "search" / "search_index.js")
    assert '<script src="assets/iframe-worker.js">' in read(site / "index.html")


def test_links_between_pages_lead_to_files_of_the_site(site):
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#?]+)[^"]*"', read(page)):
            if not re.match(r"[a-z]+:", link) and page.name != "404.html":
                assert (page.parent / link).exists(), f"{page.relative_to(site)}: {link}"


def test_the_configuration_reference_has_every_declared_key(site):
    page = read(site / "reference" / "configuration.html")
    declared = {spec.name for name in COMMANDS for spec in fields(keys_of(name))}
    declared |= {spec.name for spec in fields(VAEConfig)}
    assert not {name for name in declared if f"<code>{name}</code>" not in page}
    assert "KL weight; docs/metrics.md states its unit" in page


def test_the_configuration_files_are_shown(site):
    page = read(site / "reference" / "files.html")
    assert all(f'<h3 id="{name}">' in page for folder in ("algs", "envs") for name in packaged(folder))


def test_the_api_reference_has_every_public_name(site):
    import omarl

    page = read(site / "reference" / "api.html")
    assert not {name for name in omarl.__all__ if not re.search(rf'id="omarl\.[\w.]*\b{name}"', page)}


def test_equations_are_drawn_without_a_script_and_stand_beside_the_code(site):
    page = read(site / "equations.html")
    assert page.count("<math") > 15 and "arithmatex" not in page and "$" not in re.sub(r"<[^>]*>", "", page)
    assert page.count('class="filename">src/') == 15 and "```" not in page


def test_alternatives_in_code_cells_are_shown_without_backslashes(site):
    assert "constant|linear|sigmoid|cyclical" in read(site / "vae-stability.html")


def test_chinese_pages_state_their_language(site):
    assert 'lang="zh-CN"' in read(site / "zh" / "index.html") and 'lang="en"' in read(site / "index.html")
