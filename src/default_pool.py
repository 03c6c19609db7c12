"""Chooses or makes the pool that a run plays against if the configuration names none."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .configuration.layers import from_checkpoint
from .opponent_models.omg.prior import latents_of_prior
from .opponents.pool import MANIFEST, Pool, digest, read_pool
from .opponents.switching import switch_of
from .pool_prior import prior_of
from .pooling import info_of, make_or_read_pool
from .registry import resolve
from .small_pool import ENVIRONMENT, NEEDS_POOL, default_scripts, small_pool
from .types import ConfigError
from .utils.metrics import Logger
from .utils.run_directory import env_label


def with_pool(values: Mapping[str, Any], logger: Logger) -> dict[str, Any]:
    """The configuration of a run, with a pool if its controller needs one.

    Opponents come from ``source`` if that is given (see ``from_source``), else from a small pool (see
    ``small_pool``). Paths become absolute, so that a checkpoint finds its pool from any working directory.

    Raises:
        ConfigError: the environment does not suit the opponent model, ``source`` is neither a pool nor a run with
            a VAE, or ``opponents_switch`` is no number and no range.
    """
    paths = {name: str(Path(values[name]).expanduser().resolve()) for name in ("pool", "source") if values.get(name)}
    values = {**values, **paths}
    if values["mac"] != NEEDS_POOL:
        return values
    values |= {"opponent_information": information_for(values)}
    switch_of(values.get("opponents_switch", 0), "random")  # refuses a wrong range before a pool is made in vain
    say = logger.console_logger.info
    if values["pool"]:
        return with_latents(values, say)
    if values.get("source"):
        pool = from_source(values, say)
        has_tests = any(member.split == "test" for member in pool.members)
    else:
        pool, has_tests = small_pool(values, logger), True
    split = "test" if has_tests and values["split"] == "train" else values["split"]  # a chosen split remains
    return with_latents({**values, "pool": str(pool.folder.resolve()), "split": split}, say)


def information_for(values: Mapping[str, Any]) -> list[str]:
    """``opponent_information``, and what the opponent model, if there is one, reads besides."""
    model: Any = resolve("opponent_model", values["opponent_model"]) if values.get("opponent_model") else None
    read = () if model is None else model.information
    return list(dict.fromkeys([*values["opponent_information"], *read]))


def with_latents(values: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The configuration with the number of latents that its prior has, if its opponent model needs a prior.

    Raises:
        ConfigError: there is no prior, or its file is damaged.
    """
    model: Any = resolve("opponent_model", values["opponent_model"]) if values.get("opponent_model") else None
    if model is None or not model.needs_prior or values.get("checkpoint_path"):  # a checkpoint contains its prior
        return dict(values)
    source = str(values.get("source") or read_pool(values["pool"], values.get("trust", False)).folder)
    count, wanted = latents_of_prior(source), values["vae_latent_dim"]
    if wanted not in (0, count):
        say(f"vae_latent_dim: {count}, the number of latents of the prior in {source}, instead of {wanted}")
    return {**values, "vae_latent_dim": count}


def from_source(values: Mapping[str, Any], say: Callable[[str], None]) -> Pool:
    """The pool in the folder ``source``; or, if that is a run, a pool of all its checkpoints and its VAE.

    The test split of the latter has the scripts of the environment's game, if any. The pool is stored under
    ``local_results_path`` and named after the digest of the VAE.

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
        say(f"opponents from {run}: using the pool in {folder}")
        return read_pool(folder)
    scripts = ",".join(default_scripts(info_of(values))[1])
    asked = {name: values[name] for name in ENVIRONMENT if name in values}
    asked |= {"out": str(folder), "runs": str(run), "checkpoints": "all", "test_scripts": scripts, "prior": str(run)}
    pool = make_or_read_pool(asked)
    count = sum(member.split == "train" for member in pool.members)
    tests = "the scripts of the game" if scripts else "the same opponents"
    say(f"opponents from {run}: a pool of {count} checkpoints in {folder}, tested against {tests}")
    return pool
