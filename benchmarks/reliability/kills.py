"""Kills runs with SIGKILL at random moments, resumes them, and compares them with uninterrupted runs.

    python benchmarks/reliability/kills.py [--kills 100] [--only CASE ...] [--jobs 2] [--work DIR]

Each case is one algorithm in one environment. A run of it is killed ``KILLS_OF_A_RUN`` times, each time at a random
moment after its start or after its first logged number, and resumed by `python main.py resume with run=DIR`. In the
end it is compared with the uninterrupted run: every metric but ``wall_s`` and ``steps_per_second``, every test
episode, and every number of the last checkpoint's networks. ``kills.csv`` gets a row for each run, and ``kills.md``
is made from it. Runs in the CSV are not repeated. 100 kills take about 20 minutes of two cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KILLS_OF_A_RUN = 5
IN_TRAINING = 0.7  # share of the kills that wait for the first logged number of the process
COLUMNS = ("case", "run", "kills", "at_seconds", "steps_at_kills", "resumed", "identical", "difference")
MORE = "use_tensorboard=False seed=11 test_nepisode=8 batch_size_run=8 hidden_dim=16 save_model_interval=1600"
PACKAGE = "t_max=8000 test_interval=3000 env_args.backend=pettingzoo"
TAG, FORAGING = "simple_tag", "foraging"
CASES = {
    "iql": f"--config=iql --env-config={TAG} with t_max=16000 test_interval=4000 env_args.backend=batched",
    "omg_vae": f"--config=omg_vae --env-config={TAG} with t_max=12000 test_interval=4000 env_args.backend=batched",
    "ippo": f"--config=ippo --env-config={TAG} with t_max=24000 test_interval=6000 env_args.backend=batched",
    "liam": f"--config=liam --env-config={TAG} with t_max=24000 test_interval=6000 env_args.backend=batched",
    "place_prediction": f"--config=place_prediction --env-config={TAG} with t_max=20000 test_interval=6000 "
                        "model_memory=4 model_window=2 env_args.backend=batched",
    "object_prediction": f"--config=object_prediction --env-config={FORAGING} with t_max=20000 test_interval=6000 "
                         "env_args.backend=batched",
    "filter": f"--config=ppo_history --env-config={FORAGING} with t_max=20000 test_interval=6000 "
              "opponent_information=[actions,belief,goal] env_args.backend=batched",
    "package_iql": f"--config=iql --env-config={TAG} with env_workers=0 {PACKAGE}",
    "package_omg_vae": f"--config=omg_vae --env-config={TAG} with env_workers=2 {PACKAGE}",
    "package_ippo": f"--config=ippo --env-config={FORAGING} with env_workers=0 {PACKAGE}",
    "package_liam": f"--config=liam --env-config={FORAGING} with env_workers=2 {PACKAGE}",
    "speaker_listener": "--config=omg_vae with t_max=6000 test_interval=3000 "
                        "env_args.key=mpe2.simple_speaker_listener_v4 env_workers=0",
}  # fmt: skip


def command(words: str, results: Path) -> list[str]:
    """A training as typed."""
    return [sys.executable, str(ROOT / "main.py"), *words.split(), *MORE.split(), f"local_results_path={results}"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a process with its own group, so that a kill does not reach this one."""
    return subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=log.open("ab"), stderr=subprocess.STDOUT,
                            start_new_session=True)  # fmt: skip


def run_directory(results: Path) -> Path | None:
    found = sorted(results.glob("sacred/*/*/1/config.json"))
    return found[0].parent if found else None


def last_step(run: Path | None) -> int:
    """The last environment step in metrics.jsonl; -1: none."""
    lines = (
        [] if run is None or not (run / "metrics.jsonl").exists() else (run / "metrics.jsonl").read_text().split("\n")
    )
    return int(json.loads(lines[-2])["t_env"]) if len(lines) > 1 else -1


def numbers(run: Path) -> list[dict[str, Any]]:
    """The metrics without the two that depend on the clock."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("wall_s", "steps_per_second")} for row in rows]


def difference(run: Path, reference: Path) -> str:
    """The first difference between two runs, in words; empty if there is none."""
    import torch

    for own, other in zip(numbers(run), numbers(reference), strict=False):
        if own != other:
            name = next(name for name in {**own, **other} if own.get(name) != other.get(name))
            return f"{name} at step {own['t_env']}: {own.get(name)} instead of {other.get(name)}"
    if len(numbers(run)) != len(numbers(reference)):
        return f"{len(numbers(run))} lines of metrics instead of {len(numbers(reference))}"
    episodes = "test_episodes.jsonl"
    if (run / episodes).read_text() != (reference / episodes).read_text():
        return episodes
    own, other = (max(r.glob("checkpoints/*"), key=lambda p: int(p.name)) for r in (run, reference))
    if own.name != other.name:
        return f"last checkpoint {own.name} instead of {other.name}"
    tensors = [torch.load(folder / "agent.th", weights_only=True) for folder in (own, other)]
    same = all(torch.equal(a, b) for a, b in zip(_leaves(tensors[0]), _leaves(tensors[1]), strict=True))
    return "" if same else "agent.th"


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    elif hasattr(value, "dtype"):
        yield value


def wait_for_numbers(results: Path, process: subprocess.Popen[bytes]) -> None:
    """Waits until the process logs its first number: it is in the training then, not in its start."""
    before = last_step(run_directory(results))
    while process.poll() is None and last_step(run_directory(results)) <= before:
        time.sleep(0.05)


def killed_run(case: str, number: int, work: Path, seconds: float) -> dict[str, Any]:
    """One run, killed several times; ``seconds`` is how long the uninterrupted run took."""
    rng = random.Random(f"{case} {number}")
    results = work / f"{case}-{number}"
    results.mkdir(parents=True)
    log, words, at, steps, resumed = results / "log.txt", command(CASES[case], results), [], [], True
    for _ in range(KILLS_OF_A_RUN):
        process, began = start(words, log), time.monotonic()
        if rng.random() < IN_TRAINING:
            wait_for_numbers(results, process)
        try:
            process.wait(rng.uniform(0.0, 0.4 * seconds))
            break  # it was complete before the kill
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        at.append(round(time.monotonic() - began, 2))
        run = run_directory(results)
        steps.append(last_step(run))
        words = words if run is None else [sys.executable, str(ROOT / "main.py"), "resume", "with", f"run={run}"]
    process = start(words, log)
    resumed = process.wait(40 * seconds + 120) == 0
    run, uninterrupted = run_directory(results), run_directory(work / f"{case}-reference")
    is_comparable = resumed and run is not None and uninterrupted is not None
    text = difference(run, uninterrupted) if is_comparable else log.read_text()[-300:]  # type: ignore[arg-type]
    return {"case": case, "run": number, "kills": len(at), "at_seconds": " ".join(map(str, at)),
            "steps_at_kills": " ".join(map(str, steps)), "resumed": resumed, "identical": not text,
            "difference": " ".join(text.split())}  # fmt: skip


def reference(case: str, work: Path) -> float:
    """Makes the uninterrupted run of a case; returns its seconds."""
    results = work / f"{case}-reference"
    began = time.monotonic()
    results.mkdir(parents=True)
    if start(command(CASES[case], results), results / "log.txt").wait() != 0:
        raise SystemExit(f"{case}: the uninterrupted run failed: {(results / 'log.txt').read_text()[-500:]}")
    return time.monotonic() - began


def case_runs(case: str, runs: int, work: Path, done: set[tuple[str, int]], out: Path) -> None:
    """All runs of one case that are not in the CSV."""
    missing = [number for number in range(runs) if (case, number) not in done]
    if not missing:
        return
    seconds = reference(case, work)
    for number in missing:
        row = killed_run(case, number, work, seconds)
        fresh = not out.exists()
        with out.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)


def table(rows: list[dict[str, str]]) -> str:
    """kills.md from the rows of the CSV."""
    lines = ["# Kills and resumed runs", "", "`python benchmarks/reliability/kills.py` makes this table.", "",
             "| case | runs | kills | resumed | identical | differences |", "|---|---|---|---|---|---|"]  # fmt: skip
    for case in CASES:
        own = [row for row in rows if row["case"] == case]
        if own:
            counts = [sum(row[name] == "True" for row in own) for name in ("resumed", "identical")]
            reasons = "; ".join(sorted({row["difference"] for row in own if row["difference"]}))
            kills = sum(int(row["kills"]) for row in own)
            lines.append(f"| {case} | {len(own)} | {kills} | {counts[0]} | {counts[1]} | {reasons} |")
    kills, same = sum(int(row["kills"]) for row in rows), sum(row["identical"] == "True" for row in rows)
    return "\n".join(
        [*lines, "", f"{kills} kills, {same} of {len(rows)} runs identical to the uninterrupted run.", ""]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", nargs="+", default=list(CASES))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "kills.csv")
    asked = parser.parse_args()
    work = asked.work or Path(tempfile.mkdtemp(prefix="kills-"))
    done = set()
    if asked.out.exists():
        with asked.out.open(encoding="utf-8") as file:
            done = {(row["case"], int(row["run"])) for row in csv.DictReader(file)}
    runs = -(-asked.kills // (KILLS_OF_A_RUN * len(asked.only)))
    with ThreadPoolExecutor(asked.jobs) as threads:
        for future in [threads.submit(case_runs, case, runs, work, done, asked.out) for case in asked.only]:
            future.result()
    with asked.out.open(encoding="utf-8") as file:
        asked.out.with_suffix(".md").write_text(table(list(csv.DictReader(file))), encoding="utf-8")
    print(f"written to {asked.out.with_suffix('.md')}; the runs are in {work}")


if __name__ == "__main__":
    main()
