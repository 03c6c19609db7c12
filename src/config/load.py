"""Layers of configuration: default.yaml < envs/*.yaml < algs/*.yaml < the command line's ``with``.

A checkpoint's own config.json stands in for the YAML files where a run is evaluated or resumed.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ..registry import current_name, suggest, warn_renamed
from ..types import ConfigError
from .schema import Schema, collect, owners_elsewhere

log = logging.getLogger(__name__)

CONFIG_DIR = Path(__file__).parent
COMMAND_LINE = "command line"
STORED = "config.json"  # the configuration of a checkpoint
SACRED_KEYS = {"__doc__", "seed"}
HOSTS_KEYS = {"optim_alpha"}  # of PyMARL's users; accepted in every run, whatever its optimisers read
# Old names of configurations: old -> new. They work until the next release.
RENAMED_CONFIGURATIONS: dict[str, dict[str, str]] = {"algs": {}, "envs": {}}
MERGE = "tag:yaml.org,2002:merge"  # the key << of YAML, which brings a mapping's keys in


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number, as everybody writes it, and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(name, deep=True) for name, _ in node.value if name.tag != MERGE]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{self.name}: the key {name!r} stands twice")
        return super().construct_mapping(node, deep)


# YAML 1.1 asks for a dot in a float: without this, `vae_lr: 1e-4` would be the text "1e-4".
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.[\d_]*)?|\.[\d_]+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


@dataclass
class Layers:
    """Configuration with the place where each top-level key was set last.

    Attributes:
        values: of every key.
        source: where each was set, in the order in which they were set.
        by_user: the keys that the user has set, on the command line or in a file of their own.
        renamed: old -> new names of keys that were given by an old name. A key whose value was the old name of a
            part is listed with itself.
    """

    values: dict[str, Any] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    by_user: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)

    def add(self, values: Mapping[str, Any], source: str, by_user: bool = False) -> None:
        """Lays ``values`` on top; mappings merge, everything else replaces.

        Another environment does not inherit the arguments of the one below: ``max_cycles`` may mean nothing to it.
        """
        arguments = values.get("env_args")
        if "env" in values or (isinstance(arguments, Mapping) and "key" in arguments):
            self.values.pop("env_args", None)
        merge(self.values, values)
        for name in values:
            self.source.pop(name, None)
            self.source[name] = source
        self.by_user = self.by_user | set(values) if by_user else self.by_user - set(values)


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Recursive update of ``into``; the values are copied."""
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = deepcopy(dict(value) if isinstance(value, Mapping) else value)


def packaged(folder: str) -> list[str]:
    """The names of our configurations of algorithms (folder "algs") or environments (folder "envs").

    Files whose names begin with an underscore are bases that others extend.
    """
    return sorted(path.stem for path in (CONFIG_DIR / folder).glob("[!_]*.yaml"))


def find(folder: str, name: str) -> Path:
    """The file behind ``--config`` (folder "algs") or ``--env-config`` (folder "envs"): a name or a path."""
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
    """A YAML file's mapping.

    Raises:
        ConfigError: naming the file, and the line where YAML knows it.
    """
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
    """A file, and before it those that it ``extends``: the name of one of ours, or a path as seen from the file.

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


def from_files(config: str, env_config: str | None) -> Layers:
    """default.yaml < the environment's file, if any < the algorithm's file, each after what it ``extends``."""
    layers = Layers()
    files = [(CONFIG_DIR / "default.yaml", read_yaml(CONFIG_DIR / "default.yaml"))]
    environment = read_chain("envs", env_config) if env_config else []
    for path, values in [*files, *environment, *read_chain("algs", config)]:
        ours = path.is_relative_to(CONFIG_DIR)
        layers.add(values, path.name if ours else str(path), by_user=not ours)
    return layers


def from_checkpoint(path: Path) -> Layers:
    """default.yaml < the configuration that a checkpoint was made with."""
    layers = Layers()
    layers.add(read_yaml(CONFIG_DIR / "default.yaml"), "default.yaml")
    file = path / STORED
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({error}): the checkpoint is not whole") from None
    # where that run began is not where this one begins
    layers.add({k: v for k, v in stored.items() if k not in ("checkpoint_path", "load_step", "evaluate")}, str(file))
    return layers


def complete(layers: Layers, root: type, read_elsewhere: Collection[str] = ()) -> Layers:
    """Checks every key and value against what the run will read, and fills in the defaults of the rest.

    Args:
        layers: all of them, the command line's included.
        root: the dataclass of the run's own keys.
        read_elsewhere: keys that other runs of the same sweep read.

    Raises:
        ConfigError: one line naming the key, where it was set, and the nearest valid key.
    """
    schema = collect(root, layers.values)
    given = _with_new_names(layers, schema)
    full = Layers(schema.defaults(), dict(given.source), set(given.by_user), given.renamed)
    unknown = []
    for name, value in given.values.items():
        source = given.source[name]
        if name in schema.declarations:
            full.values[name] = checked = _checked(schema, name, value, source)
            if checked != value and isinstance(value, str) and isinstance(checked, str):
                full.renamed[name] = name
        elif name in SACRED_KEYS:  # a seed means nothing to a command without that key, but Sacred reads it
            if name == "seed" and (not isinstance(value, int) or isinstance(value, bool)):
                raise ConfigError(f"seed: {value!r} is not a whole number ({source})")
            full.values[name] = value
        elif source.endswith(STORED):
            unknown += [] if owners_elsewhere(name) else [name]
        elif name not in read_elsewhere and _is_refused(name, name in given.by_user, schema):
            raise ConfigError(_unknown(name, source, [*schema.declarations, *read_elsewhere]))
        elif schema.undeclared or name in HOSTS_KEYS:
            full.values[name] = value
    if unknown:
        log.warning("This version does not know these keys of the checkpoint: %s", ", ".join(unknown))
    return full


def complete_all(several: Sequence[Layers], root: type) -> list[Layers]:
    """``complete`` for the runs of a sweep: the user may set a key that only some of them read.

    Raises:
        ConfigError: see ``complete``; a key that the user has set is refused where none of the runs reads it.
    """
    known = {name for layers in several for name in collect(root, layers.values).declarations}
    return [complete(layers, root, known) for layers in several]


def _with_new_names(layers: Layers, schema: Schema) -> Layers:
    """The layers with old names of keys replaced. Where old and new name are given, the later layer wins."""
    found = Layers(dict(layers.values), dict(layers.source), set(layers.by_user))
    order = list(layers.source)
    for old, new in schema.renamed.items():
        source = layers.source.get(old, "")
        if old in schema.declarations or not (old in layers.by_user or source.endswith(STORED)):
            continue  # it is a key of another part of the run, or a file of ours sets it for a part not in use
        if layers.source.get(new) == source and old in layers.by_user:
            raise ConfigError(f"{old}: the old name of {new}, which is set as well; keep {new} ({source})")
        warn_renamed(old, new, source)
        found.renamed[old] = new
        value = found.values.pop(old)
        del found.source[old]
        found.by_user.discard(old)
        if new not in order or order.index(new) < order.index(old):
            found.values[new], found.source[new] = value, source
            found.by_user = found.by_user | {new} if old in layers.by_user else found.by_user - {new}
    return found


def _checked(schema: Schema, name: str, value: Any, source: str) -> Any:
    for declaration in schema.declarations[name]:
        try:
            value = declaration.check(value)
        except ConfigError as error:
            raise ConfigError(f"{error} ({source})") from None
        value = current_name(declaration.spec.metadata["component"], value)
    return value


def _is_refused(name: str, by_user: bool, schema: Schema) -> bool:
    """Whether a key that no part of the run declares is an error.

    It is accepted where a part from outside declares no keys, because it may be that part's. It is also accepted
    where a file of ours sets it for a part that the user has replaced.
    """
    if name in HOSTS_KEYS:
        return False
    if owners_elsewhere(name):
        return by_user and not schema.undeclared
    return not schema.undeclared or bool(get_close_matches(name, schema.declarations, n=1, cutoff=0.85))


def _unknown(name: str, source: str, known: Sequence[str]) -> str:
    elsewhere = owners_elsewhere(name)
    if elsewhere:
        return f"{name}: no part of this run reads it; it is a key of {', '.join(elsewhere)} ({source})"
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; help COMMAND lists the keys"
    return f"{name}: unknown key{hint} ({source})"
