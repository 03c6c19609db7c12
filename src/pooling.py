"""The command ``pool``: opponents out of runs and scripts, in a folder with a manifest."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .analysis.comparison import find_runs, words
from .analysis.runs import read_config
from .config.schema import key, read
from .opponents.pool import MANIFEST, Member, Pool, digest, write_pool
from .run import RunConfig
from .types import ConfigError, OmarlError
from .utils.checkpoints import find_checkpoint


@dataclass(frozen=True)
class PoolConfig(RunConfig):
    """Keys of the command ``pool``, beside ``env`` and ``env_args``."""

    out: str = key("pool", help="the folder to make")
    runs: list[str] | str = key("", help="[runs, folders of runs, patterns]: opponents to train against")
    validation_runs: list[str] | str = key("", help="the same, to choose settings by")
    test_runs: list[str] | str = key("", help="the same, never met in training")
    scripts: list[str] | str = key("", help="[scripts]; nearest:0.1 makes one move in ten a random one")
    validation_scripts: list[str] | str = key("", help="the same, to choose settings by")
    test_scripts: list[str] | str = key("", help="the same, never met in training")
    checkpoints: Literal["last", "all"] = key("last", help="of each run")
    prior: str = key("", help="a run with the VAE, whose subgoal prior goes with the pool")


def make_pool(values: Mapping[str, Any]) -> Pool:
    """Makes the folder, whole or not at all.

    Raises:
        ConfigError: nobody is named, something named is not there, or an opponent stands in two splits.
        OmarlError: the folder cannot be written.
    """
    config = read(PoolConfig, values)
    out = Path(config.out).expanduser()
    if out.exists():
        raise ConfigError(f"out: {out} exists; take another name or remove it")
    draft = out.with_name(f".{out.name}.tmp")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        members: list[Member] = []
        for split in ("train", "validation", "test"):
            before = "" if split == "train" else f"{split}_"
            members += scripted(words(getattr(config, f"{before}scripts")), split)
            runs = words(getattr(config, f"{before}runs"))
            members += trained(runs, split, config.checkpoints, draft, len(members)) if runs else []
        if not any(member.split == "train" for member in members):
            raise ConfigError("runs, scripts: say who is to be met in training")
        prior = ""
        if config.prior:
            shutil.copy(prior_of(config.prior), draft / "prior.th")
            prior = "prior.th"
        write_pool(draft, config.env, config.env_args, members, prior)
        draft.rename(out)
    except OSError as error:
        raise OmarlError(f"out: cannot write {out} ({error.strerror or error})") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Pool(out, config.env, config.env_args, tuple(members), prior)


def scripted(scripts: list[str], split: str) -> list[Member]:
    """A member for each ``script`` or ``script:noise``."""
    members = []
    for word in scripts:
        script, _, noise = word.partition(":")
        try:
            share = float(noise or 0.0)
        except ValueError:
            raise ConfigError(f"scripts: {word!r} is no SCRIPT or SCRIPT:NOISE") from None
        members.append(Member(word, "script", "scripted", split, "a script", script=script, noise=share))
    return members


def trained(patterns: list[str], split: str, which: str, out: Path, count: int) -> list[Member]:
    """A member for each checkpoint, its files copied into ``out``."""
    members: list[Member] = []
    for run in find_runs(patterns):
        last = find_checkpoint(str(run))
        folders = [last] if which == "last" else sorted(last.parent.iterdir(), key=lambda p: int(p.name))
        said = read_config(run)
        for folder in folders:
            family = str(said.get("name", "run"))
            name = f"{family}_{count + len(members)}"
            (out / name).mkdir()
            for file in ("agent.th", "config.json"):
                shutil.copy(folder / file, out / name / file)
            made = f"{family}, seed {said.get('seed')}, {folder.name} steps"
            file = f"{name}/agent.th"
            members.append(Member(name, family, "checkpoint", split, made, file=file, sha256=digest(out / file)))
    return members


def prior_of(run: str) -> Path:
    """``vae.th`` of a run's last checkpoint.

    Raises:
        ConfigError: there is none.
    """
    file = find_checkpoint(run) / "vae.th"
    if not file.is_file():
        raise ConfigError(f"prior: {run} has no VAE; give a run of omg_vae")
    return file


def describe_pool(pool: Pool) -> str:
    """What was made, a line for each split."""
    lines = [f"{pool.folder / MANIFEST}"]
    for split in ("train", "validation", "test"):
        names = [member.name for member in pool.members if member.split == split]
        if names:
            lines.append(f"{split:10} {len(names)}: {', '.join(names)}")
    return "\n".join(lines)
