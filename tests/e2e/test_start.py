"""Commands that only read runs do without the packages that take long to import; ``help`` does without matplotlib."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, environment
from studies import write_run

HEAVY = ("torch", "numba", "scipy", "pandas", "gymnasium", "pettingzoo", "mpe2", "pygame", "tensorboard", "git",
         "matplotlib.pyplot")  # fmt: skip
AFTERWARDS = """
import runpy, sys
names, sys.argv = sys.argv[1].split(","), sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", [name for name in names if name in sys.modules])
"""


def run(words: list[str], cwd: Path, names: tuple[str, ...] = HEAVY) -> tuple[str, list[str]]:
    """What a command prints, and which of ``names`` it has imported."""
    line = [sys.executable, "-c", AFTERWARDS, ",".join(names), str(ROOT / "main.py"), *words]
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, env=environment(), check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    printed, _, imported = done.stdout.rpartition("imported: ")
    return printed, imported.strip("[]'\n").split("', '")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two algorithms with two seeds each, in a folder that is a repository."""
    folder = tmp_path_factory.mktemp("runs")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for name in ("iql", "omg_vae"):
        for seed in (1, 2):
            write_run(folder / f"{name}_{seed}", name, "simple_tag", seed, vae=name == "omg_vae")
    return folder


@pytest.mark.parametrize("words", [["help"], ["help", "diagnose"], ["help", "compare"], ["help", "report"]])
def test_help_imports_no_package_that_takes_long(words: list[str], runs: Path) -> None:
    printed, imported = run(words, runs, (*HEAVY, "matplotlib"))
    assert printed and imported == [""]


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["diagnose", "with", "run=omg_vae_1"], "omg_vae_1/diagnosis.png"),
        (["compare", "with", "runs=."], "comparison/comparison.png"),
        (["report", "with", "runs=."], "report.html"),
    ],
)
def test_commands_that_read_runs_import_no_package_that_takes_long(words: list[str], file: str, runs: Path) -> None:
    printed, imported = run(words, runs)
    assert file in printed and (runs / file).is_file()
    assert imported == [""]
