"""The command ``crossplay``: tests every run against every opponent of a pool, and draws the matrix."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import evaluation
from .analysis.comparison import find_runs, words
from .analysis.figures import draw_matrix
from .analysis.groups import name_of
from .config.keys import RunsKeys, TestKeys
from .config.schema import key, new_default, read
from .configuration.layers import COMMAND_LINE, complete, from_checkpoint
from .opponents.pool import read_pool
from .run import RunConfig, check_game
from .types import ConfigError
from .utils.checkpoints import last_checkpoints
from .utils.files import writable, write_files
from .utils.metrics import Logger


@dataclass(frozen=True)
class CrossplayConfig(RunsKeys, TestKeys):
    """Keys of the command ``crossplay``."""

    pool: str = new_default(TestKeys, "pool", "", "folder of a pool; where empty, each run's own")
    split: Literal["train", "validation", "test"] = new_default(TestKeys, "split", "test")
    what: Literal["return", "length", "success", "completed"] = key("return", help="the entries of the matrix")
    between: list[str] | str = key("", help="[LOW,HIGH]: names of the rows that become 0 and 1 for each opponent")
    episodes: int = key(64, low=1, help="about how many episodes each run plays with each opponent")
    out: str = new_default(RunsKeys, "out", "crossplay")


@dataclass(frozen=True)
class Matrix:
    """Means over runs of the same name."""

    rows: list[str]  # names of runs, their label or their algorithm
    columns: list[str]  # opponents, and ``all`` at the end
    values: NDArray[np.float64]  # [rows, columns]
    runs: list[int]  # how many runs are behind each row


def crossplay(config: CrossplayConfig, logger: Logger) -> tuple[Matrix, list[Path]]:
    """Tests every run and writes ``crossplay.csv``, ``crossplay.md`` and ``crossplay.png``.

    Raises:
        ConfigError: no run is named or found, a run has no pool, ``between`` names no two rows, or ``out`` takes no
            files: all before anything is played.
    """
    players, opponents = [], {}
    for run, folder in last_checkpoints(find_runs(words(config.runs)), "runs").items():
        values = values_of(run, folder, config)
        players.append((name_of(values, run), folder, values))
        opponents[run] = opponents_of(values)
    check_same_opponents(opponents)
    between = words(config.between)
    if between:
        check_between(between, [name for name, _, _ in players])  # before hours of play
    writable(Path(config.out), "out")
    lines: dict[str, list[dict[str, float]]] = {}
    for name, folder, values in players:
        tests = evaluation.tested(values, folder, logger).by_opponent
        line = {str(test["name"]): float(test[config.what]) for test in tests if test["of"] != "family"}
        lines.setdefault(name, []).append(line)
    matrix = matrix_of(lines)
    if between:
        matrix = normalised(matrix, between)
    return matrix, write(matrix, config)


def values_of(run: Path, folder: Path, config: CrossplayConfig) -> dict[str, Any]:
    """The configuration with which a run's checkpoint is tested.

    Raises:
        ConfigError: neither the run nor ``config`` has a pool.
    """
    layers = from_checkpoint(folder)
    here = {"split": config.split, "use_cuda": config.use_cuda, "checkpoint_path": str(folder), "evaluate": True}
    layers.add({**here, **({"pool": config.pool} if config.pool else {})}, COMMAND_LINE)
    values = complete(layers, RunConfig).values
    if not values["pool"]:
        raise ConfigError(f"runs: {run} was not trained against a pool; give pool=FOLDER, or leave it out")
    return {**values, "test_nepisode": config.episodes * len(read_pool(values["pool"]).split(config.split))}


def opponents_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a run's opponents. Raises ConfigError if they are of another environment."""
    config = read(RunConfig, values)
    pool = read_pool(config.pool)
    check_game(config, pool)
    return tuple(member.name for member in pool.split(config.split))


def check_same_opponents(opponents: Mapping[Path, tuple[str, ...]]) -> None:
    """Raises ConfigError where runs have different opponents."""
    first, *others = opponents.items()
    for run, names in others:
        if names != first[1]:
            raise ConfigError(f"runs: {first[0]} and {run} have different opponents; give one pool for all")


def matrix_of(lines: Mapping[str, Sequence[Mapping[str, float]]]) -> Matrix:
    """Means over the runs of each name, all of which were tested against the same opponents."""
    columns = list(next(iter(lines.values()))[0])
    values = [[float(np.mean([line[name] for line in group])) for name in columns] for group in lines.values()]
    return Matrix(list(lines), columns, np.array(values), [len(group) for group in lines.values()])


def check_between(between: Sequence[str], names: Iterable[str]) -> None:
    """Raises ConfigError where ``between`` does not name two rows."""
    rows = list(dict.fromkeys(names))
    if len(between) != 2 or any(name not in rows for name in between):
        raise ConfigError(f"between: give two of {', '.join(rows)}")


def normalised(matrix: Matrix, between: Sequence[str]) -> Matrix:
    """Scales each column so that one row is 0 and another is 1; NaN where the two are equal."""
    low, high = (matrix.values[matrix.rows.index(name)] for name in between)
    span = np.where(high == low, np.nan, high - low)
    return Matrix(matrix.rows, matrix.columns, (matrix.values - low) / span, matrix.runs)


def write(matrix: Matrix, config: CrossplayConfig) -> list[Path]:
    """Writes the matrix as tables and as a picture."""
    out = Path(config.out).expanduser()
    header = ["", "runs", *matrix.columns]
    rows = [[name, str(n), *(f"{value:.4g}" for value in line)]
            for name, n, line in zip(matrix.rows, matrix.runs, matrix.values.tolist(), strict=True)]  # fmt: skip
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))
    title = config.what + (f", {' = 0, '.join(words(config.between))} = 1" if config.between else "")
    page = f"{title}, {config.split} opponents\n\n{table}\n"
    files = write_files(out, {"crossplay.csv": text.getvalue(), "crossplay.md": page})
    return [*files, draw_matrix(matrix.values, matrix.rows, matrix.columns, title, out / "crossplay.png")]


def tabulated(config: CrossplayConfig, logger: Logger) -> str:
    """The command ``crossplay``: see ``crossplay``; returns what the console shows."""
    return format_matrix(*crossplay(config, logger))


def format_matrix(matrix: Matrix, files: Sequence[Path]) -> str:
    """The column ``all`` and the paths of the files, for the console."""
    everyone = matrix.values[:, -1].tolist()
    lines = [f"{name:24} {value:8.4g}  ({n} runs)"
             for name, value, n in zip(matrix.rows, everyone, matrix.runs, strict=True)]  # fmt: skip
    return "\n".join([*lines, *(f"written to {file}" for file in files)])
