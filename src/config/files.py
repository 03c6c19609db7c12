"""The YAML files of algorithms and environments, found by their names and read."""

import json
import os
import re
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from ..registry import suggest, warn_renamed
from ..types import ConfigError, PathLike

CONFIG_DIR = Path(__file__).parent
MOST_BYTES = 2 * 2**20  # of a configuration file
MOST_VALUES, MOST_LEVELS = 100_000, 50  # of its content, with every alias of YAML written out
MERGE = "tag:yaml.org,2002:merge"  # the key << of YAML, which brings a mapping's keys in
LONG_NAME = 60  # characters of an unusable path in a message
# Old names of configurations: old -> new. They work until the next release.
RENAMED_CONFIGURATIONS: dict[str, dict[str, str]] = {
    "algs": {"omg_categorical": "place_prediction", "omg_objects": "object_prediction"},
    "envs": {},
}


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-4 as a number and refuses a key that is set twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[Any] = set()
        for name, _ in node.value:
            key = None if name.tag == MERGE else self.construct_object(name, deep=True)
            if isinstance(key, Hashable) and key is not None:
                if key in names:
                    raise ConfigError(f"{self.name}: the key {key!r} is set twice")
                names.add(key)
        return super().construct_mapping(node, deep)

    def get_single_node(self) -> yaml.Node | None:
        """The document, which must not grow without limit by aliases."""
        root = super().get_single_node()
        if not is_small(root, _nodes_in):
            raise ConfigError(f"{self.name}: has more than {MOST_VALUES:,} values, or more than {MOST_LEVELS} levels")
        return root


def _nodes_in(node: yaml.Node) -> Iterable[Any]:
    values = node.value if isinstance(node, yaml.CollectionNode) else ()
    return (part for value in values for part in (value if isinstance(value, tuple) else (value,)))


def is_small(root: Any, parts_of: Callable[[Any], Iterable[Any]]) -> bool:
    """Whether a tree has at most ``MOST_VALUES`` values in ``MOST_LEVELS`` levels; shared parts count repeatedly."""
    count, rest = 0, [(root, 0)]
    while rest:
        value, level = rest.pop()
        count += 1
        if count > MOST_VALUES or level > MOST_LEVELS:
            return False
        rest.extend((part, level + 1) for part in parts_of(value))
    return True


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


def usable_path(path: PathLike, key: str) -> Path:
    """``path`` with the home folder for ``~``; ConfigError, which names ``key``, if it cannot be used."""
    try:
        usable = Path(path).expanduser()
        usable.exists()  # OSError: the name is too long, or may not be read
        if "\0" in os.fspath(usable).encode().decode():  # UnicodeEncodeError: a part of a character
            raise ValueError("null byte")
    except (OSError, ValueError, RuntimeError) as error:
        text = os.fspath(path)
        short = ascii(text if len(text) <= LONG_NAME else text[:LONG_NAME] + "...")
        reason = getattr(error, "strerror", None) or str(error).partition(",")[0]
        raise ConfigError(f"{key}: {short} cannot be used as a path ({reason})") from None
    return usable


def find(folder: str, name: str) -> Path:
    """The file of a configuration (folder "algs" or "envs"), given by its name or by a path."""
    usable_path(name, {"algs": "--config", "envs": "--env-config"}[folder])
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
    text = read_text(path)
    try:
        loader = _Loader(text)
        loader.name = str(path)
        values = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{where}: not valid YAML ({one_line(getattr(error, 'problem', None) or error)})"
        ) from None
    except (ValueError, TypeError, RecursionError) as error:  # of numbers, dates and deep lists
        raise ConfigError(f"{path}: not valid YAML ({one_line(error)})") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path}: a configuration file holds 'key: value' lines")
    return values


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; raises ConfigError, which names the file."""
    text = read_text(path)
    try:
        values = json.loads(text)
        json.dumps(values, ensure_ascii=False).encode()  # refuses texts that cannot be written
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged: not valid JSON ({one_line(error)})") from None
    if not isinstance(values, dict) or "\\u0000" in text:  # no text or path has a null character
        raise ConfigError(f"{path} is damaged: it holds no keys and values")
    if not is_small(values, _values_in):
        raise ConfigError(f"{path}: has more than {MOST_VALUES:,} values, or more than {MOST_LEVELS} levels")
    return values


def _values_in(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_text(path: Path) -> str:
    """The text of a configuration file; raises ConfigError if it cannot be read or is longer than any such file."""
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file")
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{path}: has more than {MOST_BYTES:,} bytes, so it is no configuration")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({one_line(error)})") from None


def one_line(error: object) -> str:
    """The text of an exception in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


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
