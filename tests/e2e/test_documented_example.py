"""The examples of the documentation, executed unchanged."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

from notebooks import execute

ROOT = Path(__file__).parents[2]


def python_of(page, heading=""):
    """The first Python example of a page, after a heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.search(r"```python\n(.*?)```", text[text.index(heading) :], re.S)[1]


def printed(code, folder):
    """The output of a program that runs in ``folder``."""
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_vae_example_gives_the_documented_result(tmp_path):
    numbers, healthy = printed(python_of("docs/vae-anywhere.md"), tmp_path).strip().splitlines()[-2:]
    held_out = ast.literal_eval(numbers)
    assert held_out["vae_explained_variance"] > 0.97 and held_out["vae_accuracy"] > 0.98
    assert held_out["vae_kl_loss"] < 1.5 * 6.6
    assert healthy == "True"
    assert (tmp_path / "vae.pt").is_file()


def test_the_readme_example_trains_acts_and_evaluates(tmp_path):
    code = python_of("README.md", "### From Python")
    assert len([line for line in code.splitlines() if line]) <= 10
    text = printed(code, tmp_path)
    assert float(re.search(r"test_return_mean +(\S+) ± ", text)[1]) > -75  # -100 before training
    assert (tmp_path / "results/sacred/pqn_vdn/mpe2.simple_spread_v3/1/metrics.jsonl").is_file()


def test_the_notebook_gives_outputs_like_the_stored_ones(tmp_path, monkeypatch):
    cells = json.loads((ROOT / "docs" / "python-api.ipynb").read_text(encoding="utf-8"))["cells"]
    monkeypatch.chdir(tmp_path)
    found = execute(cells)
    assert "did you mean 't_max'?" in found[-1][0]["text"][0]
    for cell, outputs in zip(cells, found, strict=True):
        stored = cell.get("outputs", [])
        assert [kind(one) for one in stored] == [kind(one) for one in outputs], "".join(cell["source"])


def kind(output):
    """An output without its numbers, which depend on the machine's rounding."""
    return output["output_type"], sorted(output.get("data", {}))
