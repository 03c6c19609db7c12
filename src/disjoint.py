"""The components of a pool's opponents, and those that occur in more than one split.

Opponents of different names may be almost the same: two scripts with the same predators, a script with and without
noise, two checkpoints of one training run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .config.files import read_json
from .configuration.layers import OF_THAT_RUN
from .configuration.resumed import MAY_CHANGE
from .games.game import Scripts
from .opponents.pool import CONFIG, Member, Pool, inside
from .types import ConfigError

# keys that do not change what a run learns: two runs that differ in these alone count as one
IGNORED = {*MAY_CHANGE, *OF_THAT_RUN, "label", "test_interval", "test_nepisode", "split", "save_model", "use_cuda",
           "buffer_cpu_only", "runner_log_interval", "learner_log_interval"}  # fmt: skip
PAIRS = (("test", "train"), ("test", "validation"), ("validation", "train"))
NAMED = 4  # the most names of a list in a line


class Overlap(NamedTuple):
    """Opponents of one split that share components with opponents of another split."""

    split: str
    other: str
    shared: dict[Member, tuple[str, ...]]  # those opponents of ``split``, with their components that ``other`` has
    size: int  # the number of opponents of ``split``

    @property
    def components(self) -> tuple[str, ...]:
        """The components that occur in both splits."""
        return tuple(dict.fromkeys(part for parts in self.shared.values() for part in parts))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the command ``pool`` that name these opponents."""
        kinds = {"scripts" if member.kind == "scripted" else "runs" for member in self.shared}
        return tuple(f"{self.split}_{kind}" for kind in sorted(kinds, reverse=True))

    def __str__(self) -> str:
        which = _listed([member.name for member in self.shared])
        return (f"{len(self.shared)} of {self.size} {self.split} opponents share components with {self.other} "
                f"opponents: {which} ({_listed(self.components)})")  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    """The first names of a list, and the number of the others."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def run_of(config: Mapping[str, Any]) -> str:
    """A name of the training run with this configuration, which all its checkpoints share."""
    learned = {name: value for name, value in config.items() if name not in IGNORED}
    digest = hashlib.sha256(json.dumps(learned, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return " ".join(f"{config.get('name', 'run')} seed {config.get('seed')} {digest}".split())


def components_of(pool: Pool, scripts: type[Scripts] | None) -> dict[Member, tuple[str, ...]]:
    """The components of each opponent: those that its game's ``scripts`` name, or its training run.

    ``scripts`` may be None if no opponent is scripted. The run of a checkpoint in an older pool, whose manifest has
    none, is computed from the configuration beside it.
    """
    found = {}
    for member in pool.members:
        if member.kind == "scripted":
            assert scripts is not None
            found[member] = tuple(dict.fromkeys(scripts.components(member.script)))
        else:
            file = str(Path(member.file).with_name(CONFIG))
            found[member] = (f"run {member.run or run_of(read_json(inside(pool.folder, file)))}",)
    return found


def overlaps(components: Mapping[Member, tuple[str, ...]]) -> list[Overlap]:
    """Each pair of splits that share components, from the components of all opponents of a pool."""
    found = []
    for split, other in PAIRS:
        known = {part for member, parts in components.items() if member.split == other for part in parts}
        mine = {member: parts for member, parts in components.items() if member.split == split}
        shared = {member: tuple(part for part in parts if part in known) for member, parts in mine.items()}
        shared = {member: parts for member, parts in shared.items() if parts}
        found += [Overlap(split, other, shared, len(mine))] if shared else []
    return found


def check_disjoint(found: Sequence[Overlap]) -> None:
    """Raises ConfigError if splits share components; it names the keys to change."""
    if found:
        raise ConfigError(f"disjoint: {found[0]}; change {' and '.join(found[0].keys)}, or leave disjoint out")
