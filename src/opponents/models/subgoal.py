"""Subgoal inference of OMG (Yu, Jiang and Lu, NeurIPS 2024, section 4): q_phi(g | tau_t, s_t) and its decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...components.vae_trainer import LatentKeys
from ...config.schema import key, read
from ...modules.codebook import Codebook
from ...modules.linear import Linear
from ...modules.vae import bounded, mlp
from ...types import ConfigError
from ..boards import opponents_places
from .history_model import HistoryModel, HistoryModelConfig


@dataclass(frozen=True)
class SubgoalConfig(HistoryModelConfig, LatentKeys):
    """Keys of ``opponent_model: subgoal``."""

    omg_latents: Literal["gaussian", "categorical"] = key(
        "gaussian", help="subgoals: codes of whole states; or places, a probability for each"
    )
    omg_codes: int = key(36, low=2, help="C, places that each opponent's subgoal may be, of omg_latents: categorical")
    omg_inference: Literal["cvae", "mlp"] = key("cvae", help="mlp: the selected subgoal is regressed on")


class SubgoalModel(HistoryModel):
    """A conditional VAE: the code of the state now, given history, drawn towards the prior of a state to come.

    The decoder ``p_theta(s_t | g, tau_t)`` is given the features of the step before, which know the history up to
    ``a^-i_{t-1}`` but not yet ``s_t``. Arguments: see ``HistoryModel``.

    Categorical subgoals are places: q is a probability for each of C places of each opponent, which says of two
    ways that are open to it that they are two, where a Gaussian has it between them. p is one-hot, KL(p || q) the
    cross-entropy; nothing is decoded.

    Raises:
        ConfigError: categorical, and the state does not say where opponents are.
    """

    Config = SubgoalConfig
    keeps_goal = True

    @classmethod
    def needs_prior(cls, values: Any) -> bool:
        """Whether the configuration asks for subgoals that are codes of states, by a state VAE."""
        return read(SubgoalConfig, values).omg_latents == "gaussian"

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        config = read(SubgoalConfig, args)
        self.condition_dim, self.inference = config.vae_latent_dim, config.omg_inference
        self.is_categorical = config.omg_latents == "categorical"
        if self.is_categorical:
            self._make_categorical(config.omg_codes)
            return
        self.bound, self.limit = config.vae_log_var_bound, config.vae_log_var_limit
        self.fc = Linear(self.width, self.width)
        self.posterior = Linear(self.width, 2 * self.condition_dim)
        self.decoder = mlp([self.condition_dim + self.width, self.width, self.info.state_shape])

    def _make_categorical(self, n_codes: int) -> None:
        self.places, _ = opponents_places(self.info, self.subjects)
        if not self.places:
            known = "of foraging, simple_tag and simple_spread it is known"
            raise ConfigError(f"omg_latents: categorical needs a state that says where opponents are; {known}")
        self.codebook = Codebook(self.n_subjects, n_codes, 2)
        self.condition_dim = self.n_subjects * n_codes
        self.fc = Linear(self.width, self.width)
        self.posterior = Linear(self.width, self.condition_dim)

    def logits(self, features: Tensor) -> Tensor:
        """Features [..., W] -> the log-odds of each opponent's places, [..., M, C]."""
        return self.posterior(F.relu(self.fc(features))).unflatten(-1, (self.n_subjects, -1))

    def infer(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features [..., W] -> mu and log_var, bounded, [..., Z] each."""
        mu, raw = self.posterior(F.relu(self.fc(features))).chunk(2, dim=-1)
        return mu, bounded(raw, self.bound, self.limit)

    def condition(self, features: Tensor) -> Tensor:
        """The inferred subgoal's mean [..., Z], or its probabilities [..., M * C], detached."""
        if self.is_categorical:
            return self.logits(features).softmax(dim=-1).flatten(-2).detach()
        return self.posterior(F.relu(self.fc(features)))[..., : self.condition_dim].detach()

    def decode(self, goal: Tensor, before: Tensor) -> Tensor:
        """Goals [..., Z] and the features of the step before [..., W] -> standardised states [..., S]."""
        return self.decoder(torch.cat([goal, before], dim=-1))
