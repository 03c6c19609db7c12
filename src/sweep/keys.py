"""The keys of ``sweep``, from its file and from the command line; all other keys are those of its runs."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ..analysis.comparison import words
from ..config.files import read_yaml, usable_path
from ..config.keys import OutputKeys
from ..config.schema import key, new_default
from ..configuration.layers import merge
from ..types import ConfigError

# of a run; the sweep sets them for each of its runs
SET_BY_SWEEP = {"seed": "give seeds=[...]", "local_results_path": "give out=FOLDER", "evaluate": "a sweep trains",
                "run": "a sweep resumes its runs by itself"}  # fmt: skip


@dataclass(frozen=True)
class SweepConfig(OutputKeys):
    """Keys of ``sweep``. In its file and after ``with``, the keys of the runs stand beside them."""

    sweep: str = key("", help="YAML file with these keys and those of the runs; the command line has priority")
    configs: list[str] | str = key(["omg_vae"], help="[names or paths of algorithms, as after --config]")
    envs: list[str] | str = key([], help="[names or paths of environments, as after --env-config]")
    seeds: int | list[int] = key(5, low=0, help="how many seeds of each setting, 1, 2, ...; or a list of seeds")
    grid: dict[str, Any] = key({}, help="lists of values: grid.lr=[0.001,0.0001]; every combination is run")
    cells: list[dict[str, Any]] = key([], help="keys of single cells: - {where: {config: qmix}, lr: 0.001}")
    keys: dict[str, Any] = key({}, help="keys of all runs that read them; they may also stand without `keys.`")
    jobs: int | Literal["auto"] = key("auto", low=1, help="runs at a time; auto: one for each core")
    engine: Literal["local", "ray"] = key("local", help="where runs are made; ray: as tasks of Ray")
    address: str = key("", help="of a Ray cluster, or auto; empty: this machine")
    search: dict[str, Any] = key({}, help="ranges: search.lr={'low': 1e-4, 'high': 1e-2, 'log': True}, or lists")
    trials: int = key(16, low=1, help="how many settings a search tries")
    objective: str = key("", help="the metric that a search improves, over its last tenth; empty: the test return")
    direction: Literal["maximize", "minimize"] = key("maximize", help="of the objective")
    prune: bool = key(False, help="stop trials whose return is below the median of the earlier ones")
    out: str = new_default(OutputKeys, "out", "", "folder of the runs; where empty, results/sweeps/NAME")


def gathered(updates: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``SweepConfig``'s keys: the file's, then ``updates``; the runs' keys are moved into ``keys``.

    Raises:
        ConfigError: the file cannot be read, or a key is one that the sweep sets.
    """
    values: dict[str, Any] = {}
    name = updates.get("sweep")
    layers = [updates]
    if isinstance(name, str) and name:
        layers.insert(0, nested(read_yaml(usable_path(name, "sweep"))))
    own = {spec.name for spec in fields(SweepConfig)}
    for layer in layers:
        merge(values, {name: value for name, value in layer.items() if name in own})
        merge(values.setdefault("keys", {}), {name: value for name, value in layer.items() if name not in own})
    for name, instead in SET_BY_SWEEP.items():
        if name in values["keys"]:
            raise ConfigError(f"{name}: not a key of a sweep; {instead}")
    if len(layers) == 2 and "cells" not in updates:
        values |= _cells_left(layers[0], values)
    return values


def _cells_left(file: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The file's ``cells``, without those about algorithms or environments that the command line leaves out."""
    cells = file.get("cells")
    if not isinstance(cells, list):
        return {}
    for axis, name in (("configs", "config"), ("envs", "env")):
        before, now = (_listed(given.get(axis, [])) for given in (file, values))
        left_out = [each for each in before if each not in now]
        cells = [cell for cell in cells if not _is_about(cell, name, left_out)]
    return {"cells": cells}


def _is_about(cell: Any, name: str, left_out: list[Any]) -> bool:
    """Whether an entry of ``cells`` is about nothing but values of ``name`` that are left out."""
    where = cell.get("where") if isinstance(cell, Mapping) else None
    wanted = _listed(where.get(name, [])) if isinstance(where, Mapping) else []
    return bool(wanted) and all(each in left_out for each in wanted)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else words(value) if isinstance(value, str) else [value]


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``, in the mappings below as well."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        inner = [nested(each) if isinstance(each, Mapping) else each for each in value] \
            if isinstance(value, list) else nested(value) if isinstance(value, Mapping) else value  # fmt: skip
        first, *rest = name.split(".")
        for part in reversed(rest):
            inner = {part: inner}
        merge(result, {first: inner})
    return result


def default_folder(config: SweepConfig, configs: list[str], envs: list[str]) -> Path:
    """The folder of a sweep without ``out``: named like its file, or like its algorithms and environments."""
    name = Path(config.sweep).stem if config.sweep else "_".join(Path(part).stem for part in [*configs, *envs])
    return Path("results") / "sweeps" / (name[:80] or "sweep")
