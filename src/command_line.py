"""Reads the words of a command line: ``[COMMAND] [OPTIONS] [with KEY=VALUE ...]``.

Sacred reads them, too. It answers a mistake with its whole usage or ignores it; here a mistake gets one line.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from sacred.arg_parser import get_config_updates
from sacred.experiment import gather_command_line_options

from .config.files import packaged
from .configuration.layers import Layers
from .registry import REGISTRY, suggest
from .types import ConfigError

# each with what it names and the folder of its files; the other options are Sacred's
OPTIONS = {"--config": ("algorithm", "algs"), "--env-config": ("environment", "envs")}
SACRED_COMMANDS = ("help", "print_config", "print_dependencies", "print_named_configs", "save_config")


def options_help() -> str:
    """The lines of ``OPTIONS`` in the usage, with the names of the packaged configurations."""
    lines = []
    for option, (named, folder) in OPTIONS.items():
        text = f"The {named}: a YAML file, or one of {', '.join(packaged(folder))}."
        body = textwrap.wrap(text, 48, break_on_hyphens=False, break_long_words=False)
        head = f"  {option}=NAME|PATH"
        lines += [f"{head:30}  {body[0]}", *(f"{'':32}{line}" for line in body[1:])]
    return "\n".join(lines) + "\n"


def take_option(argv: list[str], option: str) -> str | None:
    """Takes ``--option=VALUE`` or ``--option VALUE`` out of ``argv``.

    Raises:
        ConfigError: the value is missing, or the option is given twice.
    """
    places = [i for i, word in enumerate(argv) if word == option or word.startswith(option + "=")]
    if not places:
        return None
    if len(places) > 1:
        raise ConfigError(f"{option}: given twice")
    (i,) = places
    _, attached, value = argv[i].partition("=")
    if not attached:
        value = "".join(argv[i + 1 : i + 2])
        del argv[i + 1 : i + 2]
    del argv[i]
    if not value:
        raise ConfigError(f"{option}: a name or a path is missing")
    return value


def commands_in(argv: Sequence[str], ours: Sequence[str]) -> list[str]:
    """The command, or ``help`` and the command that it is about; ``train`` by default.

    ``argv`` has the program's name first, without the options of ``OPTIONS``; ``ours`` are the commands besides
    Sacred's.

    Raises:
        ConfigError: an option or a command that does not exist, or a setting before ``with``.
    """
    before = argv[1 : list(argv).index("with")] if "with" in argv else argv[1:]
    known = [*ours, *SACRED_COMMANDS]
    named = _without_options(before)
    for word in named:
        if "=" in word:
            raise ConfigError(f"{word}: settings come after `with`: with {word}")
        if word not in known:
            raise ConfigError(f"{word}: no such command{suggest(word, known)}")
    if named == ["help", "help"]:
        raise ConfigError("help: name another command, or none")
    if len(named) > (2 if named[:1] == ["help"] else 1):
        raise ConfigError(f"{named[1]}: only one command can be given")
    return named or ["train"]


def _without_options(words: Sequence[str]) -> list[str]:
    """``words`` without Sacred's options and their values."""
    takes_value = {flag: bool(o.arg) for o in gather_command_line_options() for flag in o.get_flags()}
    left = []
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name, attached, _ = word.partition("=")
            meant = next((flag for flag in takes_value if flag.startswith(name)), "")  # may be abbreviated
            if not meant:
                raise ConfigError(f"{name}: no such option{suggest(name, [*OPTIONS, *takes_value])}")
            if takes_value[meant] and not attached:
                next(rest, None)
        elif word.startswith("-"):
            for i, letter in enumerate(word[1:], start=2):  # -uc VALUE is -u -c VALUE
                if f"-{letter}" not in takes_value:
                    raise ConfigError(f"-{letter}: no such option{suggest(f'-{letter}', list(takes_value))}")
                if takes_value[f"-{letter}"]:
                    if i == len(word):
                        next(rest, None)
                    break
        else:
            left.append(word)
    return left


def updates_of(argv: Sequence[str]) -> dict[str, Any]:
    """The settings after ``with``, as Sacred reads them."""
    if "with" not in argv:
        return {}
    words = list(argv[list(argv).index("with") + 1 :])
    try:
        updates, named = get_config_updates(words)
    except TypeError:  # from Sacred, for a=1 a.b=2
        raise ConfigError("with: a key is given both a value and keys below it (a=1 a.b=2)") from None
    if named:
        raise ConfigError(f"with: {named[0]!r} is not KEY=VALUE")
    return updates


def use_new_names(argv: list[str], layers: Layers) -> None:
    """Replaces old names of keys and parts after ``with``, so that Sacred records the new ones."""
    start = argv.index("with") + 1 if "with" in argv else len(argv)
    for i, word in enumerate(argv[start:], start):
        name, _, value = word.partition("=")
        key, dot, rest = name.partition(".")
        if key in layers.renamed:
            new = layers.renamed[key]
            argv[i] = f"{new}{dot}{rest}={layers.values[new] if new == key or new in REGISTRY else value}"
