"""Names of code in files that the user did not write, such as a checkpoint's configuration: which are imported."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .. import registry
from ..types import ConfigError

# The packages of the environments that omarl is made for: any file may name these.
KNOWN_PACKAGES = ("gymnasium", "lbforaging", "mpe2", "pettingzoo", "rware")
WRAPPERS = re.compile(r"GymV\d+Environment")  # ids of Gymnasium that import the module that an argument names
ENV_KEY = "env_args.key"
CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def texts_in(value: Any) -> set[str]:
    """Every text in a value, in its mappings and in its lists."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        return {text for part in value for text in texts_in(part)}
    return {value} if isinstance(value, str) else set()


def module_of(key: str, name: Any, env: Any = "") -> str:
    """The module that would be imported for a name; "" if it is registered or needs none.

    Args:
        key: a key that names a part, ``game``, or ``env_args.key``.
        name: its value.
        env: the value of ``env``, for ``env_args.key``.
    """
    if not isinstance(name, str):
        return ""
    module, colon, _ = name.rpartition(":")
    if key == ENV_KEY and env == "pettingzoo" and not colon:
        return "" if "/" in name else name  # an id of PettingZoo's registry has a slash
    return module


@dataclass(frozen=True)
class Foreign:
    """A configuration that the user did not write.

    Attributes:
        file: its path.
        named: the names that the user gave, too.
        trusted: the user trusts all names in the file.
    """

    file: str
    named: Collection[str] = ()
    trusted: bool = False

    def check(self, key: str, name: Any, option: str = "trust", env: Any = "") -> None:
        """Checks that a name of the file may be imported. ``option``: the key to add to allow it.

        The working directory has no part in the import of a name that only the file gives.

        Raises:
            ConfigError: it names code outside omarl, and the user neither names nor trusts it.
        """
        if isinstance(name, str) and not name.isprintable():
            raise ConfigError(f"{key}: {self.file} names {name!r}, which is no name")
        if name in self.named:
            return
        module = module_of(key, name, env)
        # Classes and functions, too: some of the known packages import what an argument names
        wraps = key == ENV_KEY and bool(WRAPPERS.search(str(name)) or CLASS.fullmatch(str(name)))
        known = key == ENV_KEY and module.partition(".")[0] in ("", *KNOWN_PACKAGES) and not wraps
        if (module or wraps) and not known and not self.trusted:
            raise ConfigError(
                f"{key}: {self.file} names {name}; to import it, add {option}={name}, or trust=True to trust the file"
            )
        registry.only_in_files.add(module)
