"""The runs of a sweep on a real local Ray, one of whose workers is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import omarl
import pytest
from e2e.command import ROOT, environment
from e2e.test_sweep_runs import KEYS, steady

pytest.importorskip("ray")


def parents_of(pattern):
    """The parents of the processes whose command line contains a text."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and pattern in (entry / "cmdline").read_bytes().decode().replace("\0", " "):
                found.append(int((entry / "stat").read_text().rpartition(")")[2].split()[1]))
        except OSError:
            continue
    return found


def test_a_sweep_on_ray_survives_a_killed_worker_and_gives_the_same_numbers(tmp_path):
    out = tmp_path / "out"
    words = ["sweep", "with", "configs=[iql]", "envs=[simple_spread]", "seeds=[3,4]", "jobs=2", "engine=ray",
             f"out={out}", *(f"{name}={value}" for name, value in KEYS.items())]  # fmt: skip
    sweep = subprocess.Popen([sys.executable, "main.py", *words], cwd=ROOT, env=environment(), text=True,
                             stderr=subprocess.PIPE)  # fmt: skip
    end = time.time() + 150
    while not list(out.glob("sacred/*/*/seed3*/checkpoints/*/checkpoint.json")) and time.time() < end:
        time.sleep(0.05)
    (worker,) = parents_of("--id=seed3")
    os.kill(worker, signal.SIGKILL)
    _, text = sweep.communicate(timeout=240)
    assert sweep.returncode == 0, text
    assert "2 of 2 runs finished" in text
    keys = {name: value for name, value in KEYS.items() if "." not in name}
    for seed in (3, 4):
        (run,) = out.glob(f"sacred/*/*/seed{seed}-*")
        assert ("resumed from" in next((out / "logs").glob(f"*seed{seed}-*")).read_text()) == (seed == 3)
        alone = omarl.train("iql", "simple_spread", seed=seed, env_args={"max_cycles": 20}, **keys,
                            path=tmp_path / str(seed))  # fmt: skip
        assert steady(run) == steady(alone.path)
        assert json.loads((run / "run.json").read_text())["status"] == "COMPLETED"
