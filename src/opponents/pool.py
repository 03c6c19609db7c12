"""A pool of opponents: a folder with the manifest ``pool.yaml`` and the files that it names.

env: gymnasium
env_args: {key: lbforaging:Foraging-8x8-2p-3f-v3}
prior: prior.th                         # optional: the subgoal prior, frozen
opponents:
  - {name: nearest, family: script, kind: scripted, script: nearest, noise: 0.0, split: train, made: ...}
  - {name: iql_1, family: iql, kind: checkpoint, file: iql_1/agent.th, sha256: ..., config_sha256: ..., split: test,
     made: ...}

A pool may come from other people: its files must be inside its folder, and its members' configurations name code that
is imported only if ``trust`` permits it (``config/provenance.py``).
"""

import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..config.files import read_yaml, usable_path
from ..types import ConfigError

log = logging.getLogger(__name__)

MANIFEST = "pool.yaml"
AGENTS, CONFIG = "agent.th", "config.json"  # the files of a member
MOST_BYTES = 2**31  # of one file
MOST_LETTERS = 200  # of a path
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Member:
    """One joint opponent."""

    name: str  # unique in its pool
    family: str  # groups results: ``script``, or the algorithm that trained the opponent
    kind: str  # ``scripted`` | ``checkpoint``
    split: str  # ``train`` | ``validation`` | ``test``
    made: str = ""  # how the opponent was made, in words
    # script, noise: of a scripted one; see the ``scripts`` of its game
    script: str = ""
    noise: float = 0.0
    # file, sha256: path, relative to the pool, and digest of a checkpoint's ``agent.th``, next to ``config.json``
    file: str = ""
    sha256: str = ""
    config_sha256: str = ""  # digest of ``config.json``; empty in pools of omarl 0.1
    run: str = ""  # the training run of a checkpoint, see ``disjoint.run_of``; empty in older pools

    def __post_init__(self) -> None:
        texts = {name: value for name, value in vars(self).items() if name != "noise"}
        for name, value in texts.items():
            if not isinstance(value, str) or not value.isprintable():
                raise ValueError(f"{name}: {value!r} is not a text in one line")

    @property
    def content(self) -> str:
        """A text that is equal for two members with the same behaviour."""
        return self.sha256 or f"{self.script} {self.noise:g}"


@dataclass(frozen=True)
class Pool:
    """The content of a manifest."""

    folder: Path
    env: str
    env_args: dict[str, Any]
    members: tuple[Member, ...]
    prior: str = ""
    trust: bool | Collection[str] = False  # names of code that its members may import; see ``Foreign``

    def split(self, name: str) -> tuple[Member, ...]:
        """The members of one split; raises ConfigError if it is empty."""
        members = tuple(member for member in self.members if member.split == name)
        if not members:
            raise ConfigError(f"split: {self.folder} has no opponent for {name!r}")
        return members

    @property
    def prior_file(self) -> Path | None:
        """The file of the subgoal prior; None: the pool has none."""
        return self.folder / self.prior if self.prior else None


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def inside(folder: Path, name: str) -> Path:
    """The file ``name`` of ``folder``, with all symbolic links resolved.

    Raises:
        ConfigError: it is missing, outside the folder, not a file, or larger than any file of a pool.
    """
    if not name.isprintable() or len(name) > MOST_LETTERS:
        raise ConfigError(f"{name[:MOST_LETTERS]!r} is no path of a file")
    file = (folder / name).resolve()
    if Path(name).is_absolute() or ".." in Path(name).parts or not file.is_relative_to(folder.resolve()):
        raise ConfigError(f"{name} is outside {folder}")
    if not file.is_file():
        raise ConfigError(f"{name} is missing")
    if file.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{name} has more than {MOST_BYTES:,} bytes")
    return file


def read_pool(path: str | Path, trust: bool | str | Collection[str] = False) -> Pool:
    """Reads the pool in the folder ``path``, which may also be the manifest.

    Args:
        path: the folder.
        trust: the names of code that members may import; True: all.

    Raises:
        ConfigError: the manifest is missing or damaged, or an opponent is in two splits.
    """
    manifest = usable_path(path, "pool")
    manifest = manifest / MANIFEST if manifest.is_dir() else manifest
    try:
        manifest.open().close()
        content = read_yaml(manifest)
        members = tuple(
            Member(**{**entry, "noise": float(entry.get("noise", 0.0))}) for entry in content["opponents"]
        )
        env, prior = str(content["env"]), str(content.get("prior") or "")
        names = trust if isinstance(trust, bool) else (trust,) if isinstance(trust, str) else trust
        pool = Pool(manifest.parent, env, dict(content["env_args"]), members, prior, names)
    except OSError as error:
        raise ConfigError(
            f"pool: {manifest} cannot be read ({error.strerror}); give its folder as pool=FOLDER, or make one "
            "with `main.py pool`"
        ) from None
    except (ConfigError, TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).removeprefix(f"{manifest}: ").split())
        raise ConfigError(f"pool: {manifest} is not the manifest of a pool ({reason})") from None
    check(pool, manifest)
    return pool


def check(pool: Pool, manifest: Path) -> None:
    """Checks members and files of a pool; ConfigError names the manifest, the opponent and its fault."""
    if pool.prior:
        _checked(f"pool: {manifest}: prior", pool.folder, pool.prior)
    first_by_content: dict[str, Member] = {}
    names: set[str] = set()
    for member in pool.members:
        where = f"pool: {manifest}: {member.name}"
        if member.name in names:
            raise ConfigError(f"pool: {manifest}: two opponents are called {member.name!r}")
        names.add(member.name)
        if not 0.0 <= member.noise <= 1.0:
            raise ConfigError(f"{where}: noise {member.noise:g} is not between 0 and 1")
        if member.split not in SPLITS or member.kind not in ("scripted", "checkpoint"):
            raise ConfigError(f"{where}: unknown split or kind")
        if member.kind == "checkpoint":
            _check_files(where, pool.folder, member)
        twin = first_by_content.setdefault(member.content, member)
        if twin.split != member.split:
            same = f"{where} ({member.split}) plays the same as {twin.name} ({twin.split})"
            raise ConfigError(f"{same}: an opponent must be in one split only")


def _checked(where: str, folder: Path, name: str, sha256: str = "") -> None:
    """Checks a file of a pool, with its digest if that is known."""
    try:
        file = inside(folder, name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if sha256 and digest(file) != sha256:
        raise ConfigError(f"{where}: {name} differs from its sha256 in the manifest")


def _check_files(where: str, folder: Path, member: Member) -> None:
    """Checks the files of a trained opponent."""
    if Path(member.file).name != AGENTS or not member.sha256:
        raise ConfigError(f"{where}: needs file: FOLDER/{AGENTS}, and its sha256")
    _checked(where, folder, member.file, member.sha256)
    if not member.config_sha256:
        _warn_unhashed(folder)
        return
    _checked(where, folder, str(Path(member.file).with_name(CONFIG)), member.config_sha256)


@cache
def _warn_unhashed(folder: Path) -> None:
    log.warning("pool: %s has no config_sha256 of some members, as pools of omarl 0.1; a new pool has them", folder)


def write_pool(folder: Path, env: str, env_args: Mapping[str, Any], members: list[Member], prior: str) -> Pool:
    """Writes the manifest of a folder that already holds the files, and reads it back."""
    entries = [{k: v for k, v in asdict(member).items() if v not in ("", 0.0) or k == "name"} for member in members]
    content = {"env": env, "env_args": dict(env_args), "prior": prior, "opponents": entries}
    draft = folder / f".{MANIFEST}"
    draft.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    check(Pool(folder, env, dict(env_args), tuple(members), prior), folder / MANIFEST)
    draft.replace(folder / MANIFEST)
    return read_pool(folder)
