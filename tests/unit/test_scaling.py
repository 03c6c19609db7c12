"""The scaling benchmark: exponents of power laws, and one small size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_exponent_is_that_of_the_largest_sizes(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from scaling import exponent

    sizes = [1, 2, 4, 8, 16]
    assert exponent(sizes, [9.0, 9.0, *(0.5 * n**1.5 for n in sizes[2:])]) == pytest.approx(1.5)


def test_a_size_is_measured():
    size = json.dumps({"agents": 2, "copies": 32, "steps": 25, "features": 4096})
    words = [sys.executable, "benchmarks/scaling.py", "--measure", "omg_vae", size, "--repeats", "1"]
    environment = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{ROOT / 'benchmarks'}"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    collect, update, memory = json.loads(done.stdout.splitlines()[-1])
    assert collect > 0 and update > 0 and memory > 32 * 26 * 4096 * 4 / 2**20  # the states alone
