"""What the loggers share: the name of a run, its identity after an interruption, its metrics by step."""

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..utils.run_directory import env_label, write_json

FILE = "observers.json"  # in the run's folder: logger -> the id that it gave to the run


def group_of(config: Mapping[str, Any]) -> str:
    """What the seeds of one algorithm on one environment have in common."""
    return f"{config.get('label') or config['name']} on {env_label(config)}"


def title_of(config: Mapping[str, Any]) -> str:
    """The name of a run."""
    return f"{group_of(config)}, seed {config['seed']}"


def known_id(folder: Path, logger: str) -> str | None:
    """The id that a logger gave to this run before it was interrupted; None for a new run."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / FILE).read_text(encoding="utf-8"))[logger])
    return None


def store_id(folder: Path, logger: str, name: str) -> None:
    """Stores the id for ``known_id``."""
    ids: dict[str, str] = {}
    with suppress(OSError, ValueError):
        ids = json.loads((folder / FILE).read_text(encoding="utf-8"))
    write_json(folder / FILE, {**ids, logger: name})


def by_step(metrics_by_name: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Sacred's metrics of one heartbeat as step -> name -> value, in the order of the steps."""
    rows: dict[int, dict[str, float]] = defaultdict(dict)
    for name, new in metrics_by_name.items():
        for step, value in zip(new["steps"], new["values"], strict=True):
            rows[int(step)][name] = float(value)
    return dict(sorted(rows.items()))
