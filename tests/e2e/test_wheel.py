"""The wheel installed without the extra ``envs``: working commands, and errors that name the missing package."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from e2e.command import ROOT, environment

EXTRA = ("lbforaging", "llvmlite", "mpe2", "numba", "pygame", "pymunk")
# Python code that hides these packages from the import system.
WITHOUT = f"""
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {EXTRA!r} else find(name, path, target)
PathFinder.find_spec = find_spec
import omarl, omarl.experiment
assert omarl.__file__.startswith(sys.argv.pop(1)), omarl.__file__
omarl.experiment.main(sys.argv)
"""
BUILD = (
    "import os, sys; from setuptools import build_meta; os.chdir(sys.argv[1]);"
    "print(build_meta.build_wheel(sys.argv[2]))"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the source files of the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "src").rglob("*"):
        if path.suffix in (".py", ".yaml", ".typed"):
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    subprocess.run([sys.executable, "-c", BUILD, str(copy), str(folder)], capture_output=True, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The unpacked wheel."""
    site = wheel.parent / "site"
    zipfile.ZipFile(wheel).extractall(site)
    return site


def omarl(installed: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the wheel without its extra in a folder outside the repository."""
    line = [sys.executable, "-c", WITHOUT, str(installed), *words]
    variables = {**environment(), "PYTHONPATH": str(installed)}
    return subprocess.run(line, cwd=cwd, env=variables, capture_output=True, text=True, timeout=120, check=False)


def test_the_wheel_contains_one_package_with_its_yaml_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top_level = next(n for n in names if n.endswith("top_level.txt"))
    assert zipfile.ZipFile(wheel).read(top_level).decode().split() == ["omarl"]
    assert {n.split("/")[0] for n in names if "dist-info" not in n} == {"omarl"}
    assert "omarl/config/algs/omg_vae.yaml" in names and "omarl/config/default.yaml" in names


def write_run(folder: Path) -> Path:
    folder.mkdir()
    lines = [
        {"t_env": t, "wall_s": t / 100, "test_return_mean": t / 10, "vae_loss": 0.5, "vae_recon_loss": 0.3,
         "vae_kl_loss": 20.0, "vae_alpha": 0.01}
        for t in range(0, 50_000, 500)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (folder / "config.json").write_text(json.dumps({"name": "omg_vae", "seed": 1, "env_args": {"key": "x"}}))
    return folder


def write_host(folder: Path) -> Path:
    (folder / "learners").mkdir(parents=True)
    (folder / "config" / "algs").mkdir(parents=True)
    (folder / "learners" / "__init__.py").write_text(
        'from .q_learner import QLearner\n\nREGISTRY = {}\n\nREGISTRY["q_learner"] = QLearner\n'
    )
    (folder / "config" / "algs" / "iql.yaml").write_text('learner: "q_learner"\nname: "iql"\n')
    return folder


def test_commands_without_environments_work_without_the_extra(installed, tmp_path):
    run, host = write_run(tmp_path / "run"), write_host(tmp_path / "host")
    for words, expected in (
        (["diagnose", "with", f"run={run}"], "diagnosis.json"),
        (["compare", "with", f"runs=[{run}]"], "comparison.md"),
        (["plugin", "with", f"host={host}"], "omg_vae_learner"),
        (["help"], "diagnose"),
        (["help", "train", "--config=object_prediction"], "t_max ="),
    ):
        done = omarl(installed, tmp_path, *words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        assert expected in done.stdout + done.stderr, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, (words, done.stderr)


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["--config=omg_vae"], "mpe2"),
        (["--config=iql", "--env-config=foraging"], "lbforaging"),
        (["--config=iql", "--env-config=rps"], "pygame"),
        (["pool", "with", "env_args.key=mpe2.simple_tag_v3", "scripts=[chase+flee]", "out=p"], "mpe2"),
    ],
)
def test_training_without_the_extra_gives_a_one_line_error(installed, tmp_path, words, package):
    done = omarl(installed, tmp_path, *words)
    assert done.returncode == 1
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert f"No module named '{package}'" in line and "pip install 'omarl[envs]'" in line, line
    assert "Traceback" not in done.stderr, done.stderr
