"""Damages checkpoints in 200 ways, resumes and tests them, and counts what happens.

    python benchmarks/reliability/damaged_checkpoints.py [--count 200] [--seed 0]

A short run leaves three checkpoints. Each time, the last one is damaged in a copy: inverted bits, a file that is cut
off, missing or of another run, and (with a manifest that fits, as a program or a person could write it) missing keys
and values of other types. Then the run is resumed or tested. The damage must be named, with the checkpoint before it
used if the manifest does not fit; or the command must end with one line; or the result must be that of the undamaged
run. ``damaged_checkpoints.md`` has the counts; about 5 minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import omarl
import torch
from omarl.utils.checkpoints import MANIFEST, digest

HERE = Path(__file__).parent
KEYS: dict[str, Any] = {
    "t_max": 900, "test_interval": 0, "save_model_interval": 300, "batch_size_run": 4, "batch_size": 8,
    "hidden_dim": 8, "use_tensorboard": False, "seed": 1, "keep_checkpoints": 9, "test_nepisode": 4,
}  # fmt: skip
ENV = {"key": "mpe2.simple_spread_v3", "max_cycles": 25, "backend": "batched"}
TENSORS, JSON = ("run.th", "resume.th", "agent.th", "opt.th"), ("config.json", MANIFEST)
WRONG: tuple[Any, ...] = (None, 7, "text", [], {}, -1.5, True)


def flip_bits(folder: Path, rng: random.Random, _: Path) -> str:
    """Inverts 1 to 64 bytes of a file."""
    file = folder / rng.choice(TENSORS + JSON)
    content = bytearray(file.read_bytes())
    at, n = rng.randrange(len(content)), rng.choice((1, 64))
    content[at : at + n] = bytes(byte ^ 255 for byte in content[at : at + n])
    file.write_bytes(content)
    return f"{n} bytes of {file.name} inverted"


def cut_off(folder: Path, rng: random.Random, _: Path) -> str:
    """Cuts off the end of a file."""
    file = folder / rng.choice(TENSORS + JSON)
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content))])
    return f"{file.name} cut off"


def remove(folder: Path, rng: random.Random, _: Path) -> str:
    """Removes a file."""
    file = folder / rng.choice(("run.th", "resume.th", "agent.th", "opt.th", "config.json"))
    file.unlink()
    return f"{file.name} missing"


def foreign(folder: Path, rng: random.Random, other: Path) -> str:
    """A file of another run takes the place of one; half of the times with a fitting manifest."""
    name = rng.choice(TENSORS + JSON)
    shutil.copy(other / name, folder / name)
    fits = rng.random() < 0.5 and name != MANIFEST
    if fits:
        fit_manifest(folder)
    return f"{name} of another run{' with a fitting manifest' if fits else ''}"


def change_tensors(folder: Path, rng: random.Random, _: Path) -> str:
    """Removes a key of a tensor file or gives it a value of another type; the manifest fits."""
    file = folder / rng.choice(TENSORS)
    content = torch.load(file, weights_only=True)
    text = change(content, rng)
    torch.save(content, file)
    fit_manifest(folder)
    return f"{file.name}: {text}"


def change_config(folder: Path, rng: random.Random, _: Path) -> str:
    """Removes a key of config.json or gives it a value of another type; the manifest fits."""
    content = json.loads((folder / "config.json").read_text())
    text = change(content, rng)
    (folder / "config.json").write_text(json.dumps(content))
    fit_manifest(folder)
    return f"config.json: {text}"


def change(content: Any, rng: random.Random) -> str:
    """Removes or replaces a value in nested dictionaries and lists, and says which."""
    path = ""
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        key = rng.choice(keys)
        path += f"/{key}"
        inner = content[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            content = inner
            continue
        if rng.random() < 0.5:
            del content[key]
            return f"{path} removed"
        content[key] = rng.choice([value for value in WRONG if type(value) is not type(inner)])
        return f"{path} = {content[key]!r}"


def fit_manifest(folder: Path) -> None:
    """Writes sizes and digests of the files as they are now."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in manifest["files"]:
        manifest["files"][name] = {"bytes": (folder / name).stat().st_size, "sha256": digest(folder / name)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


DAMAGES: tuple[Callable[[Path, random.Random, Path], str], ...] = (
    flip_bits, cut_off, remove, foreign, change_tensors, change_config,
)  # fmt: skip


class Messages(logging.Handler):
    """Collects what would be printed."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def outcome(run: Path, used: Callable[[Path], Any], messages: Messages, expected: Any) -> tuple[str, str]:
    """What a command does with a damaged run, and its line. ``expected`` is its result with the undamaged run."""
    messages.lines.clear()
    try:
        result = used(run)
    except omarl.OmarlError as error:
        text = str(error)
        return ("refused in one line" if "\n" not in text else "several lines"), text
    except Exception as error:
        return "TRACEBACK", f"{type(error).__name__}: {error}"
    named = [line for line in messages.lines if "damaged" in line or "not an exact" in line or "lacks keys" in line]
    if named:
        return "named", named[0]
    return ("harmless: the result is that of the undamaged run", "") if result == expected else ("SILENT", "")


def resumed(run: Path) -> list[dict[str, Any]]:
    """The metrics of the resumed run, without those that depend on the clock."""
    rows = [json.loads(line) for line in (omarl.resume(run).path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("wall_s", "steps_per_second")} for row in rows]


def evaluated(run: Path) -> list[list[float]]:
    """The returns of the test episodes."""
    return omarl.evaluate(run).episode_returns.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    logging.getLogger("omarl").propagate = False
    logging.getLogger("omarl").setLevel(logging.INFO)
    messages = Messages()
    logging.getLogger("omarl").addHandler(messages)
    work = Path(tempfile.mkdtemp(prefix="damaged-"))
    run = omarl.train("iql", env=ENV, path=work / "run", **KEYS).path
    other = omarl.train("iql", env=ENV, path=work / "other", **{**KEYS, "hidden_dim": 12, "seed": 2}).path
    steps = sorted(int(path.name) for path in run.glob("checkpoints/*"))
    commands: dict[str, Callable[[Path], Any]] = {"resume": resumed, "evaluate": evaluated}
    expected = {}
    for name, used in commands.items():
        shutil.copytree(run, work / name)
        shutil.rmtree(work / name / "checkpoints" / str(steps[-1]))  # the run was killed before its end
        expected[name] = used(work / name)
    rng, counts, odd = random.Random(asked.seed), Counter[tuple[str, str]](), []
    for number in range(asked.count):
        copy = work / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        shutil.rmtree(copy / "checkpoints" / str(steps[-1]))
        damage, command = DAMAGES[number % len(DAMAGES)], rng.choice(list(commands))
        text = damage(copy / "checkpoints" / str(steps[-2]), rng, other / "checkpoints" / str(steps[-2]))
        result, line = outcome(copy, commands[command], messages, expected[command])
        counts[damage.__name__, result] += 1
        print(f"{number:4} {command:8} {text:60} {result}: {line[:150]}", flush=True)
        if result in ("TRACEBACK", "SILENT", "several lines"):
            odd.append(f"- {command}, {text}: {result}: {line[:200]}")
    rows = [f"| {kind} | {result} | {n} |" for (kind, result), n in sorted(counts.items())]
    script = f"`python benchmarks/reliability/damaged_checkpoints.py --count {asked.count} --seed {asked.seed}`"
    head = ["| damage | outcome | times |", "|---|---|---|"]
    page = ["# Damaged checkpoints", "", f"{script} makes this table.", "", *head, *rows, "", *odd, ""]
    (HERE / "damaged_checkpoints.md").write_text("\n".join(page), encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
