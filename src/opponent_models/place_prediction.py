"""Place prediction: for each opponent, a probability for each of C places at which it may be within H steps.

The target is the opponent's place at a uniformly drawn one of the next H steps, so the model learns how long the
opponent will be at each place. If no game states the opponents' positions, a place is a cluster of their
observations, or of states that do not contain these. Related: successor representations (Dayan 1993) and gamma-models
(Janner, Mordatch and Levine 2020), which discount the future instead of cutting it off. Of OMG it has the horizon and
the conditioning of the policy, but no subgoal prior, no selection by value and no mixture.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.rollout import Rollout
from ..config.schema import key
from ..games.layout import observation_indices
from ..modules.codebook import Codebook
from ..modules.linear import Linear
from .horizon import (
    check_horizon,
    horizon_is_complete,
    random_step,
    states_ahead,
    states_reached,
    step_shares,
    steps_to_come,
)
from .model import BaseLearner, HorizonKeys, ModelConfig, Targets
from .places import PlaceInference

LEAST_SPREAD = 1e-4  # standard deviation below which a feature is constant


@dataclass(frozen=True)
class PlaceConfig(ModelConfig, HorizonKeys):
    renamed: ClassVar[dict[str, str]] = {"omg_codes": "model_places"}
    model_places: int = key(36, low=2, help="C, places that each opponent may be at, found by k-means")


class PlaceModel(PlaceInference):
    """Classifies each opponent's future place, by cross-entropy.

    A place is one of C clusters of what the state says about the opponent, D numbers: its position, or, if the layout
    is unknown, its observation; if the state is not the concatenation of observations, the complete state.
    """

    Config = PlaceConfig

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.horizon, n_places = self.config.model_horizon, self.config.model_places
        each = [self.places[2 * m : 2 * m + 2] or observation_indices(self.info.full, [name])
                for m, name in enumerate(self.subjects)]  # fmt: skip
        size = max(map(len, each))
        padded = [indices + indices[:1] * (size - len(indices)) for indices in each]
        used = [[1.0] * len(indices) + [0.0] * (size - len(indices)) for indices in each]
        self.columns = nn.Buffer(torch.tensor(padded), persistent=False)  # [M, D] indices in the state
        # [M, D] factors: 1 for positions, else the inverse standard deviations in the first rollout; 0 for padding
        self.scale = nn.Buffer(torch.tensor(used), persistent=not self.places)
        self.codebook = Codebook(self.n_subjects, n_places, size)
        self.condition_dim = self.n_subjects * n_places
        self.fc = Linear(self.width, self.width)
        self.posterior = Linear(self.width, self.condition_dim)

    def prepare(self, args: Any, base: BaseLearner, steps: int, from_memory: bool) -> None:
        if from_memory:  # otherwise targets beyond the rollout are replaced by nearer ones
            check_horizon("model_horizon", self.horizon, steps)

    def logits(self, features: Tensor) -> Tensor:
        """Features [..., W] -> logits of each opponent's places, [..., M, C]."""
        return self.posterior(F.relu(self.fc(features))).unflatten(-1, (self.n_subjects, -1))

    def condition_of(self, features: Tensor) -> Tensor:
        """The probabilities of each opponent's places, [..., M * C], detached."""
        return self.logits(features).softmax(dim=-1).flatten(-2).detach()

    def places_in(self, states: Tensor) -> Tensor:
        """What is known of the subjects in states [..., S]: [..., M, D]."""
        return states[..., self.columns] * self.scale

    def true_places(self, states: Tensor) -> Tensor:
        if self.places:
            return super().true_places(states)
        return self.codebook.codes(self.places_in(states)).float()

    def observe(self, batch: Rollout) -> None:
        """Fits the C places to the first rollout."""
        if self.codebook.is_fitted:
            return
        states = batch["state"].flatten(0, 1).flatten(1)  # [E * (T+1), S]
        if not self.places:
            spread = states[:, self.columns].std(dim=0)
            self.scale.copy_(torch.where(spread > LEAST_SPREAD, self.scale / spread, 0.0))
        self.codebook.fit(self.places_in(states))

    def targets(self, batch: Rollout, base: BaseLearner) -> Targets:
        """The code of each opponent's place at a random one of the next H steps, int64 [E, T, N, M].

        -1 if the opponent did not act in the step that led there, because it was dead or not on turn.
        """
        reached, valid = states_reached(batch), steps_to_come(batch, self.horizon)
        chosen = random_step(valid, self.info.n_agents)
        codes = self.codebook.codes(self.places_in(states_ahead(reached, chosen)))
        codes = torch.where(states_ahead(self.acted(batch), chosen), codes, -1)
        shares = step_shares("model_target_k", chosen, self.horizon)
        return Targets(codes, horizon_is_complete(batch, valid), shares)

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        counts = mask > 0
        logits = self.logits(features[counts])  # [R, M, C]
        codes = targets[counts].flatten()
        loss = F.cross_entropy(logits.flatten(0, 1), codes, reduction="sum", ignore_index=-1)
        return loss / (codes >= 0).sum().clamp(min=1), {}

    def inferred_places(self, features: Tensor) -> Tensor:
        likeliest = self.condition_of(features).unflatten(-1, (self.n_subjects, -1)).argmax(dim=-1)
        return self.codebook.vectors(likeliest).flatten(-2) if self.places else likeliest.float()

    def odds(self, features: Tensor) -> Tensor:
        probabilities = self.condition_of(features)
        places = self.codebook.centres.flatten(0, 1).expand(*probabilities.shape, -1)
        return torch.cat([places, probabilities[..., None]], dim=-1)
