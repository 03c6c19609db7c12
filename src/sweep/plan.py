"""The runs of a sweep: every combination of its grid, completely checked."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..analysis.comparison import words
from ..config.nesting import flat
from ..configuration.layers import complete_all, merge
from ..configuration.request import layered
from ..configuration.resumed import MAY_CHANGE
from ..run import RunConfig
from ..types import ConfigError
from ..utils.run_directory import base_directory
from .keys import SweepConfig, nested

SAME_RUN = MAY_CHANGE - {"t_max"} | {"local_results_path", "label"}  # keys that do not make another run
PLAIN = re.compile(r"[A-Za-z_*/~][\w./:*~-]*")  # texts that need no quotes after `with`


class Setting(NamedTuple):
    """One point of the grid."""

    config: str
    env: str  # "": the default environment
    values: dict[str, Any]  # dotted key -> value, of the keys that differ between settings


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        id: the name of the run's folder. It is the same whenever the same keys are given.
        config, env: as after ``--config`` and ``--env-config``; "": the default.
        seed: of the run.
        given: dotted key -> value, of the keys that the command line of the run sets.
        values: the complete configuration.
        run: the run's folder, absolute.
        setting: the keys in which the settings of the sweep differ, in words; may be empty.
    """

    id: str
    config: str
    env: str
    seed: int
    given: Mapping[str, Any]
    values: Mapping[str, Any]
    run: Path
    setting: str = ""

    @property
    def name(self) -> str:
        """The run in a few words."""
        return " ".join(filter(None, [self.cell, f"seed {self.seed}"]))

    @property
    def cell(self) -> str:
        """What the runs that differ in their seed only have in common, in a few words."""
        return " ".join(filter(None, [Path(self.config).stem, Path(self.env).stem, self.setting]))

    def command(self) -> list[str]:
        """The words after ``python main.py`` that start the run."""
        env = [f"--env-config={self.env}"] if self.env else []
        return [f"--config={self.config}", *env, "with", *(word(*pair) for pair in self.given.items())]


def settings_of(config: SweepConfig) -> list[Setting]:
    """Every point of the grid, in the order of the lists.

    Raises:
        ConfigError: the grid has an entry that is not a list of values, or a list is empty.
    """
    configs, envs = words(config.configs), words(config.envs)
    if not configs:
        raise ConfigError("configs: name at least one algorithm")
    axes = {}
    for name, values in flat(config.grid).items():
        values = words(values) if isinstance(values, str) and values[:1] == "[" else values
        if not isinstance(values, list) or not values:
            raise ConfigError(f"grid: {name}: {values!r} is not a list of values")
        axes[name] = values
    points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    return [Setting(c, e, point) for c, e, point in itertools.product(configs, envs or [""], points)]


def seeds_of(config: SweepConfig) -> list[int]:
    """The seeds of every setting."""
    seeds = list(range(1, config.seeds + 1)) if isinstance(config.seeds, int) else config.seeds
    if not seeds or len({*seeds}) < len(seeds):
        raise ConfigError(f"seeds: {config.seeds} has no seed, or one twice")
    return seeds


def jobs_of(config: SweepConfig, settings: Sequence[Setting], out: Path) -> list[Job]:
    """The runs of these settings, with every seed, in the sweep's folder ``out``.

    Raises:
        ConfigError: anything that cannot run; a key that no run reads; an entry of ``cells`` without a setting.
    """
    source = config.sweep or "sweep"
    given = []
    matched = [False] * len(config.cells)
    for setting in settings:
        keys: dict[str, Any] = deepcopy(config.keys)
        for i, cell in enumerate(config.cells):
            if matches(cell, setting):
                matched[i] = True
                merge(keys, {name: value for name, value in cell.items() if name != "where"})
        merge(keys, nested(setting.values))
        given.append(keys)
    if not all(matched):
        raise ConfigError(f"cells: no run matches {config.cells[matched.index(False)].get('where')} ({source})")
    kept = [(s, keys) for s, keys in zip(settings, given, strict=True) if keys.pop("skip", False) is not True]
    if not kept:
        raise ConfigError(f"cells: every run is skipped ({source})")
    cases = [(setting, keys, seed) for setting, keys in kept for seed in seeds_of(config)]
    layers = [
        layered({**keys, "seed": seed, "local_results_path": str(out)}, setting.config, setting.env or None, source)
        for setting, keys, seed in cases
    ]
    full = complete_all(layers, RunConfig)
    jobs = []
    for (setting, keys, seed), complete in zip(cases, full, strict=True):
        read = {name: value for name, value in keys.items() if name in complete.values or name in complete.renamed}
        user = {name: complete.values[name] for name in complete.by_user - SAME_RUN if name in complete.values}
        jobs.append(job_of(setting, seed, read, user, complete.values, out))
    return list({job.id + str(job.run): job for job in jobs}.values())  # settings may differ in an unread key only


def job_of(
    setting: Setting, seed: int, keys: dict[str, Any], user: dict[str, Any], values: dict[str, Any], out: Path
) -> Job:
    """A run, whose folder is named after its seed and a hash of all that the user has set."""
    content = json.dumps([setting.config, setting.env, user], sort_keys=True, default=str)
    name = f"seed{seed}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    differing = {key: value for key, value in setting.values.items() if key.partition(".")[0] in keys}
    text = " ".join(f"{key}={shown(value)}" for key, value in differing.items())
    label = " ".join(filter(None, [Path(setting.config).stem, text]))
    given = {"seed": seed, **flat(keys), "local_results_path": str(out)}
    if "label" not in given and label != values["name"]:  # compare and report group runs by it
        given["label"] = label
        values = {**values, "label": label}
    run = base_directory(values).absolute() / name
    return Job(name, setting.config, setting.env, seed, given, values, run, text)


def matches(cell: Mapping[str, Any], setting: Setting) -> bool:
    """Whether an entry of ``cells`` is about a setting.

    Raises:
        ConfigError: ``where`` is missing, or names something that is no part of the grid.
    """
    where = cell.get("where")
    if not isinstance(where, Mapping) or not where:
        raise ConfigError("cells: an entry needs where: {config: ..., env: ..., or a key of the grid}")
    known = {"config": setting.config, "env": setting.env, **setting.values}
    for name, wanted in flat(where).items():
        if name not in known:
            raise ConfigError(f"cells: where: {name}: known are {', '.join(known)}")
        if known[name] not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def shown(value: Any) -> str:
    """A value in a few characters."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def word(name: str, value: Any) -> str:
    """``KEY=VALUE`` as Sacred reads it."""
    plain = isinstance(value, str) and PLAIN.fullmatch(value) and value not in ("True", "False", "None")
    return f"{name}={value if plain else repr(value)}"


def by_cell(jobs: Sequence[Job]) -> Iterator[tuple[str, list[Job]]]:
    """The runs that differ in their seed only, in order."""
    cells: dict[str, list[Job]] = {}
    for job in jobs:
        cells.setdefault(job.cell, []).append(job)
    return iter(cells.items())
