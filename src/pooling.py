"""The command ``pool``: makes a folder of opponents, from runs and scripts, with a manifest."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .analysis.comparison import find_runs, words
from .config.files import read_json
from .config.keys import RunsKeys
from .config.schema import key, new_default, read
from .configuration.layers import from_checkpoint
from .disjoint import Overlap, check_disjoint, components_of, overlaps, run_of
from .envs.make import make_vec_env
from .games.lookup import game_named, part_of
from .opponents.pool import AGENTS, CONFIG, MANIFEST, SPLITS, Member, Pool, digest, inside, read_pool, write_pool
from .pool_prior import prior_of, write_prior
from .run import NAME, RunConfig
from .types import ConfigError, EnvInfo, OmarlError
from .utils.checkpoints import last_checkpoints
from .utils.run_directory import env_label

MEMBERS = tuple(f"{split}{kind}" for kind in ("scripts", "runs") for split in ("", "validation_", "test_"))


@dataclass(frozen=True)
class PoolConfig(RunConfig, RunsKeys):
    """Keys of the command ``pool``, in addition to ``env`` and ``env_args``."""

    out: str = new_default(RunsKeys, "out", "pool")
    runs: list[str] | str = new_default(RunsKeys, "runs", "", "[folders of runs, or patterns]: training opponents")
    validation_runs: list[str] | str = key("", help="the same: opponents to choose settings by")
    test_runs: list[str] | str = key("", help="the same: held-out opponents")
    scripts: list[str] | str = key("", help="training opponents; nearest:0.1 makes one move in ten at random")
    validation_scripts: list[str] | str = key("", help="the same: opponents to choose settings by")
    test_scripts: list[str] | str = key("", help="the same: held-out opponents")
    checkpoints: Literal["last", "all"] = key("last", help="which checkpoints of each run join the pool")
    prior: list[str] | str = key(
        "", help="a run with the VAE, which becomes the subgoal prior; several: a VAE of the states that they kept"
    )
    prior_updates: int = key(5_000, low=1, help="updates of a prior that is trained on the states of several runs")
    disjoint: bool = key(False, help="refuse a pool in which opponents of two splits share components")


def make_pool(values: Mapping[str, Any]) -> Pool:
    """Makes a pool's folder atomically: no part of it remains after an error.

    Raises:
        ConfigError: no opponent is named, something named does not exist, an opponent is in two splits, or, with
            ``disjoint``, splits share components.
        OmarlError: the folder cannot be written.
    """
    config = read(PoolConfig, values)
    out = Path(config.out).expanduser()
    if out.exists():
        raise ConfigError(f"out: {out} exists; take another name or remove it")
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    environment = {"env": config.env, "env_args": config.env_args, "game": config.game}
    label = env_label(environment)
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        members: list[Member] = []
        for split in SPLITS:
            prefix = "" if split == "train" else f"{split}_"
            members += scripted(words(getattr(config, f"{prefix}scripts")), split)
            runs = words(getattr(config, f"{prefix}runs"))
            members += trained(runs, split, config.checkpoints, draft, len(members), label) if runs else []
        named = [member.name for member in members]
        if repeated := next((name for name in named if named.count(name) > 1), None):
            keys = "scripts, test_scripts, validation_scripts"
            raise ConfigError(f"{keys}: {repeated!r} is named twice; an opponent is in one split only")
        if not any(member.split == "train" for member in members):
            raise ConfigError("runs, scripts: name opponents to train against")
        check_scripts(members, environment)
        prior = ""
        if sources := words(config.prior):
            prior = add_prior(config, sources, draft, label)
        pool = write_pool(draft, config.env, config.env_args, members, prior)
        if config.disjoint:
            check_disjoint(overlaps_of(pool, config.game))
        draft.rename(out)
    except OSError as error:
        raise OmarlError(f"out: cannot write {out} ({error.strerror or error})") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Pool(out, config.env, config.env_args, tuple(members), prior)


def add_prior(config: PoolConfig, runs: list[str], draft: Path, label: str) -> str:
    """Writes the pool's subgoal prior and returns the name of its file; ``label`` is the pool's environment."""
    for run in runs:
        check_environment(prior_of(run).parent, run, label, "prior")
    name = "prior.th"
    if len(runs) == 1:
        shutil.copy(prior_of(runs[0]), draft / name)
    else:
        environment = {"env": config.env, "env_args": config.env_args, "game": config.game}
        write_prior(runs, info_of(environment).state_blocks, config.prior_updates, draft / name)
    return name


def check_scripts(members: Sequence[Member], values: Mapping[str, Any]) -> None:
    """Raises ConfigError if the environment has no such scripts."""
    named = [member for member in members if member.kind == "scripted"]
    if named:
        info = info_of(values)
        scripts = part_of(info, "scripts")
        scripts([m.script for m in named], [m.noise for m in named], info, [info.n_agents - 1], 1, 0)


def scripted(scripts: list[str], split: str) -> list[Member]:
    """A member for each ``script`` or ``script:noise``."""
    members = []
    for word in scripts:
        script, _, noise = word.partition(":")
        try:
            share = float(noise or 0.0)
        except ValueError:
            raise ConfigError(f"scripts: {word!r} is not SCRIPT or SCRIPT:NOISE") from None
        members.append(Member(word, "script", "scripted", split, "a script", script=script, noise=share))
    return members


def trained(patterns: list[str], split: str, which: str, out: Path, count: int, label: str) -> list[Member]:
    """A member for each checkpoint, its files copied into ``out``; a warning names runs without checkpoints.

    ``which`` is ``last`` or ``all`` checkpoints of each run, ``count`` the number of members so far, for names, and
    ``label`` the pool's environment.

    Raises:
        ConfigError: no run has a checkpoint, or a run is of another environment.
    """
    members: list[Member] = []
    for run, last in last_checkpoints(find_runs(patterns), "runs").items():
        every = (path for path in last.parent.iterdir() if path.name.isdecimal())
        folders = [last] if which == "last" else sorted(every, key=lambda p: int(p.name))
        config = check_environment(last, str(run), label, "runs")
        for folder in folders:
            family = str(config.get("name", "run"))
            name = f"{family}_{count + len(members)}"
            if not NAME.fullmatch(family) or not family.isprintable():
                raise ConfigError(f"runs: {folder / CONFIG}: name: {family!r} is not a valid folder name")
            (out / name).mkdir()
            for file in (AGENTS, CONFIG):
                shutil.copy(_found(folder, file), out / name / file)
            made = f"{family}, seed {config.get('seed')!r}, {folder.name} steps"
            agents, config_file = (out / name / file for file in (AGENTS, CONFIG))
            members.append(Member(name, family, "checkpoint", split, made, file=f"{name}/{AGENTS}",
                                  sha256=digest(agents), config_sha256=digest(config_file),
                                  run=run_of(read_json(config_file))))  # fmt: skip
    return members


def _found(folder: Path, file: str) -> Path:
    try:
        return inside(folder, file)
    except ConfigError as error:
        raise ConfigError(f"runs: {error}") from None


def check_environment(checkpoint: Path, run: str, label: str, key: str) -> dict[str, Any]:
    """The configuration of a checkpoint; raises ConfigError if its environment is not ``label``."""
    config = from_checkpoint(checkpoint).values
    if env_label(config) != label:
        raise ConfigError(f"{key}: {run} was trained in {env_label(config)}, and the pool is for {label}")
    return config


def make_or_read_pool(values: Mapping[str, Any]) -> Pool:
    """``make_pool``, or the pool that is in the folder ``out``, even if a concurrent run makes it in the meantime."""
    folder = Path(values["out"])
    if not folder.is_dir():
        try:
            return make_pool(values)
        except OmarlError:
            if not (folder / MANIFEST).is_file():
                raise
    return read_pool(folder)


def info_of(values: Mapping[str, Any]) -> EnvInfo:
    """The ``EnvInfo`` of a run's environment, with all agents."""
    env = make_vec_env(values["env"], values["env_args"], 1, 0, 0)
    env.close()
    return replace(env.info, game=game_named(values["game"])) if values.get("game") else env.info


def overlaps_of(pool: Pool, game: str = "") -> list[Overlap]:
    """The pairs of splits of a pool that share components; ``game`` as the run's key."""
    scripts = None
    if any(member.kind == "scripted" for member in pool.members):
        scripts = part_of(info_of({"env": pool.env, "env_args": pool.env_args, "game": game}), "scripts")
    return overlaps(components_of(pool, scripts))


def described(values: Mapping[str, Any]) -> str:
    """The command ``pool``: makes a pool, or reads the one in the folder ``pool``, and describes it.

    Raises:
        ConfigError: see ``make_pool`` and ``read_pool``; or members are named for a pool that exists.
    """
    config = read(PoolConfig, values)
    if config.pool and any(getattr(config, key) for key in MEMBERS):
        raise ConfigError(
            f"pool: describes {config.pool} as it is; leave pool out, or leave out {', '.join(MEMBERS)}"
        )
    pool = read_pool(config.pool) if config.pool else make_pool(values)
    found = overlaps_of(pool, config.game)
    if config.disjoint:
        check_disjoint(found)
    return describe_pool(pool, found)


def describe_pool(pool: Pool, found: Sequence[Overlap]) -> str:
    """The manifest's path, a line for each split, and a line for each pair of splits that share components."""
    lines = [f"{pool.folder / MANIFEST}"]
    for split in SPLITS:
        names = [member.name for member in pool.members if member.split == split]
        if names:
            lines.append(f"{split:10} {len(names)}: {', '.join(names)}")
    if len({member.split for member in pool.members}) > 1:
        lines += [str(overlap) for overlap in found] or ["no opponents of two splits share components"]
    return "\n".join(lines)
