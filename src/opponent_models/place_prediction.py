"""Place prediction: for each opponent, a probability for each of C places at which it may be within H steps.

The target is the share of the next H steps that the opponent spends at each place: all that one episode says of the
distribution. A place drawn from these steps would say the same with noise. If no game states the opponents'
positions, a place is a cluster of their observations, or of states that do not contain these.

The model remembers where opponents were in traces (``place_traces.py``).

Related: successor representations (Dayan 1993) and gamma-models (Janner, Mordatch and Levine 2020), which discount
the future instead of cutting it off. Of OMG it has the horizon and the conditioning of the policy, but no subgoal
prior, no selection by value and no mixture.
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
from ..modules.hidden import hidden_layer
from ..modules.linear import Linear
from .horizon import check_horizon, horizon_is_complete, states_reached, steps_to_come, sums_ahead
from .model import BaseLearner, HorizonKeys, ModelConfig, Targets
from .place_traces import PlaceTraces, probabilities
from .places import PlaceInference

LEAST_SPREAD = 1e-4  # standard deviation below which a feature is constant


@dataclass(frozen=True)
class PlaceConfig(ModelConfig, HorizonKeys):
    renamed: ClassVar[dict[str, str]] = {"omg_codes": "model_places"}
    model_places: int = key(36, low=2, help="C, places that each opponent may be at, found by k-means")
    model_decays: list[float] = key(
        [0.5, 0.9, 0.98], low=0, high=0.999999, help="decays per step of the traces of where opponents were"
    )


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
        self.fc_in = Linear(self.encoder.n_features, self.width)
        self.fc = Linear(self.width, self.width)
        self.posterior = Linear(self.width, self.condition_dim)

    def make_encoder(self, size: int, settings: Any) -> nn.Module:
        c = self.config
        return PlaceTraces(size, settings, self.n_subjects, c.model_places, c.model_decays)

    def share(self, *given: Any) -> None:
        super().share(*given)
        del self.fc_in  # the policy's network takes its place

    @classmethod
    def further_inputs(cls, config: Any, info: Any) -> int:
        return len(config.model_decays) * len(info.opponents) * int(config.model_places)

    def prepare(self, args: Any, base: BaseLearner, steps: int, from_memory: bool) -> None:
        if from_memory:  # otherwise targets beyond the rollout are replaced by nearer ones
            check_horizon("model_horizon", self.horizon, steps)

    def logits(self, features: Tensor) -> Tensor:
        """Features of ``PlaceTraces``, or of the policy's network (``share``) -> logits of places, [..., M, C]."""
        hidden = features if self.is_shared else hidden_layer(features, self.fc_in)
        return hidden_layer(hidden, self.fc, head=self.posterior.pair).unflatten(-1, (self.n_subjects, -1))

    @torch.no_grad()
    def condition_of(self, features: Tensor) -> Tensor:
        """The probabilities of each opponent's places, [..., M * C]."""
        return probabilities(self.logits(features)).flatten(-2)

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
        """The shares of the next H steps that lead each opponent to each place, and its place now: [E, T, M, 2, C].

        Steps count in which the opponent acted: it was not dead, and on turn. All shares are 0 if there is none.
        """
        codes = self.codebook.codes(self.places_in(states_reached(batch)))  # [E, T, M]
        visited = F.one_hot(codes, self.codebook.n_codes) * self.acted(batch)[..., None]
        valid = steps_to_come(batch, self.horizon)
        visits = sums_ahead(visited.float(), valid)
        shares = visits / visits.sum(dim=-1, keepdim=True).clamp(min=1)
        now = self.codebook.codes(self.places_in(batch["state"][:, :-1].flatten(2)))
        both = torch.stack([shares, F.one_hot(now, self.codebook.n_codes).float()], dim=-2)
        return Targets(both, horizon_is_complete(batch, valid))

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        counts = mask > 0
        each = targets[:, :, None].expand(-1, -1, self.info.n_agents, -1, -1, -1)[counts].flatten(0, 1)
        shares, now = each.unbind(dim=-2)  # [R * M, C]
        loss = _mean_cross_entropy(self.logits(features[counts]).flatten(0, 1), shares)
        if self.is_shared:
            return loss, {}
        present = _mean_cross_entropy(self.encoder.present(batch["obs"][:, :-1][counts]).flatten(0, 1), now)
        return loss + present, {"model_present_loss": present.detach()}

    def inferred_places(self, features: Tensor) -> Tensor:
        likeliest = self.logits(features).argmax(dim=-1)
        return self.codebook.vectors(likeliest).flatten(-2) if self.places else likeliest.float()

    def odds(self, features: Tensor) -> Tensor:
        condition = self.condition_of(features)
        places = self.codebook.centres.flatten(0, 1).expand(*condition.shape, -1)
        return torch.cat([places, condition[..., None]], dim=-1)


def _mean_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """The mean over rows [R, C]; a row whose shares are all 0 does not count."""
    return F.cross_entropy(logits, shares, reduction="sum") / shares.sum().clamp(min=1)
