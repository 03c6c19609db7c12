"""Runs main.py as a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SMALL = ["t_max=1200", "test_interval=600", "test_nepisode=4", "batch_size=8", "learner_log_interval=200",
         "runner_log_interval=200", "hidden_dim=16", "vae_hidden_dim=32", "batch_size_run=4",
         "env_steps_per_update=50"]  # fmt: skip
VOLATILE = ("wall_s", "steps_per_second")


@dataclass
class Result:
    """The result of a command."""

    code: int
    out: str
    err: str
    results: Path

    @property
    def run(self) -> Path:
        """The folder of the only run."""
        (folder,) = [p.parent for p in self.results.glob("sacred/*/*/*/run.json")]
        return folder

    def lines(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl."""
        return [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]

    def steady(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl without times."""
        return [{k: v for k, v in line.items() if k not in VOLATILE} for line in self.lines()]


def command(words: list[str], results: Path, results_key: bool = True) -> list[str]:
    """The command line, with results in ``results``."""
    asks = words[0] in ("help", "-h", "--help") or not results_key
    tail = [] if asks else [*([] if "with" in words else ["with"]), f"local_results_path={results}"]
    return [sys.executable, "main.py", *words, *tail]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def main(words: list[str], results: Path, cwd: Path = ROOT, results_key: bool = True, **more: Any) -> Result:
    """Runs a command to its end."""
    line = command(words, results, results_key)
    line[1] = str(ROOT / "main.py")
    done = subprocess.run(
        line, cwd=cwd, capture_output=True, text=True, timeout=240, env=environment(), check=False, **more
    )
    return Result(done.returncode, done.stdout, done.stderr, results)


def error_of(result: Result) -> str:
    """The error line of a refused command."""
    assert result.code == 1, result.err
    assert "Traceback" not in result.err + result.out, result.err
    (line,) = [text for text in result.err.splitlines() if text.startswith("error: ")]
    return line
