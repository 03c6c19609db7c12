"""What a release needs: one version everywhere, and a notebook that installs it."""

import json
import re
import tomllib
from pathlib import Path

import omarl

ROOT = Path(__file__).parents[2]


def test_package_metadata_and_changelog_have_the_same_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
    assert project["version"] == omarl.__version__ == newest


def test_the_pinned_requirements_are_within_the_ranges_of_the_package():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    ranges = [Requirement(text) for text in [*project["dependencies"], *(r for name in extras for r in extras[name])]]
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("requirements.txt", "requirements-dev.txt"))
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", text, re.M))
    wrong = [str(one) for one in ranges if one.name in pinned and not one.specifier.contains(pinned[one.name])]
    assert wrong == ["gymnasium<1.4,>=1.1"]  # the extra jax replaces gymnasium (docs/jaxmarl.md)


def test_the_notebook_installs_omarl_first():
    cells = json.loads((ROOT / "docs" / "python-api.ipynb").read_text(encoding="utf-8"))["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert '"pip", "install"' in first and "[envs]" in first
