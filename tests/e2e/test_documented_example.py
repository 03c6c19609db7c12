"""The example of docs/vae-anywhere.md, executed unchanged."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_gives_the_documented_result(tmp_path):
    page = (ROOT / "docs" / "vae-anywhere.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    numbers, healthy = result.stdout.strip().splitlines()[-2:]
    held_out = ast.literal_eval(numbers)
    assert held_out["vae_explained_variance"] > 0.97 and held_out["vae_accuracy"] > 0.98
    assert held_out["vae_kl_loss"] < 1.5 * 6.6
    assert healthy == "True"
    assert (tmp_path / "vae.pt").is_file()
