"""Finds the game of an environment, and the parts of that game."""

import pkgutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..registry import load, suggest
from ..types import ConfigError, EnvInfo
from .game import Game, Part, declares_game
from .layout import Layout


@cache
def packaged() -> dict[str, type[Game]]:
    """The games of this folder by the name of their package, which defines ``GAME``."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.ispkg]
    return {name: import_module(f".{name}", __package__).GAME for name in names}


def game_named(game: Any) -> type[Game]:
    """A ``Game`` from itself, a package's name or 'package.module:Class'; raises ConfigError if there is none."""
    if isinstance(game, str):
        known = packaged()
        if ":" not in game and game not in known:
            raise ConfigError(f"game: unknown name {game!r}{suggest(game, list(known))}")
        game = known[game] if game in known else load(game, "game")
    if not declares_game(game):
        raise ConfigError(f"game: {game!r} is no subclass of omarl.games.game.Game")
    return game


def game_of(info: EnvInfo) -> type[Game] | None:
    """The game that ``info.game`` names, else the packaged game that declares ``info.key``; None: unknown.

    Joined observations of several steps are not laid out as games declare it.

    Raises:
        ConfigError: ``info.game`` names no game.
    """
    if info.frames > 1:
        return None
    if info.game:
        return game_named(info.game)
    declared = (game for game in packaged().values() if any(fnmatchcase(info.key, p) for p in game.environments))
    return next(declared, None)


def is_game(info: EnvInfo, name: str) -> bool:
    """Whether an environment's game is that of the package ``name`` of this folder, or derived from it."""
    game = game_of(info)
    return game is not None and issubclass(game, packaged()[name])


def layout_of(info: EnvInfo) -> Layout | None:
    """The layout of the state of an environment with all agents; None: unknown."""
    game = game_of(info)
    return None if game is None else game.layout(info)


def place_indices(info: EnvInfo, names: Sequence[str]) -> tuple[list[int], float]:
    """Indices in the state of the coordinates of the agents ``names``, two each, and ``Layout.near``.

    No indices and 0 if the layout is unknown.
    """
    layout = layout_of(info)
    if layout is None:
        return [], 0.0
    agents = [info.agents.index(name) for name in names]
    return layout.places[agents].flatten().tolist(), layout.near


def part_of(info: EnvInfo, name: str) -> Any:
    """One part (``scripts``, ``observer``, ``offsets``) of an environment's game.

    Raises:
        ConfigError: the game is unknown or has no such part, or a package that the part imports is missing.
    """
    game = game_of(info)
    part = getattr(game, name, "")
    if not part:
        known = ", ".join(package for package, game in packaged().items() if getattr(game, name))
        raise ConfigError(
            f"pool: no {name} known for {info.key} (known for {known}); trained opponents play anywhere: "
            "pool=FOLDER, or source=RUN"
        )
    return _loaded(part, name)


def _loaded(part: Part, what: str) -> Any:
    return load(part, what) if isinstance(part, str) else part


def batched_rules(original: Any) -> tuple[Any, str]:
    """The ``Batched`` class that steps copies of ``original``, an unwrapped environment; or None and the reason."""
    kind = type(original)
    name = f"{kind.__module__}:{kind.__qualname__}"
    game = next((game for game in packaged().values() if game.original == name), None)
    if game is None:
        return None, "it has no array version"
    try:
        rules = _loaded(game.batched, "backend")
    except ConfigError as error:
        return None, str(error)
    unknown = rules.unknown_setting(original)
    return (None, f"its array version does not support {unknown}") if unknown else (rules, "")
