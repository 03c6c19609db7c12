"""The state VAE with everything that its training needs: feature types, standardisation, recent batches, the loss.

It runs in any torch loop. Who feeds it states (a learner beside its agents, a recorded stream) is not its business.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config.schema import key, read
from ..modules.grid_nets import Grid, grid_of
from ..modules.losses import EXP_CLAMP, kl_exp_clamped, kl_standard_normal
from ..modules.vae import StateVAE
from ..types import Block, ConfigError, PathLike, TrainingError
from . import feature_types
from .feature_types import BERNOULLI, CATEGORICAL, CONSTANT, GAUSSIAN, FeatureTypes
from .kl_weight import BETA_PER_ALPHA
from .likelihood import Likelihood
from .normalisers import RunningMeanStd
from .vae_optimiser import VAEOptimiser, VAEOptimiserConfig

log = logging.getLogger(__name__)

ACTIVE_VARIANCE = 0.01  # a latent unit is active where Var_x(E q(z|x)) is at least this (Burda et al. 2015)
STATE_CLIP = 10.0  # standard deviations: a feature that is nearly always constant must not rule the loss
BOUND_SHARE = 0.99  # log_var this close to its bound counts as standing at it
EVIDENCE = 2048  # states kept to find the types of features whose types were contradicted

States = Tensor | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class VAEConfig(VAEOptimiserConfig):
    """Keys of the state VAE, those of its optimiser included."""

    vae_latent_dim: int = key(16, low=1, help="Z")
    vae_hidden_dim: int = key(128, low=1, help="width of the encoder's and the decoder's layers")
    vae_encoder: Literal["auto", "mlp", "cnn"] = key("auto", help="auto: cnn where the state is an image")
    vae_log_var_bound: Literal["tanh", "softplus", "clamp", "exp_clamp", "none"] = key(
        "tanh", help="what keeps log_var in bounds; exp_clamp is for comparison only"
    )
    vae_log_var_limit: float = key(5.0, above=0, help="bound of |log_var|, of tanh and clamp")
    vae_log_var_init: float = key(0.0, help="where log_var starts, before its bound: above 0 a wide posterior")

    vae_likelihood: Literal["auto", "gaussian", "bernoulli", "categorical", "mixed"] = key(
        "auto", help="auto: by the type of each feature; mixed: as vae_feature_types says"
    )
    vae_feature_types: str = key("", help="of vae_likelihood: mixed, such as '5*categorical(16), 3*gaussian'")
    vae_formula: Literal["nats", "mean", "raw_mean"] = key(
        "nats",
        help="the loss: nats per state; mean squared error over standardised (omarl 0.1) or raw features (PyMARL)",
    )
    vae_decoder: Literal["mse", "calibrated"] = key(
        "mse", help="of Gaussian features; calibrated: sigma-VAE, set omg_vae_alpha=1"
    )

    vae_batch_states: int = key(128, low=0, help="states of each VAE update, drawn from the last batches; 0: all")
    vae_window: int = key(4, low=1, help="batches that updates draw states from: the last ones")


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
        self.config: VAEConfig = c
        self.vae = StateVAE(
            self.state_dim,
            c.vae_latent_dim,
            c.vae_hidden_dim,
            c.vae_log_var_bound,
            c.vae_log_var_limit,
            c.vae_log_var_init,
            self._grid(),
        )
        super().__init__(self.vae, c)
        self.formula: str = c.vae_formula
        self._weigh()
        self.normaliser = RunningMeanStd(self.state_dim)
        self.types: FeatureTypes | None = self._types_from_config()
        self.likelihood: Likelihood | None = None
        self.window: deque[Tensor] = deque(maxlen=c.vae_window)
        self.pooled = torch.empty(0, self.state_dim)  # the window's batches in one piece
        self.evidence = torch.empty(0, self.state_dim)

    def _grid(self) -> Grid | None:
        """Where planes lie, if the encoder is convolutional."""
        if self.config.vae_encoder == "mlp":
            return None
        grid = grid_of(self.blocks)
        if self.config.vae_encoder == "cnn" and grid is None:
            raise ConfigError("vae_encoder: cnn needs a state or observation with three axes; take mlp")
        is_large = grid is not None and min(grid.shape[1:]) >= 16
        return grid if self.config.vae_encoder == "cnn" or is_large else None

    def _weigh(self) -> None:
        """Sets what one unit of ``omg_vae_alpha`` weighs under the present formula."""
        is_elbo = self.config.vae_decoder == "calibrated"
        self.beta_per_alpha = BETA_PER_ALPHA if self.formula == "nats" and not is_elbo else 1.0

    def _types_from_config(self) -> FeatureTypes | None:
        """The types that the configuration fixes; None where states decide."""
        c = self.config
        if c.vae_formula != "nats" and c.vae_likelihood not in ("auto", "gaussian"):
            raise ConfigError(f"vae_likelihood: {c.vae_likelihood} needs vae_formula=nats, not {c.vae_formula}")
        if bool(c.vae_feature_types) != (c.vae_likelihood == "mixed"):
            raise ConfigError("vae_feature_types: goes with vae_likelihood=mixed, and only with it")
        if c.vae_likelihood == "mixed":
            return feature_types.parse(c.vae_feature_types, self.state_dim)
        return None

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
        if len(rows) == 0 or (self.window and torch.equal(self.window[-1], rows)):
            return
        self.observe(rows)
        self.window.append(rows.clone())
        self.pooled = torch.cat(list(self.window))

    def observe(self, states: Tensor) -> None:
        """Takes raw states [M, S] into the statistics and checks the feature types against them."""
        if self.formula != "raw_mean":
            self.normaliser.update(states)
        if self.types is None:
            self._find_types(states)
        elif self.formula == "nats":
            self._check_types(states)
        if self.likelihood is not None:
            self.likelihood.follow()

    def update(self, states: States | None = None) -> dict[str, Tensor | float]:
        """One update on raw states [M, S]; without any, on ``vae_batch_states`` of the states collected.

        Returns:
            The update's numbers: see docs/metrics.md.

        Raises:
            TrainingError: no states, and none collected.
        """
        if states is None:
            rows = self._drawn()
        else:
            rows = self._rows(states)
            self.observe(rows)
        inputs = self._inputs(rows)
        out = self.vae(inputs)
        recon = self._recon(out.recon, rows, inputs)
        kl = self._kl(out.mu, out.log_var)
        if self.formula != "nats":
            return self.descend(recon, out.mu, kl, self._calibrated(out.recon, rows, inputs))
        assert self.likelihood is not None
        fit = self._calibrated(out.recon, rows, inputs)
        return self.descend(recon, out.mu, kl, fit, scale=self.scale)

    @property
    def scale(self) -> float:
        """Nats of a decoder that knows only the marginals: the loss in its units starts at about 1."""
        assert self.likelihood is not None
        return max(self.likelihood.null_nats(), 0.5)

    def _recon(self, outputs: Tensor, states: Tensor, inputs: Tensor) -> Tensor:
        assert self.likelihood is not None
        if self.formula == "nats":
            return self.likelihood.nll(outputs, states, inputs).mean()
        return (outputs - inputs).square().mean()

    def _calibrated(self, outputs: Tensor, states: Tensor, inputs: Tensor) -> Tensor | None:
        assert self.likelihood is not None
        if self.config.vae_decoder != "calibrated":
            return None
        return self.likelihood.calibrated_nll(outputs, states, inputs)

    def _drawn(self) -> Tensor:
        """``vae_batch_states`` of the states in the window, without replacement [M, S]."""
        if not self.window:
            raise TrainingError("the VAE has no states: give them to update(states), or to collect(states) before")
        total, wanted = len(self.pooled), self.config.vae_batch_states
        if wanted == 0 or wanted >= total:
            return self.pooled
        return self.pooled[torch.randperm(total)[:wanted].to(self.pooled.device)]

    def _rows(self, states: States) -> Tensor:
        """States of any leading shape as float32 rows on the VAE's device."""
        rows = torch.as_tensor(states, dtype=torch.float32, device=self.parameters[0].device)
        return rows.reshape(-1, self.state_dim)

    def _inputs(self, states: Tensor) -> Tensor:
        """Standardised states; raw ones under ``vae_formula: raw_mean``."""
        return states if self.formula == "raw_mean" else self.normaliser.normalise(states, STATE_CLIP)

    def _find_types(self, states: Tensor) -> None:
        kinds = {
            "gaussian": (CONSTANT, GAUSSIAN),
            "bernoulli": (CONSTANT, BERNOULLI),
            "categorical": (CONSTANT, BERNOULLI, CATEGORICAL),
        }.get(self.config.vae_likelihood, range(4))
        if self.formula != "nats":
            found = FeatureTypes.all_of(GAUSSIAN, self.state_dim)
        else:
            found = feature_types.infer(states, self.blocks, kinds)
        wanted = self.config.vae_likelihood
        if wanted in ("bernoulli", "categorical") and len(found.where(GAUSSIAN)):
            raise ConfigError(
                f"vae_likelihood: {wanted} needs features of 0 and 1, and feature {int(found.where(GAUSSIAN)[0])} "
                "has other values; take auto"
            )
        self.types, self.likelihood = found, Likelihood(found, self.normaliser)
        self._remember_evidence(states)
        if self.formula == "nats":
            log.info("the VAE sees %s", found.describe())

    def _check_types(self, states: Tensor) -> None:
        assert self.types is not None
        if self.likelihood is None:
            self.likelihood = Likelihood(self.types, self.normaliser)
        fixed = feature_types.without_false_copies(self.types, states)
        wrong = feature_types.contradicted(self.types, states)
        self._remember_evidence(states)
        if bool(wrong.any()):
            seen = torch.cat([self.evidence, states.cpu()])
            fixed = feature_types.corrected(fixed, seen, wrong, self.blocks)
        if fixed is not self.types:
            changes = feature_types.changes(self.types, fixed)
            log.warning("later states contradict the types of VAE features; corrected: %s", changes)
            self.types, self.likelihood = fixed, Likelihood(fixed, self.normaliser)

    def _remember_evidence(self, states: Tensor) -> None:
        """Keeps a spread of the states seen while there is room."""
        room = EVIDENCE - len(self.evidence)
        if room > 0:
            few = states[:: max(1, len(states) // 256)][:room].cpu()
            self.evidence = torch.cat([self.evidence, few])

    def _kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        kl = kl_exp_clamped if self.config.vae_log_var_bound == "exp_clamp" else kl_standard_normal
        return kl(mu, log_var)

    @torch.no_grad()
    def encode(self, states: States) -> tuple[Tensor, Tensor]:
        """Raw states [..., S] to the posterior's mean and log-variance [..., Z]."""
        rows = torch.as_tensor(states, dtype=torch.float32, device=self.parameters[0].device)
        return self.vae.encode(self._inputs(rows))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Codes [..., Z] to expected raw states [..., S]; probabilities for bits and one-hot groups."""
        return self._mean(self.vae.decode(z))

    def _mean(self, outputs: Tensor) -> Tensor:
        if self.formula == "raw_mean" or self.likelihood is None:
            return outputs
        return self.likelihood.mean(outputs)

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
        if self.likelihood is None:
            self.observe(rows)
        assert self.likelihood is not None and self.types is not None
        inputs = self._inputs(rows)
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
            values["vae_recon_null"] = self.likelihood.null_nats()
        accuracy = self.likelihood.accuracy(outputs, rows)
        if not math.isnan(accuracy):
            values["vae_accuracy"] = accuracy
        return {name: float(value) for name, value in values.items()}

    def _explained(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """1 - squared error / variance, in standardised units, of the features that are not constant."""
        assert self.types is not None
        decoded = self._mean(outputs)
        if self.formula != "raw_mean":
            decoded = self.normaliser.normalise(decoded, STATE_CLIP)
        free = (self.types.kind != CONSTANT).to(inputs.device)
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
        self.normaliser.to(device)
        self.window = deque((batch.to(device) for batch in self.window), maxlen=self.window.maxlen)
        self.pooled = self.pooled.to(device)
        if self.types is not None:
            self.likelihood = Likelihood(self.types, self.normaliser)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        return {
            **super().state_dict(),
            "vae": copy.deepcopy(self.vae.state_dict()),
            "log_var": [self.vae.bound, self.vae.limit],
            "normaliser": self.normaliser.state_dict(),
            "formula": self.formula,
            "types": None if self.types is None else self.types.state_dict(),
            "window": [batch.cpu().clone() for batch in self.window],
            "evidence": self.evidence.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``; the configuration's KL weight wins over the saved one, the saved formula over the
        configuration's. Files of omarl 0.1 hold no formula and no types: theirs is ``mean``."""
        self.load_model(state)
        super().load_state_dict(state)
        device = self.parameters[0].device
        batches = (batch.to(device) for batch in state.get("window", ()))
        self.window = deque(batches, maxlen=self.config.vae_window)
        self.pooled = torch.cat([*self.window]) if self.window else self.pooled
        self.evidence = state.get("evidence", self.evidence)

    def load_model(self, state: Mapping[str, Any]) -> None:
        """Takes up the part of ``state_dict`` that encodes and decodes: nothing of the optimiser or the schedule."""
        self.vae.load_state_dict(state["vae"])
        self.vae.bound, self.vae.limit = state.get("log_var", (self.vae.bound, self.vae.limit))
        self.normaliser.load_state_dict(state["normaliser"])
        formula = state.get("formula", "mean")
        if formula != self.formula:
            log.info("vae_formula: the checkpoint was trained with %s, which it keeps", formula)
        self.formula = formula
        self._weigh()
        saved = state.get("types")
        if saved is not None:
            self.types = FeatureTypes.from_state_dict(saved)
        elif formula != "nats":
            self.types = FeatureTypes.all_of(GAUSSIAN, self.state_dim)
        self.likelihood = None if self.types is None else Likelihood(self.types, self.normaliser)

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


def blocks_of(features: int | Sequence[Block] | Any) -> tuple[Block, ...]:
    """What a number of features, a Gymnasium space or blocks declare of features; nothing for a number."""
    if isinstance(features, int):
        return ()
    if isinstance(features, (list, tuple)):  # spaces.Tuple is a Sequence too
        return tuple(features)
    from ..utils.space_blocks import blocks_of_space  # Gymnasium is needed for spaces alone

    return blocks_of_space(features)
