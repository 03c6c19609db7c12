"""The complete configuration of each team of a run with ``teams``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.provenance import CLASS
from ..config.schema import read
from ..controllers.team_controller import TeamKeys, team_name
from ..run import RunConfig
from ..types import ConfigError
from ..utils.checkpoints import find_checkpoint
from ..utils.run_directory import env_label
from .layers import complete, from_checkpoint, from_files


def with_teams(values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with an entry for each team instead of a name or a path.

    A name, or the path of a YAML file, gives the configuration of a team that learns; the folder of a run or of a
    checkpoint gives a frozen one. Entries of a checkpoint remain. Classes in the user's own files are trusted.

    Raises:
        ConfigError: there is no such configuration or checkpoint, or the checkpoint is of another environment.
    """
    teams = values.get("teams")
    if not teams:
        return dict(values)
    entries, named = {}, set()
    for pattern, given in teams.items():
        if isinstance(given, Mapping):
            entries[pattern] = dict(given)
        elif not isinstance(given, str):
            raise ConfigError(f"teams: {pattern}: {given!r} is neither an algorithm nor the folder of a run")
        elif Path(given).expanduser().is_dir():
            entries[pattern] = _frozen(pattern, given, env_label(values))
        else:
            layers = from_files(given, None)
            named |= {text for text in layers.named if CLASS.fullmatch(text)}
            entries[pattern] = {"frozen": "", "plays_all": False, "config": complete(layers, RunConfig).values}
    trust = read(TeamKeys, values).trust
    if trust is not True and named:
        trust = sorted({*named, *([trust] if isinstance(trust, str) else trust or [])})
    return {**values, "teams": entries, "trust": trust}


def _frozen(pattern: str, path: str, label: str) -> dict[str, Any]:
    """The entry of a team that a checkpoint plays: one of its teams, or the agents that it trained together."""
    folder = find_checkpoint(path, key="teams")
    config = from_checkpoint(folder).values
    if env_label(config) != label:
        raise ConfigError(f"teams: {path} was trained in {env_label(config)}, and this run is in {label}")
    if not config.get("teams"):
        if config.get("pool"):
            raise ConfigError(f"teams: {path} was trained against a pool; give a run that trained all its agents")
        return {"frozen": str(folder.resolve()), "plays_all": True, "config": config}
    if pattern not in config["teams"]:
        raise ConfigError(f"teams: {path} has the teams {', '.join(config['teams'])}, not {pattern}")
    entry = config["teams"][pattern]
    return {**entry, "frozen": str(folder.resolve() / team_name(pattern))}
