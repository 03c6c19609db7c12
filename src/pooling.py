"""The command ``pool``: opponents out of runs and scripts, in a folder with a manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import training
from .analysis.comparison import find_runs, words
from .config.keys import RunsKeys
from .config.load import complete as completed
from .config.load import from_checkpoint, from_files
from .config.schema import key, new_default, read
from .envs.make import make_vec_env
from .opponents.pool import MANIFEST, Member, Pool, digest, read_pool, write_pool
from .opponents.pool_env import scripts_for
from .registry import resolve
from .run import RunConfig
from .types import ConfigError, EnvInfo, OmarlError
from .utils.checkpoints import find_checkpoint, last_checkpoints
from .utils.metrics import Logger
from .utils.run_directory import env_label


@dataclass(frozen=True)
class PoolConfig(RunConfig, RunsKeys):
    """Keys of the command ``pool``, beside ``env`` and ``env_args``."""

    out: str = new_default(RunsKeys, "out", "pool")
    runs: list[str] | str = new_default(RunsKeys, "runs", "", "[folders of runs, or patterns]: training opponents")
    validation_runs: list[str] | str = key("", help="the same: opponents to choose settings by")
    test_runs: list[str] | str = key("", help="the same: held-out opponents")
    scripts: list[str] | str = key("", help="training opponents; nearest:0.1 makes one move in ten at random")
    validation_scripts: list[str] | str = key("", help="the same: opponents to choose settings by")
    test_scripts: list[str] | str = key("", help="the same: held-out opponents")
    checkpoints: Literal["last", "all"] = key("last", help="which checkpoints of each run join the pool")
    prior: str = key("", help="a run with the VAE; its encoder becomes the pool's subgoal prior")


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
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    game = {"env": config.env, "env_args": config.env_args}
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        members: list[Member] = []
        for split in ("train", "validation", "test"):
            before = "" if split == "train" else f"{split}_"
            members += scripted(words(getattr(config, f"{before}scripts")), split)
            runs = words(getattr(config, f"{before}runs"))
            members += trained(runs, split, config.checkpoints, draft, len(members), env_label(game)) if runs else []
        named = [member.name for member in members]
        if twice := next((name for name in named if named.count(name) > 1), None):
            raise ConfigError(f"scripts, test_scripts, validation_scripts: {twice!r} stands twice; an opponent is of "
                              "one split")  # fmt: skip
        if not any(member.split == "train" for member in members):
            raise ConfigError("runs, scripts: say who is to be met in training")
        check_scripts(members, game)
        prior = ""
        if config.prior:
            file = prior_of(config.prior)
            check_played(file.parent, config.prior, env_label(game), "prior")
            shutil.copy(file, draft / "prior.th")
            prior = "prior.th"
        write_pool(draft, config.env, config.env_args, members, prior)
        draft.rename(out)
    except OSError as error:
        raise OmarlError(f"out: cannot write {out} ({error.strerror or error})") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Pool(out, config.env, config.env_args, tuple(members), prior)


def check_scripts(members: Sequence[Member], game: Mapping[str, Any]) -> None:
    """Raises ConfigError where the environment has no such scripts, which no run could play against."""
    named = [member for member in members if member.kind == "scripted"]
    if named:
        whole = _everyone(game)
        scripts_for(whole)([m.script for m in named], [m.noise for m in named], whole, [whole.n_agents - 1], 1, 0)


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


def trained(patterns: list[str], split: str, which: str, out: Path, count: int, played: str) -> list[Member]:
    """A member for each checkpoint, its files copied into ``out``; runs without any are left out, and told.

    Raises:
        ConfigError: no run has a checkpoint, or one is of another environment than ``played``.
    """
    members: list[Member] = []
    for run, last in last_checkpoints(find_runs(patterns), "runs").items():
        every = (path for path in last.parent.iterdir() if path.name.isdigit())
        folders = [last] if which == "last" else sorted(every, key=lambda p: int(p.name))
        said = check_played(last, str(run), played, "runs")
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


def check_played(checkpoint: Path, run: str, wanted: str, key: str) -> dict[str, Any]:
    """A checkpoint's configuration.

    Raises:
        ConfigError: it was trained in another environment than the one that is ``wanted``.
    """
    said = from_checkpoint(checkpoint).values
    if env_label(said) != wanted:
        raise ConfigError(f"{key}: {run} was trained in {env_label(said)}, and the pool is for {wanted}")
    return said


def prior_of(run: str, key: str = "prior") -> Path:
    """``vae.th`` of a run's last checkpoint.

    Raises:
        ConfigError: there is none.
    """
    file = find_checkpoint(run, key=key) / "vae.th"
    if not file.is_file():
        raise ConfigError(f"{key}: {run} has no VAE; give a run of omg_vae")
    return file


AGAINST = "model_mac"  # the controller of those who play against a pool
PRIOR_STEPS = 200_000


def with_pool(values: Mapping[str, Any], logger: Logger) -> dict[str, Any]:
    """The configuration, with a pool where one is needed and none is given: for opponent models and their base.

    From a ``source``, see ``from_source``. Else the pool is small: the environment's scripted players, and for models
    that need one a prior from a short run of the base learner in their company. It is kept under
    ``local_results_path`` and found there the next time. Paths are made absolute, so that a checkpoint finds its pool
    from anywhere.

    Raises:
        ConfigError: the environment has no scripted players, or is none for the model, or ``source`` is neither a
            pool nor a run with a VAE.
    """
    values = {**values, **{name: str(Path(values[name]).expanduser().resolve()) for name in ("pool", "source")
                           if values.get(name)}}  # fmt: skip
    if values["mac"] != AGAINST or values["pool"]:
        return values
    say = logger.console_logger.info
    if values.get("source"):
        pool = from_source(values, say)
        tested = any(member.split == "test" for member in pool.members)
        split = "test" if tested and values["split"] == "train" else values["split"]  # what was asked for stays
        return {**values, "pool": str(pool.folder.resolve()), "split": split}
    model: Any = resolve("opponent_model", values["opponent_model"]) if values.get("opponent_model") else None
    needs_prior = model is not None and model.needs_prior(values)
    folder = Path(values["local_results_path"]) / "pools" / (env_label(values) + ("" if needs_prior else "_scripts"))
    if not folder.is_dir():
        if model is not None:
            model.check_environment(_everyone(values))
        with_it = f", and a prior of {PRIOR_STEPS} steps" if needs_prior else ""
        say(f"no pool given: making a small one in {folder} (scripted opponents{with_it})")
        make_small_pool(folder, values, logger, needs_prior)
    else:
        say(f"no pool given: taking the small one in {folder}")
    return {
        **values,
        "pool": str(folder.resolve()),
        "split": "test" if values["split"] == "train" else values["split"],
    }


def from_source(values: Mapping[str, Any], say: Callable[[str], None]) -> Pool:
    """The pool that ``source`` is, or one of a run's agents: all its checkpoints to train against, and its prior.

    Scripts, where the environment has some, are then the test. The pool lies under ``local_results_path``, named
    after the prior.

    Raises:
        ConfigError: ``source`` is neither a pool nor a run with a VAE, or was trained in another environment.
    """
    source = Path(values["source"]).expanduser()
    if (source / MANIFEST).is_file():
        return read_pool(source)
    prior = prior_of(str(source), key="source")
    run = prior.parents[2]
    trained_in = env_label(from_checkpoint(prior.parent).values)
    if trained_in != env_label(values):
        raise ConfigError(f"source: {run} was trained in {trained_in}; this run is in {env_label(values)}")
    folder = Path(values["local_results_path"]) / "pools" / f"{env_label(values)}_{digest(prior)[:8]}"
    if folder.is_dir():
        say(f"opponents out of {run}: taking the pool in {folder}")
        return read_pool(folder)
    try:
        scripts = ",".join(usual_scripts(values)[1])
    except ConfigError:
        scripts = ""
    said = {name: values[name] for name in ("env", "env_args")}
    said |= {"out": str(folder), "runs": str(run), "checkpoints": "all", "test_scripts": scripts, "prior": str(run)}
    pool = made_once(said)
    count = sum(member.split == "train" for member in pool.members)
    who = "the environment's scripts" if scripts else "the same"
    say(f"opponents out of {run}: a pool of {count} checkpoints in {folder}, tested with {who}")
    return pool


def made_once(said: Mapping[str, Any]) -> Pool:
    """``make_pool``, or the pool that is there: another run, which began when this did, may have been first."""
    folder = Path(said["out"])
    if not folder.is_dir():
        try:
            return make_pool(said)
        except OmarlError:
            if not (folder / MANIFEST).is_file():
                raise
    return read_pool(folder)


def usual_scripts(values: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[str]]:
    """An environment's scripts to train and to test with.

    Raises:
        ConfigError: there are none.
    """
    train, test = scripts_for(_everyone(values)).usual
    return train, test


def _everyone(values: Mapping[str, Any]) -> EnvInfo:
    """The environment's info, all agents included."""
    env = make_vec_env(values["env"], values["env_args"], 1, 0, 0)
    env.close()
    return env.info


def make_small_pool(folder: Path, values: Mapping[str, Any], logger: Logger, with_prior: bool) -> None:
    """Scripted players of both splits, and a prior trained beside a base learner that meets those of training."""
    train, test = usual_scripts(values)
    said = {"scripts": ",".join(train), "test_scripts": ",".join(test)}
    said |= {name: values[name] for name in ("env", "env_args")}
    if not with_prior:
        made_once({**said, "out": str(folder)})
        return
    bare, run = (folder.with_name(f".{folder.name}.{what}{os.getpid()}") for what in ("bare", "run"))
    try:
        for draft in (bare, run):
            shutil.rmtree(draft, ignore_errors=True)
        make_pool({**said, "out": str(bare)})
        run.mkdir(parents=True)
        layers = from_files("ppo_history", "simple_tag")
        layers.add({**said_of_run(values), "pool": str(bare)}, "the small pool")
        training.train(completed(layers, RunConfig).values, Logger(logger.console_logger, run), run)
        made_once({**said, "out": str(folder), "prior": str(run)})
    finally:
        for draft in (bare, run):
            shutil.rmtree(draft, ignore_errors=True)


def said_of_run(values: Mapping[str, Any]) -> dict[str, Any]:
    """The prior's run: the environment and the learners of the run to come, and the VAE beside PPO."""
    kept = ("env", "env_args", "omg_learners", "opponents_told", "common_reward", "seed", "vae_latent_dim",
            "vae_hidden_dim", "vae_log_var_bound", "vae_log_var_limit", "env_workers")  # fmt: skip
    own = {"learner": "omg_vae_learner", "base_learner": "ppo_learner", "t_max": PRIOR_STEPS, "test_interval": 0,
           "vae_updates": 32, "vae_batch_states": 256, "save_model_interval": 10 * PRIOR_STEPS}  # fmt: skip
    return {**{name: values[name] for name in kept if name in values}, **own}


def describe_pool(pool: Pool) -> str:
    """What was made, a line for each split."""
    lines = [f"{pool.folder / MANIFEST}"]
    for split in ("train", "validation", "test"):
        names = [member.name for member in pool.members if member.split == split]
        if names:
            lines.append(f"{split:10} {len(names)}: {', '.join(names)}")
    return "\n".join(lines)
