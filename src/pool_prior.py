"""The subgoal prior of a pool: the VAE of one run, or a VAE trained on the states that several runs kept.

In OMG (Yu, Jiang and Lu, NeurIPS 2024) the prior learns from states collected while the opponents were trained. A
pool's opponents come from several training runs, of which each keeps a sample of its states (``vae_keep_states``).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .components.vae_config import VAEConfig
from .components.vae_trainer import VAETrainer
from .config.schema import read
from .configuration.layers import from_checkpoint
from .types import Block, ConfigError
from .utils.checkpoints import find_checkpoint
from .utils.tensor_files import load_tensors

VAE, STATES = "vae.th", "states.th"  # a checkpoint's files
BATCH = 256  # states of an update


def prior_of(run: str, key: str = "prior") -> Path:
    """``vae.th`` of a run's last checkpoint; raises ConfigError, which names ``key``, if the run has none."""
    file = find_checkpoint(run, key=key) / VAE
    if not file.is_file():
        raise ConfigError(f"{key}: {run} has no VAE; give a run of omg_vae")
    return file


def states_of(run: str) -> Tensor:
    """The states [M, S] that a run kept; raises ConfigError if there are none."""
    file = prior_of(run).with_name(STATES)
    if not file.is_file():
        raise ConfigError(f"prior: {run} kept no states; several runs need vae_keep_states, or give one run")
    states: Tensor = load_tensors(file)
    return states


def write_prior(runs: Sequence[str], blocks: Sequence[Block], updates: int, out: Path) -> None:
    """Trains a VAE on the states that all runs kept, and writes it into the file ``out``.

    Its keys are those of the first run's VAE. Each run counts by the number of its states.

    Args:
        runs: folders of runs with a VAE and kept states.
        blocks: declarations of the state's features; empty if unknown.
        updates: of the VAE, each on ``BATCH`` states.
        out: the file.

    Raises:
        ConfigError: a run has no VAE, kept no states, or its states have another size.
    """
    states = [states_of(run) for run in runs]
    if len(sizes := {each.shape[1] for each in states}) > 1:
        raise ConfigError(
            f"prior: the states of these runs have different sizes, {', '.join(map(str, sorted(sizes)))}"
        )
    values = {**from_checkpoint(prior_of(runs[0]).parent).values, "vae_batch_states": BATCH}
    trainer = fitted_vae(torch.cat(states), blocks, read(VAEConfig, values), updates)
    torch.save(trainer.state_dict(), out)


def fitted_vae(states: Tensor, blocks: Sequence[Block], config: VAEConfig, updates: int) -> VAETrainer:
    """A VAE after ``updates`` on batches of the states [M, S]. The random numbers of the process do not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trainer = VAETrainer(list(blocks) or states.shape[1], config)
        trainer.collect(states)
        for _ in range(updates):
            trainer.update()
    trainer.window = []  # the file has no states
    return trainer
