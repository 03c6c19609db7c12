"""A pool: a folder with ``pool.yaml`` and the files that it names; who is in it, and for which split.

env: gymnasium
env_args: {key: lbforaging:Foraging-8x8-2p-3f-v3}
prior: prior.th                         # optional: the subgoal prior, frozen
opponents:
  - {name: nearest, family: script, kind: scripted, script: nearest, noise: 0.0, split: train, made: ...}
  - {name: iql_1, family: iql, kind: checkpoint, file: iql_1/agent.th, sha256: ..., split: test, made: ...}
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ..types import ConfigError

MANIFEST = "pool.yaml"
Split = Literal["train", "validation", "test"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Member:
    """One joint opponent.

    Attributes:
        name: unique in its pool.
        family: what results are grouped by: ``script``, or the algorithm that trained it.
        kind: ``scripted`` | ``checkpoint``.
        split: ``train`` | ``validation`` | ``test``.
        made: how, in words.
        script, noise: of a scripted one; see ``foraging`` and ``tag``.
        file, sha256: of a checkpoint's ``agent.th``, beside its ``config.json``; relative to the pool.
    """

    name: str
    family: str
    kind: str
    split: str
    made: str = ""
    script: str = ""
    noise: float = 0.0
    file: str = ""
    sha256: str = ""

    @property
    def content(self) -> str:
        """The same for two members that play alike."""
        return self.sha256 or f"{self.script} {self.noise:g}"


@dataclass(frozen=True)
class Pool:
    """A pool as its manifest has it."""

    folder: Path
    env: str
    env_args: dict[str, Any]
    members: tuple[Member, ...]
    prior: str = ""

    def split(self, name: str) -> tuple[Member, ...]:
        """Its members of one split.

        Raises:
            ConfigError: there is none.
        """
        found = tuple(member for member in self.members if member.split == name)
        if not found:
            raise ConfigError(f"split: {self.folder} has no opponent for {name!r}")
        return found

    @property
    def prior_file(self) -> Path | None:
        """The prior's file, where there is one."""
        return self.folder / self.prior if self.prior else None


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_pool(path: str | Path) -> Pool:
    """The pool in the folder ``path`` (or the manifest itself).

    Raises:
        ConfigError: it is not there, it is damaged, or an opponent stands in two splits.
    """
    manifest = Path(path).expanduser()
    manifest = manifest / MANIFEST if manifest.is_dir() else manifest
    try:
        said = yaml.safe_load(manifest.read_text(encoding="utf-8"))
        members = tuple(Member(**{**entry, "noise": float(entry.get("noise", 0.0))}) for entry in said["opponents"])
        pool = Pool(manifest.parent, said["env"], dict(said["env_args"]), members, str(said.get("prior") or ""))
    except OSError as error:
        raise ConfigError(
            f"pool: {manifest} cannot be read ({error.strerror}); give pool=FOLDER, where it lies, or make one with "
            "`main.py pool`"
        ) from None
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"pool: {manifest} is no pool's manifest ({reason})") from None
    check(pool, manifest)
    return pool


def check(pool: Pool, manifest: Path) -> None:
    """What a manifest must keep to.

    Raises:
        ConfigError: naming the opponent and what is wrong with it.
    """
    if pool.prior_file is not None and not pool.prior_file.is_file():
        raise ConfigError(f"pool: {manifest}: prior: {pool.prior} is missing")
    seen: dict[str, Member] = {}
    names: set[str] = set()
    for member in pool.members:
        if member.name in names:
            raise ConfigError(f"pool: {manifest}: two opponents are called {member.name!r}")
        names.add(member.name)
        if not 0.0 <= member.noise <= 1.0:
            raise ConfigError(f"pool: {manifest}: {member.name}: noise {member.noise:g} is no share from 0 to 1")
        if member.split not in SPLITS or member.kind not in ("scripted", "checkpoint"):
            raise ConfigError(f"pool: {manifest}: {member.name}: unknown split or kind")
        if member.kind == "checkpoint":
            file = pool.folder / member.file
            if not file.is_file():
                raise ConfigError(f"pool: {manifest}: {member.name}: {member.file} is missing")
            if digest(file) != member.sha256:
                raise ConfigError(
                    f"pool: {manifest}: {member.name}: {member.file} is not the file that was put there"
                )
        twin = seen.setdefault(member.content, member)
        if twin.split != member.split:
            raise ConfigError(
                f"pool: {manifest}: {member.name} ({member.split}) plays as {twin.name} ({twin.split}) does: an "
                "opponent must stand in one split alone"
            )


def write_pool(folder: Path, env: str, env_args: Mapping[str, Any], members: list[Member], prior: str) -> Pool:
    """Writes the manifest (files are there already) and reads it again."""
    entries = [{k: v for k, v in asdict(member).items() if v not in ("", 0.0) or k == "name"} for member in members]
    said = {"env": env, "env_args": dict(env_args), "prior": prior, "opponents": entries}
    draft = folder / f".{MANIFEST}"
    draft.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    check(Pool(folder, env, dict(env_args), tuple(members), prior), folder / MANIFEST)
    draft.replace(folder / MANIFEST)
    return read_pool(folder)
