"""Array environments: E copies of a game stepped by one compiled function, by the original package's rules.

Each is built from an instance of the original, whose settings it reads, and agrees with it transition by
transition (``tests/contracts/test_batched.py``). Only the random numbers of a new episode are its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# The original's class to ours, as text: neither is imported before it is asked for.
BATCHED = {
    "lbforaging.foraging.environment:ForagingEnv": ("foraging", "Foraging"),
    "mpe2.simple_tag.simple_tag:raw_env": ("particles", "Particles"),
    "mpe2.simple_spread.simple_spread:raw_env": ("particles", "Particles"),
}


def batched_game(original: Any) -> tuple[type | None, str]:
    """The class that steps copies of ``original`` at once, or None and the reason why there is none.

    Args:
        original: a single environment, unwrapped.
    """
    kind = type(original)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if name not in BATCHED:
        return None, "there is no array version of it"
    module, target = BATCHED[name]
    try:
        game = getattr(import_module(f".{module}", __name__), target)
    except ImportError as error:
        return None, f"{error.name} is not installed"
    unknown = game.unknown_setting(original)
    return (None, f"{unknown} is beyond its array version") if unknown else (game, "")
