"""The YAML files of algorithms and environments, found by their names and read."""

import re
from pathlib import Path
from typing import Any

import yaml

from ..registry import suggest, warn_renamed
from ..types import ConfigError

CONFIG_DIR = Path(__file__).parent
MERGE = "tag:yaml.org,2002:merge"  # the key << of YAML, which brings a mapping's keys in
# Old names of configurations: old -> new. They work until the next release.
RENAMED_CONFIGURATIONS: dict[str, dict[str, str]] = {
    "algs": {"omg_categorical": "place_prediction", "omg_objects": "object_prediction"},
    "envs": {},
}


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-4 as a number and refuses a key that is set twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(name, deep=True) for name, _ in node.value if name.tag != MERGE]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{self.name}: the key {name!r} is set twice")
        return super().construct_mapping(node, deep)


# YAML 1.1 requires a dot in a float: without this rule, `vae_lr: 1e-4` is the string "1e-4".
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.[\d_]*)?|\.[\d_]+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def packaged(folder: str) -> list[str]:
    """The names of our configurations of algorithms (folder "algs") or environments (folder "envs").

    Files whose names begin with an underscore are bases that others extend.
    """
    return sorted(path.stem for path in (CONFIG_DIR / folder).glob("[!_]*.yaml"))


def find(folder: str, name: str) -> Path:
    """The file of a configuration (folder "algs" or "envs"), given by its name or by a path."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"no configuration file {name}")
        return path
    option = {"algs": "--config", "envs": "--env-config"}[folder]
    if new := RENAMED_CONFIGURATIONS[folder].get(name):
        warn_renamed(name, new, option)
        name = new
    path = CONFIG_DIR / folder / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"{option}={name}: no such configuration{suggest(name, packaged(folder))}")
    return path


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; raises ConfigError, which names the file and, if YAML knows it, the line."""
    try:
        with path.open(encoding="utf-8") as stream:
            values = yaml.load(stream, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', error)})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path}: a configuration file holds 'key: value' lines")
    return values


def read_chain(folder: str, name: str, after: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """A file, after the files that it ``extends``. These are named, or given by a path relative to the file.

    Raises:
        ConfigError: a file is missing, damaged, or extends itself.
    """
    path = find(folder, name)
    if path.resolve() in after:
        raise ConfigError(f"{path}: extends itself")
    values = read_yaml(path)
    general = values.pop("extends", None)
    if general is None:
        return [(path, values)]
    if not isinstance(general, str):
        raise ConfigError(f"{path}: extends: give the name or the path of one configuration")
    if general.endswith((".yaml", ".yml")):
        general = str(path.parent / general)
    try:
        find(folder, general)
    except ConfigError as error:
        raise ConfigError(f"{path}: extends: {error}") from None
    return [*read_chain(folder, general, (*after, path.resolve())), (path, values)]
