"""The subgoal prior p_psi(g | s): a state VAE, trained by ``learner: omg_vae_learner`` and frozen (section 4.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...components.vae_config import VAEConfig
from ...components.vae_trainer import VAETrainer
from ...config.schema import read
from ...modules.vae import latents_in
from ...types import ConfigError
from ...utils.checkpoints import reason_of
from ...utils.tensor_files import load_tensors

UNREADABLE = (OSError, RuntimeError, KeyError, TypeError, ValueError)


class SubgoalPrior(VAETrainer):
    """A frozen state VAE: ``encode`` is p_psi(g | s), ``decode`` p_omega(s | g). Copies of a model share it.

    Args:
        file: ``vae.th`` of an ``omg_vae`` run, or a pool's prior; None: ``load_model`` will provide it.
        state_dim: S.
        args: namespace with the VAE's keys, which must fit the file. The bound of log_var is read from the file.

    Raises:
        ConfigError: the file is missing, or of another shape.
    """

    def __init__(self, file: Path | None, state_dim: int, args: Any) -> None:
        super().__init__(getattr(args.env_info, "state_blocks", ()) or state_dim, read(VAEConfig, args))
        self.has_free_size = False  # the inference network has the same number of latents
        self.vae.requires_grad_(False)
        if file is None:
            return
        try:
            self.load_model(load_tensors(file))
        except UNREADABLE as error:
            raise ConfigError(_refusal(file, error)) from error

    def __deepcopy__(self, memo: Any) -> SubgoalPrior:
        return self


def _refusal(file: Path, error: Exception) -> str:
    return f"source: {file} is no subgoal prior for this environment, or of another size ({reason_of(error)})"


def latents_of_prior(source: str) -> int:
    """The number of latents of the prior in ``source``, which is as for ``prior_file``.

    Raises:
        ConfigError: there is no prior, or its file is damaged.
    """
    file = prior_file(source)
    try:
        return latents_in(load_tensors(file)["vae"])
    except UNREADABLE as error:
        raise ConfigError(_refusal(file, error)) from error


def prior_file(source: str) -> Path:
    """The prior in ``source``: a run of ``omg_vae`` (its last checkpoint), one of its checkpoints, or a pool.

    Raises:
        ConfigError: there is none.
    """
    folder = Path(source).expanduser()
    checkpoints = sorted(folder.glob("checkpoints/*/vae.th"), key=lambda path: -int(path.parent.name))
    for file in (folder / "vae.th", folder / "prior.th", *checkpoints):
        if file.is_file():
            return file
    raise ConfigError(
        f"source: {source!r} has no subgoal prior; make the pool with prior=RUN, or give a run of omg_vae"
    )
