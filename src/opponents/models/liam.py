"""LIAM (Papoudakis, Christianos and Albrecht 2021): a code of local history that tells what opponents see and do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ...components.normalisers import RunningMeanStd
from ...components.rollout import Rollout
from ...config.schema import key, read
from ...modules.linear import Linear
from ...modules.losses import masked_mean
from ..boards import opponents_observations
from .action_model import ActionModel
from .history_model import HistoryModelConfig


@dataclass(frozen=True)
class LIAMConfig(HistoryModelConfig):
    """Keys of ``opponent_model: liam``."""

    liam_code_dim: int = key(16, low=1, help="size of the code")


class LIAMModel(ActionModel):
    """Decoders, in training alone, make of the code the opponents' observations (squared error) and their actions
    (cross-entropy). Arguments: see ``HistoryModel``.

    The opponents' observations are looked up in the state where it is all observations in a row; where an
    environment has a state of its own, that is decoded whole.
    """

    Config = LIAMConfig

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.condition_dim = read(LIAMConfig, args).liam_code_dim
        self.code = Linear(self.width, self.condition_dim)
        self.seen = opponents_observations(self.info, self.subjects)
        self.stats = RunningMeanStd(len(self.seen))
        self.fc = Linear(self.condition_dim, self.width)
        self.observations = Linear(self.width, len(self.seen))
        self.actions = Linear(self.width, self.n_subjects * self.n_actions)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LIAMModel:
        """Moves the statistics too where parameters are moved to another device."""
        super()._apply(fn, recurse)
        self.stats.to(self.fc.weight.device)
        return self

    def condition(self, features: Tensor) -> Tensor:
        """The code [..., D], detached."""
        return self.code(features).detach()

    def action_logits(self, features: Tensor) -> Tensor:
        """Features [..., W] -> [..., M * U]."""
        return self.actions(F.relu(self.fc(self.code(features))))

    def losses(
        self, batch: Rollout, features: Tensor, mask: Tensor, taken: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and numbers for logs, from features [E, T, N, W], mask [E, T, N], actions [E, T, N, M]."""
        steps = features.shape[1]
        target = batch["state"].flatten(2)[:, :steps, self.seen]
        self.stats.update(target.flatten(0, 1))
        target = self.stats.normalise(target, 10.0)[:, :, None]
        hidden = F.relu(self.fc(self.code(features)))
        error = (self.observations(hidden) - target).square().mean(dim=-1)
        loss, hits = self.action_loss(self.actions(hidden), taken)
        numbers = {"model_recon_loss": masked_mean(error, mask), "model_action_accuracy": masked_mean(hits, mask)}
        return masked_mean(error + loss, mask), numbers

    def extra_state(self) -> dict[str, Any]:
        """Statistics beside the parameters."""
        return self.stats.state_dict()

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Takes up ``extra_state``."""
        self.stats.load_state_dict(state)
