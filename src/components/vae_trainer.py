"""The state VAE and its training: feature types, standardisation, recent batches and the loss.

It runs in any torch loop, on states from a learner's batches or from a recording.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config.schema import read
from ..modules.encoder import Part, as_features, grids_of
from ..modules.losses import kl_exp_clamped, kl_standard_normal, squared_error
from ..modules.vae import StateVAE, at_bound, code_size, latents_in
from ..types import Block, ConfigError, PathLike, TrainingError
from ..utils.tensor_files import load_tensors
from .kl_weight import BETA_PER_ALPHA
from .state_features import StateFeatures
from .vae_config import VAEConfig
from .vae_optimiser import VAEOptimiser

log = logging.getLogger(__name__)

ACTIVE_VARIANCE = 0.01  # a latent unit is active if Var_x(E q(z|x)) is at least this (Burda et al. 2015)
LARGE_GRID = 16  # cells of the shorter side from which vae_encoder=auto selects convolutions
MOST = 1 << 23  # numbers of the states that ``describe`` measures

States = Tensor | NDArray[np.floating[Any]] | NDArray[np.uint8]  # bytes are 255 times the features


class VAETrainer(VAEOptimiser):
    """The state VAE and its training.

    The loss is ``nats per state + vae_beta * sum_Z KL(q(z|s) || N(0, 1))``, averaged over states. The nats are
    those of ``Likelihood.nll``; other values of ``vae_formula`` replace them by a mean squared error.

    Args:
        features: the number of features S; a Gymnasium space; or ``Block``s, declarations of adjacent features.
        config: None: the defaults.

    Raises:
        ConfigError: keys that exclude each other.
    """

    def __init__(self, features: int | Sequence[Block] | Any, config: VAEConfig | None = None) -> None:
        c = config or VAEConfig()
        if c.vae_formula != "nats" and c.vae_likelihood not in ("auto", "gaussian"):
            raise ConfigError(f"vae_likelihood: {c.vae_likelihood} needs vae_formula=nats, not {c.vae_formula}")
        if bool(c.vae_feature_types) != (c.vae_likelihood == "mixed"):
            raise ConfigError("vae_feature_types: needs vae_likelihood=mixed, and is needed with it")
        self.blocks = blocks_of(features)
        self.state_dim = features if isinstance(features, int) else sum(block.size for block in self.blocks)
        self.has_free_size = c.vae_latent_dim == 0
        self._take_network(code_size(c.vae_latent_dim, self.state_dim), c.vae_linear_path, c)
        self._store([], "cpu")
        self._take_formula(c.vae_formula)

    def _take_network(self, latent_dim: int, linear_path: bool, config: VAEConfig) -> None:
        """Creates the network and its optimiser, and sets its size in the configuration."""
        self.config: VAEConfig = replace(config, vae_latent_dim=latent_dim, vae_linear_path=linear_path)
        c = self.config
        bound = c.vae_log_var_bound, c.vae_log_var_limit, c.vae_log_var_init
        self.vae = StateVAE(self.state_dim, latent_dim, c.vae_hidden_dim, *bound, self._groups(), linear_path)
        self._kl = kl_exp_clamped if c.vae_log_var_bound == "exp_clamp" else kl_standard_normal
        super().__init__(self.vae, c)

    def _take_formula(self, formula: str) -> None:
        """Sets the loss, its weight of one unit of ``omg_vae_alpha``, and the features' types and scale."""
        c = self.config
        self.formula = formula
        self.beta_per_alpha = BETA_PER_ALPHA if formula == "nats" and c.vae_decoder != "calibrated" else 1.0
        likelihood = c.vae_likelihood if formula == "nats" else "gaussian"
        self.features = StateFeatures(
            self.state_dim, self.blocks, likelihood, c.vae_feature_types, formula == "nats", formula != "raw_mean"
        )

    def _groups(self) -> list[list[Part]]:
        """The images and grids in the state if the networks are convolutional."""
        if self.config.vae_encoder == "mlp":
            return []
        groups = grids_of(self.blocks)
        if self.config.vae_encoder == "cnn" and not groups:
            raise ConfigError("vae_encoder: cnn needs a state or observation with three axes; use mlp")
        is_large = bool(groups) and min(groups[0][0].planes[1:]) >= LARGE_GRID
        return groups if self.config.vae_encoder == "cnn" or is_large else []

    def collect(self, states: States) -> None:
        """Stores a batch of raw states [M, S] for ``update()``, unless it equals the batch stored last.

        States as bytes are stored as bytes.
        """
        rows = self._on_device(states)
        if len(rows) and not (self.window and torch.equal(self.window[-1], rows)):
            self._store([*self.window, rows.clone()], rows.device)
            self.features.observe(rows)

    def _store(self, batches: Sequence[Tensor], device: torch.device | str) -> None:
        """Keeps the last ``vae_window`` batches. On new batches only, a VAE unlearns older ones, and its KL drops."""
        self.window = [batch.to(device) for batch in batches[-self.config.vae_window :]]
        self.collected = torch.cat(self.window) if self.window else torch.empty(0, self.state_dim, device=device)

    def draw(self) -> Tensor:
        """``vae_batch_states`` of the collected states without replacement; all of them if there are no more."""
        rows, count = self.collected, self.config.vae_batch_states
        if 0 < count < len(rows):
            rows = rows[torch.randperm(len(rows))[:count].to(rows.device)]
        return as_features(rows)

    def update(self, states: States | None = None) -> dict[str, Tensor | float]:
        """One update; returns its metrics (docs/metrics.md).

        Args:
            states: raw [M, S]; None: ``draw`` from the last ``vae_window`` batches passed to ``collect``.

        Raises:
            TrainingError: no states were passed or collected.
        """
        if states is not None:
            rows = self._rows(states)
            self.features.observe(rows)
        elif self.window:
            rows = self.draw()
        else:
            raise TrainingError("the VAE has no states: pass them to update(states), or to collect(states) before")
        inputs = self.features.inputs(rows)
        out = self.vae(inputs)
        recon, kl = self._recon(out.recon, rows, inputs), self._kl(out.mu, out.log_var)
        likelihood, is_calibrated = self.features.likelihood, self.config.vae_decoder == "calibrated"
        fit = likelihood.calibrated_nll(out.recon, rows, inputs) if is_calibrated else None
        scale = max(likelihood.null_nats(), 0.5) if self.formula == "nats" else 1.0
        return self.descend(recon, out.mu, kl, fit, scale)

    def _recon(self, outputs: Tensor, states: Tensor, inputs: Tensor) -> Tensor:
        if self.formula == "nats":
            return self.features.likelihood.nll(outputs, states, inputs).mean()
        return squared_error(outputs, inputs).mean()

    def _rows(self, states: States) -> Tensor:
        """States of any leading shape as float32 rows on the VAE's device."""
        return as_features(self._on_device(states))

    def _on_device(self, states: States) -> Tensor:
        """States of any leading shape as rows on the VAE's device, bytes or float32."""
        rows = torch.as_tensor(states, device=self.parameters[0].device)
        return (rows if rows.dtype == torch.uint8 else rows.float()).reshape(-1, self.state_dim)

    @torch.no_grad()
    def encode(self, states: States) -> tuple[Tensor, Tensor]:
        """Raw states [..., S] to the posterior's mean and log-variance [..., Z]."""
        rows = self._rows(states).reshape(*states.shape[:-1], self.state_dim)
        return self.vae.encode(self.features.inputs(rows))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Codes [..., Z] to expected raw states [..., S]; probabilities for bits and one-hot groups."""
        return self.features.mean(self.vae.decode(z))

    @torch.no_grad()
    def describe(self, states: States) -> dict[str, float]:
        """Metrics of coding raw states [M, S] by the posterior's mean; docs/metrics.md has the others.

        Of many images, a part is measured: every second, every third, ... state, ``MOST`` numbers.

        Returns:
            ``vae_explained_variance``: 1 - squared error / variance of the decoded state, both summed over
            standardised features that are not constant, if the states differ;
            ``vae_r2``: out-of-sample R2, 1 - squared error / squared deviation from the mean of the states in
            training, both summed as above (Campbell and Thompson 2008); not for ``raw_mean``;
            ``vae_accuracy``: see ``Likelihood.accuracy``, if there are bits or one-hot groups;
            ``vae_active_units``: latents with Var_x(mu) >= 0.01 (Burda et al. 2015);
            ``vae_recon_loss`` and ``vae_kl_loss`` as in training, but from the mean code; ``vae_recon_null``: nats
            of a decoder that knows only the marginals.
        """
        c, every = self.config, self._on_device(states)
        rows = as_features(every[:: max(-(-every.numel() // MOST), 1)])
        if self.features.types is None:
            self.features.observe(rows)
        likelihood, inputs = self.features.likelihood, self.features.inputs(rows)
        mu, log_var = self.vae.encode(inputs)
        outputs = self.vae.decode(mu)
        kl = self._kl(mu, log_var)
        by_latent = kl.mean(dim=0).sort(descending=True).values
        top = by_latent[: math.ceil(len(by_latent) / 4)].sum() / by_latent.sum().clamp(min=1e-12)
        values: dict[str, Tensor | float] = {
            "vae_active_units": (mu.var(dim=0, unbiased=False) >= ACTIVE_VARIANCE).sum(),
            "vae_recon_loss": self._recon(outputs, rows, inputs),
            "vae_kl_loss": kl.sum(dim=-1).mean(),
            "vae_kl_top_share": top,
            "vae_log_var_bound_share": at_bound(log_var, c.vae_log_var_bound, c.vae_log_var_limit).float().mean(),
            "vae_log_var_mean": log_var.mean(),
            "vae_log_var_max": log_var.max(),
            "vae_mu_abs_max": mu.abs().max(),
        }
        if self.formula == "nats":
            values["vae_recon_null"] = likelihood.null_nats()
        values["vae_explained_variance"], values["vae_r2"] = self.features.explained(outputs, inputs)
        values["vae_accuracy"] = likelihood.accuracy(outputs, rows)
        described = {name: float(value) for name, value in values.items()}
        undefined = {n for n in ("vae_explained_variance", "vae_r2", "vae_accuracy") if math.isnan(described[n])}
        return {name: value for name, value in described.items() if name not in undefined}

    def to(self, device: str) -> None:
        """Moves the VAE, its statistics and the collected states."""
        self.vae.to(device)
        self.features.to(device)
        self._store(self.window, device)

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on."""
        return {
            **super().state_dict(),
            "vae": copy.deepcopy(self.vae.state_dict()),
            "log_var": [self.vae.bound, self.vae.limit],
            "formula": self.formula,
            **self.features.state_dict(),
            "window": [batch.cpu().clone() for batch in self.window],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``. The configured KL weight and the saved formula have priority over the others.

        Files of omarl 0.1 have no formula and no types: their formula is ``mean``.
        """
        self.load_model(state)
        super().load_state_dict(state)
        self._store(state.get("window", ()), self.parameters[0].device)

    def load_model(self, state: Mapping[str, Any]) -> None:
        """Restores the part of ``state_dict`` that encodes and decodes, without optimiser and schedule."""
        self._follow_file(state["vae"])
        self.vae.load_state_dict(state["vae"])
        self.vae.bound, self.vae.limit = state.get("log_var", (self.vae.bound, self.vae.limit))
        formula = state.get("formula", "mean")
        if formula != self.formula:
            log.info("vae_formula: the checkpoint was trained with %s, which remains", formula)
            self._take_formula(formula)
        self.features.to(str(self.parameters[0].device))
        self.features.load_state_dict(state)

    def _follow_file(self, weights: Mapping[str, Tensor]) -> None:
        """Adopts a checkpoint's linear path or its absence, and its number of latents if none was configured."""
        c, first = self.config, self.parameters[0]
        has_line = "encoder_line.weight" in weights
        latent_dim = c.vae_latent_dim
        if self.has_free_size:
            latent_dim = latents_in(weights)
        if (latent_dim, has_line) != (c.vae_latent_dim, self.vae.encoder_line is not None):
            self._take_network(latent_dim, has_line, c)
            self.vae.to(first.device).requires_grad_(first.requires_grad)

    def save(self, path: PathLike) -> None:
        """Writes the VAE with its configuration to one file, which ``load`` reads."""
        blocks = [asdict(block) for block in self.blocks]
        about = {"state_dim": self.state_dim, "blocks": blocks, "config": asdict(self.config)}
        torch.save({**self.state_dict(), "about": about}, path)

    @classmethod
    def load(cls, path: PathLike) -> VAETrainer:
        """Reads a file that ``save`` wrote.

        Raises:
            ConfigError: the file is missing, damaged, or was not written by ``save``.
        """
        try:
            state = load_tensors(path)
            about = state["about"]
            blocks = [Block(b["size"], b["kind"], tuple(b["shape"])) for b in about["blocks"]]
            trainer = cls(blocks or int(about["state_dim"]), read(VAEConfig, about["config"]))
            trainer.load_state_dict(state)
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: is damaged, or was not written by VAETrainer.save") from error
        return trainer


def blocks_of(features: int | Sequence[Block] | Any) -> tuple[Block, ...]:
    """The blocks of a Gymnasium space, blocks unchanged; none for a number of features."""
    if isinstance(features, int):
        return ()
    if isinstance(features, (list, tuple)):  # spaces.Tuple is a Sequence too
        return tuple(features)
    from ..utils.space_blocks import blocks_of_space  # only spaces need Gymnasium

    return blocks_of_space(features)
