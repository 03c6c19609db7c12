"""Chooses or makes the pool that a run plays against if the configuration names none."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import training
from .configuration.layers import complete, from_checkpoint, from_files
from .games.lookup import part_of
from .opponent_models.omg.prior import latents_of_prior
from .opponents.pool import MANIFEST, Pool, digest, read_pool
from .pooling import info_of, make_or_read_pool, make_pool, prior_of
from .registry import resolve
from .run import RunConfig
from .types import DISCRETE, ConfigError
from .utils.metrics import Logger
from .utils.run_directory import env_label

NEEDS_POOL = "model_mac"  # the controller of learners that play against a pool
ENVIRONMENT = ("env", "env_args", "game")
FROM_RUN = (*ENVIRONMENT, "omg_learners", "opponent_information", "common_reward", "seed", "vae_latent_dim",
            "vae_linear_path", "vae_hidden_dim", "vae_log_var_bound", "vae_log_var_limit", "env_workers")  # fmt: skip


def with_pool(values: Mapping[str, Any], logger: Logger) -> dict[str, Any]:
    """The configuration of a run, with a pool if its controller needs one.

    Opponents come from ``source`` if that is given (see ``from_source``). Else they are the scripts of the
    environment's game, with a prior from a separate short run if the opponent model needs one; this small pool is
    stored under ``local_results_path`` for the next runs. Paths become absolute, so that a checkpoint finds its pool
    from any working directory.

    Raises:
        ConfigError: the environment has no scripts or does not suit the opponent model, or ``source`` is neither a
            pool nor a run with a VAE.
    """
    paths = {name: str(Path(values[name]).expanduser().resolve()) for name in ("pool", "source") if values.get(name)}
    values = {**values, **paths}
    if values["mac"] != NEEDS_POOL:
        return values
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
    try:
        scripts = ",".join(default_scripts(values)[1])
    except ConfigError:
        scripts = ""
    asked = {name: values[name] for name in ENVIRONMENT if name in values}
    asked |= {"out": str(folder), "runs": str(run), "checkpoints": "all", "test_scripts": scripts, "prior": str(run)}
    pool = make_or_read_pool(asked)
    count = sum(member.split == "train" for member in pool.members)
    tests = "the scripts of the game" if scripts else "the same opponents"
    say(f"opponents from {run}: a pool of {count} checkpoints in {folder}, tested against {tests}")
    return pool


def small_pool(values: Mapping[str, Any], logger: Logger) -> Pool:
    """The game's scripts to train and to test against, and a prior if the opponent model needs one."""
    if info_of(values).actions != DISCRETE:
        raise ConfigError(f"mac: {NEEDS_POOL}, for opponents, needs Discrete actions; use --config=ippo or mappo")
    model: Any = resolve("opponent_model", values["opponent_model"]) if values.get("opponent_model") else None
    needs_prior = model is not None and model.needs_prior
    folder = Path(values["local_results_path"]) / "pools" / (env_label(values) + ("" if needs_prior else "_scripts"))
    say = logger.console_logger.info
    if folder.is_dir():
        say(f"no pool given: using the small pool in {folder}")
        return read_pool(folder)
    if model is not None:
        model.check_environment(info_of(values))
    with_prior = f", and a prior of {values['prior_t_max']} steps" if needs_prior else ""
    say(f"no pool given: making a small pool in {folder} (scripted opponents{with_prior})")
    train, test = default_scripts(values)
    asked = {"scripts": ",".join(train), "test_scripts": ",".join(test)}
    asked |= {name: values[name] for name in ENVIRONMENT if name in values}
    if not needs_prior:
        return make_or_read_pool({**asked, "out": str(folder)})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as drafts:
        scripts_only, run = Path(drafts, "scripts"), Path(drafts, "run")
        make_pool({**asked, "out": str(scripts_only)})
        train_prior(values, scripts_only, run, logger)
        return make_or_read_pool({**asked, "out": str(folder), "prior": str(run)})


def train_prior(values: Mapping[str, Any], pool: Path, run: Path, logger: Logger) -> None:
    """Trains a state VAE with PPO, for ``prior_t_max`` steps against ``pool``; its last checkpoint is in ``run``.

    ``values``, of the run that needs the prior, give the environment, the learners and the shape of the VAE.
    """
    own = {"pool": str(pool), "learner": "omg_vae_learner", "base_learner": "ppo_learner",
           "t_max": values["prior_t_max"], "save_model_interval": 10 * values["prior_t_max"], "test_interval": 0,
           "vae_updates": 32, "vae_batch_states": 256, "vae_window": 4, "vae_lr": 3e-4}  # fmt: skip
    layers = from_files("ppo_history", "simple_tag")
    layers.add({**{name: values[name] for name in FROM_RUN if name in values}, **own}, "the prior's training")
    run.mkdir(parents=True)
    training.train(complete(layers, RunConfig).values, Logger(logger.console_logger, run), run)


def default_scripts(values: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[str]]:
    """The scripts of the environment's game to train and to test against; raises ConfigError if it has none."""
    defaults: tuple[Sequence[str], Sequence[str]] = part_of(info_of(values), "scripts").defaults
    return defaults
