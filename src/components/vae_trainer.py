"""The state VAE with everything that its training needs: feature types, standardisation, recent batches, the loss.

It runs in any torch loop. Who feeds it states (a learner beside its agents, a recorded stream) is not its business.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config.schema import key, read
from ..modules.grid_nets import Grid, grid_of
from ..modules.losses import EXP_CLAMP, kl_exp_clamped, kl_standard_normal, squared_error
from ..modules.vae import StateVAE, code_size
from ..types import Block, ConfigError, PathLike, TrainingError
from .feature_types import CONSTANT
from .kl_weight import BETA_PER_ALPHA
from .normalisers import RunningMeanStd
from .state_features import StateFeatures
from .state_window import StateWindow
from .vae_optimiser import VAEOptimiser, VAEOptimiserConfig

log = logging.getLogger(__name__)

ACTIVE_VARIANCE = 0.01  # a latent unit is active where Var_x(E q(z|x)) is at least this (Burda et al. 2015)
BOUND_SHARE = 0.99  # log_var this close to its bound counts as standing at it
LARGE_GRID = 16  # cells of the shorter side from which vae_encoder: auto takes convolutions

States = Tensor | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class VAEShapeKeys:
    """Keys of the state VAE's networks, some of which OMG's inference shares: the state VAE is its prior."""

    vae_latent_dim: int = key(16, low=0, help="Z, the number of latents; 0: half the number of features, 16 to 64")
    vae_hidden_dim: int = key(128, low=1, help="width of the state VAE's layers")
    vae_linear_path: bool = key(
        False, help="add a linear map to the encoder and to the decoder; rare combinations pass through it"
    )
    vae_encoder: Literal["auto", "mlp", "cnn"] = key("auto", help="auto: cnn where the state is an image")
    vae_log_var_bound: Literal["tanh", "softplus", "clamp", "exp_clamp", "none"] = key(
        "tanh", help="what keeps log_var in bounds; exp_clamp is for comparison only, and of the state VAE alone"
    )
    vae_log_var_limit: float = key(5.0, above=0, help="bound of |log_var| for tanh and clamp")
    vae_decoder: Literal["mse", "calibrated"] = key(
        "mse", help="Gaussian features: mse, or calibrated (sigma-VAE; set omg_vae_alpha=1)"
    )


@dataclass(frozen=True)
class VAEConfig(VAEOptimiserConfig, VAEShapeKeys):
    """Keys of the state VAE, those of its optimiser included."""

    vae_log_var_init: float = key(0.0, help="initial log_var before its bound; above 0: a wide posterior")

    vae_likelihood: Literal["auto", "gaussian", "bernoulli", "categorical", "mixed"] = key(
        "auto", help="auto: by the type of each feature; mixed: as vae_feature_types says"
    )
    vae_feature_types: str = key("", help="types for vae_likelihood=mixed, such as '5*categorical(16), 3*gaussian'")
    vae_formula: Literal["nats", "mean", "raw_mean"] = key(
        "nats",
        help="loss: nats for each state; mean squared error of standardised (omarl 0.1) or raw features (PyMARL)",
    )

    vae_batch_states: int = key(128, low=0, help="states of each VAE update, drawn from the last batches; 0: all")
    vae_window: int = key(4, low=1, help="how many of the last batches updates draw states from")


class VAETrainer(VAEOptimiser):
    """The state VAE and its training.

    The loss is ``nats per state + vae_beta * sum_Z KL(q(z|s) || N(0, 1))``, averaged over states, where nats per
    state are those of ``Likelihood.nll``. ``vae_formula`` puts a mean squared error in their place.

    Args:
        features: the number of features S; a Gymnasium space; or ``Block``s, what is declared of adjacent features.
        config: see ``VAEConfig``; None: the defaults.

    Raises:
        ConfigError: keys that do not go together.
    """

    def __init__(self, features: int | Sequence[Block] | Any, config: VAEConfig | None = None) -> None:
        c = config or VAEConfig()
        self.blocks = blocks_of(features)
        self.state_dim = features if isinstance(features, int) else sum(block.size for block in self.blocks)
        self.has_free_size = c.vae_latent_dim == 0
        self._take_network(code_size(c.vae_latent_dim, self.state_dim), c.vae_linear_path, c)
        self.window = StateWindow(c.vae_window, self.state_dim)
        self._check_keys()
        self._take_formula(c.vae_formula)

    def _take_network(self, latent_dim: int, linear_path: bool, config: VAEConfig) -> None:
        """Makes the network and its optimiser; the configuration then says which."""
        self.config: VAEConfig = replace(config, vae_latent_dim=latent_dim, vae_linear_path=linear_path)
        c = self.config
        self.vae = StateVAE(
            self.state_dim,
            c.vae_latent_dim,
            c.vae_hidden_dim,
            c.vae_log_var_bound,
            c.vae_log_var_limit,
            c.vae_log_var_init,
            self._grid(),
            c.vae_linear_path,
        )
        super().__init__(self.vae, c)

    def _take_formula(self, formula: str) -> None:
        """Sets the loss, what one unit of ``omg_vae_alpha`` weighs in it, and how states are seen."""
        c = self.config
        self.formula = formula
        is_elbo = c.vae_decoder == "calibrated"
        self.beta_per_alpha = BETA_PER_ALPHA if formula == "nats" and not is_elbo else 1.0
        likelihood = c.vae_likelihood if formula == "nats" else "gaussian"
        self.features = StateFeatures(
            self.state_dim,
            self.blocks,
            likelihood,
            c.vae_feature_types,
            is_typed=formula == "nats",
            is_standardised=formula != "raw_mean",
        )

    def _grid(self) -> Grid | None:
        """Where planes lie, if the encoder is convolutional."""
        if self.config.vae_encoder == "mlp":
            return None
        grid = grid_of(self.blocks)
        if self.config.vae_encoder == "cnn" and grid is None:
            raise ConfigError("vae_encoder: cnn needs a state or observation with three axes; take mlp")
        is_large = grid is not None and min(grid.shape[1:]) >= LARGE_GRID
        return grid if self.config.vae_encoder == "cnn" or is_large else None

    def _check_keys(self) -> None:
        c = self.config
        if c.vae_formula != "nats" and c.vae_likelihood not in ("auto", "gaussian"):
            raise ConfigError(f"vae_likelihood: {c.vae_likelihood} needs vae_formula=nats, not {c.vae_formula}")
        if bool(c.vae_feature_types) != (c.vae_likelihood == "mixed"):
            raise ConfigError("vae_feature_types: goes with vae_likelihood=mixed, and only with it")

    @property
    def normaliser(self) -> RunningMeanStd:
        """Mean and standard deviation of the states observed."""
        return self.features.normaliser

    def notices(self) -> list[str]:
        """What the user should know about the configuration, a line each."""
        c, lines = self.config, []
        if c.vae_optimiser == "adam":
            lines.append(
                f"optim_alpha={c.optim_alpha:g} is RMSprop's smoothing constant and the VAE trains with Adam: "
                "not used by it (vae_betas is what Adam reads)"
            )
        if c.vae_log_var_bound == "exp_clamp":
            lines.append(
                "warning: vae_log_var_bound=exp_clamp counts exp(log_var) as 10 at most inside the KL; above that "
                "the KL pushes log_var up without end and falls below zero. For comparison only: tanh is the cure"
            )
        if c.vae_decoder == "calibrated" and c.omg_vae_alpha != 1.0:
            lines.append(
                f"vae_decoder=calibrated is the ELBO at omg_vae_alpha=1; at {c.omg_vae_alpha:g} it weighs the KL "
                "on the scale of a sum over the state"
            )
        return lines

    def collect(self, states: States) -> None:
        """Remembers a batch of raw states [M, S]: the last ``vae_window`` batches are what ``update()`` draws from.

        The batch that was collected last is not counted twice.
        """
        rows = self._rows(states)
        if self.window.add(rows):
            self.features.observe(rows)

    def update(self, states: States | None = None) -> dict[str, Tensor | float]:
        """One update on raw states [M, S]; without any, on ``vae_batch_states`` of the states collected.

        Returns:
            The update's numbers: see docs/metrics.md.

        Raises:
            TrainingError: no states, and none collected.
        """
        if states is not None:
            rows = self._rows(states)
            self.features.observe(rows)
        elif len(self.window.states):
            rows = self.window.draw(self.config.vae_batch_states)
        else:
            raise TrainingError("the VAE has no states: give them to update(states), or to collect(states) before")
        inputs = self.features.inputs(rows)
        out = self.vae(inputs)
        recon, kl = self._recon(out.recon, rows, inputs), self._kl(out.mu, out.log_var)
        fit = None
        if self.config.vae_decoder == "calibrated":
            fit = self.features.likelihood.calibrated_nll(out.recon, rows, inputs)
        return self.descend(recon, out.mu, kl, fit, self._scale())

    def _scale(self) -> float:
        """What the loss is divided by for its gradient: nats of a decoder that knows only the marginals."""
        return max(self.features.likelihood.null_nats(), 0.5) if self.formula == "nats" else 1.0

    def _recon(self, outputs: Tensor, states: Tensor, inputs: Tensor) -> Tensor:
        if self.formula == "nats":
            return self.features.likelihood.nll(outputs, states, inputs).mean()
        return squared_error(outputs, inputs).mean()

    def _rows(self, states: States) -> Tensor:
        """States of any leading shape as float32 rows on the VAE's device."""
        rows = torch.as_tensor(states, dtype=torch.float32, device=self.parameters[0].device)
        return rows.reshape(-1, self.state_dim)

    def _kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        kl = kl_exp_clamped if self.config.vae_log_var_bound == "exp_clamp" else kl_standard_normal
        return kl(mu, log_var)

    @torch.no_grad()
    def encode(self, states: States) -> tuple[Tensor, Tensor]:
        """Raw states [..., S] to the posterior's mean and log-variance [..., Z]."""
        rows = torch.as_tensor(states, dtype=torch.float32, device=self.parameters[0].device)
        return self.vae.encode(self.features.inputs(rows))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Codes [..., Z] to expected raw states [..., S]; probabilities for bits and one-hot groups."""
        return self.features.mean(self.vae.decode(z))

    @torch.no_grad()
    def describe(self, states: States) -> dict[str, float]:
        """How well raw states [M, S] are coded, by the posterior's mean.

        Returns:
            ``vae_explained_variance``: 1 - squared error / variance of the decoded state, both summed over
            standardised features that are not constant; ``vae_accuracy``: see ``Likelihood.accuracy``, left out
            where there are neither bits nor one-hot groups; ``vae_active_units``: latents with Var_x(mu) >= 0.01
            (Burda et al. 2015); ``vae_recon_loss`` and ``vae_kl_loss`` as in training, but from the mean code;
            ``vae_recon_null``: nats of a decoder that knows only the marginals; and where log_var and mu stand, see
            docs/metrics.md.
        """
        rows = self._rows(states)
        if self.features.types is None:
            self.features.observe(rows)
        likelihood, inputs = self.features.likelihood, self.features.inputs(rows)
        mu, log_var = self.vae.encode(inputs)
        outputs = self.vae.decode(mu)
        kl = self._kl(mu, log_var)
        by_latent = kl.mean(dim=0).sort(descending=True).values
        top = by_latent[: math.ceil(len(by_latent) / 4)].sum() / by_latent.sum().clamp(min=1e-12)
        values: dict[str, Tensor | float] = {
            "vae_explained_variance": self._explained(outputs, inputs),
            "vae_active_units": (mu.var(dim=0, unbiased=False) >= ACTIVE_VARIANCE).sum(),
            "vae_recon_loss": self._recon(outputs, rows, inputs),
            "vae_kl_loss": kl.sum(dim=-1).mean(),
            "vae_kl_top_share": top,
            "vae_log_var_bound_share": self._at_bound(log_var).float().mean(),
            "vae_log_var_mean": log_var.mean(),
            "vae_log_var_max": log_var.max(),
            "vae_mu_abs_max": mu.abs().max(),
        }
        if self.formula == "nats":
            values["vae_recon_null"] = likelihood.null_nats()
        accuracy = likelihood.accuracy(outputs, rows)
        if not math.isnan(accuracy):
            values["vae_accuracy"] = accuracy
        return {name: float(value) for name, value in values.items()}

    def _explained(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """1 - squared error / variance, in standardised units, of the features that are not constant."""
        assert self.features.types is not None
        decoded = self.features.inputs(self.features.mean(outputs))
        free = (self.features.types.kind != CONSTANT).to(inputs.device)
        error = (decoded - inputs).square().mean(dim=0)[free].sum()
        variance = inputs.var(dim=0, unbiased=False)[free].sum()
        return 1.0 - error / variance.clamp(min=1e-12)

    def _at_bound(self, log_var: Tensor) -> Tensor:
        c = self.config
        if c.vae_log_var_bound == "exp_clamp":
            return log_var > math.log(EXP_CLAMP)
        if c.vae_log_var_bound in ("tanh", "clamp"):
            return log_var.abs() >= BOUND_SHARE * c.vae_log_var_limit
        return torch.zeros_like(log_var)

    def cuda(self) -> None:
        """Moves the VAE and its statistics to the GPU."""
        self.to("cuda")

    def to(self, device: str) -> None:
        """Moves the VAE, its statistics and the states collected."""
        self.vae.to(device)
        self.features.to(device)
        self.window.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        return {
            **super().state_dict(),
            "vae": copy.deepcopy(self.vae.state_dict()),
            "log_var": [self.vae.bound, self.vae.limit],
            "formula": self.formula,
            **self.features.state_dict(),
            **self.window.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``; the configuration's KL weight wins over the saved one, the saved formula over the
        configuration's. Files of omarl 0.1 hold no formula and no types: theirs is ``mean``."""
        self.load_model(state)
        super().load_state_dict(state)
        device = self.parameters[0].device
        self.window.load([batch.to(device) for batch in state.get("window", ())])

    def load_model(self, state: Mapping[str, Any]) -> None:
        """Takes up the part of ``state_dict`` that encodes and decodes: nothing of the optimiser or the schedule."""
        self._follow_file(state["vae"])
        self.vae.load_state_dict(state["vae"])
        self.vae.bound, self.vae.limit = state.get("log_var", (self.vae.bound, self.vae.limit))
        formula = state.get("formula", "mean")
        if formula != self.formula:
            log.info("vae_formula: the checkpoint was trained with %s, which it keeps", formula)
            self._take_formula(formula)
        self.features.to(str(self.parameters[0].device))
        self.features.load_state_dict(state)

    def _follow_file(self, weights: Mapping[str, Tensor]) -> None:
        """A checkpoint keeps its linear path or its lack of one, and its latents where no number was asked for."""
        c, first = self.config, self.parameters[0]
        has_line = "encoder_line.weight" in weights
        latent_dim = latents_in(weights) if self.has_free_size else c.vae_latent_dim
        if (latent_dim, has_line) != (c.vae_latent_dim, self.vae.encoder_line is not None):
            unit = self.beta_per_alpha
            self._take_network(latent_dim, has_line, c)
            self.beta_per_alpha = unit
            self.vae.to(first.device).requires_grad_(first.requires_grad)

    def save(self, path: PathLike) -> None:
        """Writes the VAE with its configuration to one file: see ``load``."""
        blocks = [asdict(block) for block in self.blocks]
        about = {"state_dim": self.state_dim, "blocks": blocks, "config": asdict(self.config)}
        torch.save({**self.state_dict(), "about": about}, path)

    @classmethod
    def load(cls, path: PathLike) -> VAETrainer:
        """Reads a file that ``save`` wrote.

        Raises:
            ConfigError: the file is missing or is none of ``save``'s.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            about = state["about"]
            blocks = [Block(b["size"], b["kind"], tuple(b["shape"])) for b in about["blocks"]]
            trainer = cls(blocks or int(about["state_dim"]), read(VAEConfig, about["config"]))
            trainer.load_state_dict(state)
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: there is no such file") from error
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
            raise ConfigError(f"{path}: is damaged, or no file that VAETrainer.save wrote") from error
        return trainer


def latents_in(weights: Mapping[str, Tensor]) -> int:
    """Z of a saved network: the inputs of the decoder's first layer."""
    return next(w.shape[1] for name, w in weights.items() if name.startswith("decoder.") and w.dim() == 2)


def blocks_of(features: int | Sequence[Block] | Any) -> tuple[Block, ...]:
    """What a number of features, a Gymnasium space or blocks declare of features; nothing for a number."""
    if isinstance(features, int):
        return ()
    if isinstance(features, (list, tuple)):  # spaces.Tuple is a Sequence too
        return tuple(features)
    from ..utils.space_blocks import blocks_of_space  # Gymnasium is needed for spaces alone

    return blocks_of_space(features)
