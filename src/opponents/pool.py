"""A pool of opponents: a folder with the manifest ``pool.yaml`` and the files that it names.

env: gymnasium
env_args: {key: lbforaging:Foraging-8x8-2p-3f-v3}
prior: prior.th                         # optional: the subgoal prior, frozen
opponents:
  - {name: nearest, family: script, kind: scripted, script: nearest, noise: 0.0, split: train, made: ...}
  - {name: iql_1, family: iql, kind: checkpoint, file: iql_1/agent.th, sha256: ..., split: test, made: ...}
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ..types import ConfigError

MANIFEST = "pool.yaml"
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
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_pool(path: str | Path) -> Pool:
    """Reads the pool in the folder ``path``, which may also be the manifest.

    Raises:
        ConfigError: the manifest is missing or damaged, or an opponent is in two splits.
    """
    manifest = Path(path).expanduser()
    manifest = manifest / MANIFEST if manifest.is_dir() else manifest
    try:
        content = yaml.safe_load(manifest.read_text(encoding="utf-8"))
        members = tuple(
            Member(**{**entry, "noise": float(entry.get("noise", 0.0))}) for entry in content["opponents"]
        )
        pool = Pool(
            manifest.parent, content["env"], dict(content["env_args"]), members, str(content.get("prior") or "")
        )
    except OSError as error:
        raise ConfigError(
            f"pool: {manifest} cannot be read ({error.strerror}); give its folder as pool=FOLDER, or make one "
            "with `main.py pool`"
        ) from None
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"pool: {manifest} is not the manifest of a pool ({reason})") from None
    check(pool, manifest)
    return pool


def check(pool: Pool, manifest: Path) -> None:
    """Checks members and files of a pool; ConfigError names the manifest, the opponent and its fault."""
    if pool.prior_file is not None and not pool.prior_file.is_file():
        raise ConfigError(f"pool: {manifest}: prior: {pool.prior} is missing")
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
        file = pool.folder / member.file
        if member.kind == "checkpoint" and not file.is_file():
            raise ConfigError(f"{where}: {member.file} is missing")
        if member.kind == "checkpoint" and digest(file) != member.sha256:
            raise ConfigError(f"{where}: {member.file} differs from its sha256 in the manifest")
        twin = first_by_content.setdefault(member.content, member)
        if twin.split != member.split:
            same = f"{where} ({member.split}) plays the same as {twin.name} ({twin.split})"
            raise ConfigError(f"{same}: an opponent must be in one split only")


def write_pool(folder: Path, env: str, env_args: Mapping[str, Any], members: list[Member], prior: str) -> Pool:
    """Writes the manifest of a folder that already holds the files, and reads it back."""
    entries = [{k: v for k, v in asdict(member).items() if v not in ("", 0.0) or k == "name"} for member in members]
    content = {"env": env, "env_args": dict(env_args), "prior": prior, "opponents": entries}
    draft = folder / f".{MANIFEST}"
    draft.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    check(Pool(folder, env, dict(env_args), tuple(members), prior), folder / MANIFEST)
    draft.replace(folder / MANIFEST)
    return read_pool(folder)
