"""A sweep of real runs: one fails, and the sweep is interrupted and started again."""

import json
import os
import signal
import subprocess
import sys
import time

import omarl
from e2e.command import ROOT, environment, error_of, main

KEYS = {"t_max": 3000, "test_nepisode": 4, "batch_size_run": 4, "use_tensorboard": False, "env_args.max_cycles": 20,
        "save_model_interval": 400, "hidden_dim": 8, "test_interval": 1000}  # fmt: skip


def steady(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("wall_s", "steps_per_second")} for row in rows]


def test_an_interrupted_sweep_continues_to_the_same_numbers(tmp_path):
    (tmp_path / "broken.yaml").write_text("env: pettingzoo\nenv_args:\n  key: no_such_package_v0\n")
    out = tmp_path / "out"
    words = ["sweep", "with", "configs=[iql]", f"envs=[simple_spread,{tmp_path}/broken.yaml]", "seeds=[3]", "jobs=1",
             f"out={out}", *(f"{name}={value}" for name, value in KEYS.items())]  # fmt: skip
    first = subprocess.Popen([sys.executable, "main.py", *words], cwd=ROOT, env=environment(), text=True,
                             stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    end = time.time() + 120
    while not list(out.glob("sacred/*/*/*/checkpoints/*/checkpoint.json")) and time.time() < end:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGTERM)  # a suite in the background ignores SIGINT
    _, text = first.communicate(timeout=120)
    assert first.returncode == 130, text
    assert "stopped" in text and "to continue, give the same command again" in text
    (run,) = [path.parent for path in out.glob("sacred/*/*spread*/*/config.json")]
    assert json.loads((run / "run.json").read_text())["status"] == "INTERRUPTED"

    second = main(words, tmp_path, results_key=False)
    assert "1 of 2 runs failed" in error_of(second)
    assert "failed: iql broken seed 3: " in second.err and "no_such_package" in second.err
    keys = {name: value for name, value in KEYS.items() if "." not in name}
    alone = omarl.train("iql", "simple_spread", seed=3, env_args={"max_cycles": 20}, path=tmp_path / "alone", **keys)
    assert steady(run) == steady(alone.path)
    assert len(list(out.glob("sacred/*/*/seed*/config.json"))) == 2
