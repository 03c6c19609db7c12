"""LIAM (Papoudakis, Christianos and Albrecht 2021): a code of the history predicts the opponents' observations and
actions. With ``liam_learners`` also those of the other learners, as POAM does (Wang et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..components.episode_batch import EpisodeBatch
from ..components.normalisers import RunningMeanStd
from ..components.rollout import Rollout
from ..config.schema import key
from ..games.layout import is_all_observations, observation_indices
from ..modules.hidden import hidden_layer
from ..modules.linear import Linear
from ..modules.losses import masked_mean
from .model import ModelConfig
from .naive import ActionModel


@dataclass(frozen=True)
class LIAMConfig(ModelConfig):
    liam_code_dim: int = key(16, low=1, help="size of the code")
    liam_learners: bool = key(False, help="decode the other learners' observations and actions, too (POAM)")


class LIAMModel(ActionModel):
    """Decoders, used in training only, reconstruct the opponents' observations (squared error) and actions
    (negative log-likelihood) from the code.

    The opponents' observations are read from the state if the state is the concatenation of all observations; those
    of dead and waiting opponents do not count. Otherwise the complete state is reconstructed.

    With ``liam_learners`` the M subjects end with all N learners; of these, each learner's own do not count.
    """

    Config = LIAMConfig

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.condition_dim = self.config.liam_code_dim
        self.code = Linear(self.width, self.condition_dim)
        self.seen = observation_indices(self.info.full, self.subjects)  # indices in the state
        # the index of the subject whose observation each feature is from; empty for a complete state
        owners: list[int] = []
        if is_all_observations(self.info.full):
            sizes = dict(zip(self.info.full.agents, self.info.full.obs_sizes, strict=True))
            owners = [m for m, name in enumerate(self.subjects) for _ in range(sizes[name])]
        self.owners = nn.Buffer(torch.tensor(owners, dtype=torch.long), persistent=False)
        self.stats = RunningMeanStd(len(self.seen))
        self.fc = Linear(self.condition_dim, self.width)
        self.observations = Linear(self.width, len(self.seen))
        self.actions = Linear(self.width, self.n_subjects * self.n_outputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LIAMModel:
        # moves the statistics when parameters are moved to another device
        super()._apply(fn, recurse)
        self.stats.to(self.fc.weight.device)
        return self

    def further_subjects(self) -> tuple[str, ...]:
        return self.info.agents if self.config.liam_learners and self.info.n_agents > 1 else ()

    def actions_taken(self, batch: EpisodeBatch) -> Tensor:
        taken = super().actions_taken(batch)
        if not self.further_subjects():
            return taken
        acted = self.observed.could_act(batch["agent_mask"][:, :-1], batch["avail_actions"][:, :-1])
        encoded = batch["actions_onehot"][:, :-1] * self.own[-self.info.n_agents :]
        learners = self.observed.features_of(encoded, acted)  # [E, T, N, W]
        others = 1.0 - torch.eye(learners.shape[2], dtype=taken.dtype, device=taken.device)
        return torch.cat([taken, learners[:, :, None] * others[..., None]], dim=3)

    def condition_of(self, features: Tensor) -> Tensor:
        """The code [..., D], detached."""
        return self.code(features).detach()

    def action_outputs(self, features: Tensor) -> Tensor:
        return hidden_layer(self.code(features), self.fc, head=self.actions.pair)

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Reconstruction of observations, standardised, and of the actions ``targets`` [E, T, N, M, W]."""
        seen = batch["state"].flatten(2)[:, : features.shape[1], self.seen]
        valid = seen.new_ones(1, 1, 1, len(self.seen)).expand(*features.shape[:3], -1)
        if len(self.owners):
            valid = self.observed.acted(targets).float()[..., self.owners]  # [E, T, N, S]
        self.stats.update(seen.flatten(0, 1), valid.amax(dim=2).flatten(0, 1))
        seen = self.stats.normalise(seen, 10.0)[:, :, None]
        hidden = hidden_layer(self.code(features), self.fc)
        count = valid.sum(dim=-1)  # [E, T, N]
        error = ((self.observations(hidden) - seen).square() * valid).sum(dim=-1) / count.clamp(min=1)
        action_loss, correct, acted = self.action_loss(self.actions(hidden), targets)
        observed = mask * (count > 0)
        numbers = {
            "model_recon_loss": masked_mean(error, observed),
            **self.action_numbers(action_loss, correct, mask * acted),
        }
        return masked_mean(error + action_loss, observed), numbers

    def training_state(self) -> dict[str, Any]:
        return {**super().training_state(), "extra": self.stats.state_dict()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        super().load_training_state(state)
        self.stats.load_state_dict(state["extra"])
