"""Opponent models that infer a future place for each opponent: their hit ratio and their drawing."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..components.episode_batch import EpisodeBatch
from ..games.lookup import place_indices
from .evaluation import Counts, Drawing
from .model import OpponentModel


class PlaceInference(OpponentModel):
    """Infers a place of each opponent within a horizon of H steps."""

    accuracy_name = "omg_hit_ratio"
    horizon: int  # H

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        # 2 M indices in the state of the subjects' places, empty if it does not contain them; and the largest
        # distance on each axis at which two positions count as the same place
        self.places, self.near = place_indices(self.info.full, self.subjects)

    def inferred_places(self, features: Tensor) -> Tensor:
        """Features [..., W] -> the place inferred for each subject, [..., 2 M], without gradient."""
        raise NotImplementedError

    def true_places(self, states: Tensor) -> Tensor:
        """The places of the subjects in states: [..., S] -> [..., 2 M]; [..., 0] if they are unknown."""
        return states[..., self.places]

    def odds(self, features: Tensor) -> Tensor | None:
        """Features [..., W] -> all places of all subjects and their probabilities, [..., K, 3], if any."""
        return None

    @torch.no_grad()
    def hits(self, batch: EpisodeBatch) -> Counts:
        guess = self.inferred_places(self.features(batch)[:, :, 0])
        true, filled = self.true_places(batch["state"].flatten(2)), batch["filled"].squeeze(-1)
        return place_hits(guess, true, filled, self.acted(batch), self.horizon, self.near)

    @torch.no_grad()
    def draw(self, batch: EpisodeBatch) -> Drawing:
        """The inferred places, their probabilities, and whether the opponents pass through them."""
        steps = int(batch["filled"].sum())
        features = self.features(batch)[0, :steps, 0]
        true = self.true_places(batch["state"].flatten(2)[0, :steps])
        if not true.shape[-1]:
            return Drawing([""] * steps)
        size = true.shape[-1] // self.n_subjects
        guess, way = (each.unflatten(-1, (-1, size)).cpu().numpy() for each in (self.inferred_places(features), true))
        captions = [_passes(way[t + 1 : t + 1 + self.horizon], guess[t], self.near) for t in range(steps)]
        if not self.places:
            return Drawing(captions)
        inferred = np.full((steps, len(self.info.opponents), 2), np.nan)
        inferred[:, self.subject_indices] = guess
        odds = self.odds(features)
        return Drawing(captions, inferred, None if odds is None else odds.cpu().numpy(), self.horizon)


def _passes(way: NDArray[Any], guess: NDArray[Any], near: float) -> str:
    """Whether opponents on a path [H, M, D] pass through the places [M, D]."""
    there = (np.abs(way - guess) <= near).all(axis=(1, 2))
    return f"passes there in {there.argmax() + 1}" if there.any() else "does not pass there"


def place_hits(guess: Tensor, true: Tensor, filled: Tensor, acted: Tensor, horizon: int, near: float) -> Counts:
    """Counts of opponents that pass within ``horizon`` steps through the places inferred for them.

    ``guess`` and ``true`` [B, T+1, M * D] are inferred and true places; ``filled`` [B, T+1] is 1 on real steps;
    ``acted`` [B, T, M] is true where an opponent acted. It is at a place only after steps in which it acted.

    Returns:
        [B, T + 1 - H]: ``hits``, the share that passes of the opponents that act within the horizon; ``chance``, the
        same for places inferred in other episodes; ``count``, 1 where a complete horizon is ahead in which an
        opponent acts. {} if there is no place, no second episode, or no step
        with a horizon.
    """
    steps = guess.shape[1] - horizon
    if not guess.shape[2] or len(guess) < 2 or steps < 1:
        return {}
    found = {name: torch.zeros(len(guess), steps) for name in ("hits", "chance", "count")}
    for t in range(steps):
        ahead, took_part = true[:, t + 1 : t + 1 + horizon], acted[:, t : t + horizon]
        active = took_part.any(dim=1).sum(dim=-1)  # [B], opponents
        is_full = (filled[:, t + horizon] > 0) & (active > 0)
        for name, place in (("hits", guess[:, t]), ("chance", guess[:, t].roll(1, dims=0))):
            is_near = ((ahead - place[:, None]).abs() <= near).unflatten(-1, (acted.shape[-1], -1))
            close = is_near.all(dim=-1) & took_part
            passes = close.any(dim=1).float().sum(dim=-1) / active.clamp(min=1)  # from [B, H, M]
            found[name][:, t] = passes * is_full
        found["count"][:, t] = is_full
    return found
