"""Running mean and variance of vectors, saved with the model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class RunningMeanStd:
    """Mean and variance of a stream of vectors, merged batch by batch (Chan, Golub and LeVeque 1979).

    Every row passed to ``update`` counts: select the valid rows first. ``epsilon``: see ``std``.
    """

    def __init__(self, shape: int, epsilon: float = 1e-4) -> None:
        self.mean = torch.zeros(shape, dtype=torch.float64)
        self.var = torch.ones(shape, dtype=torch.float64)
        self.count = torch.zeros((), dtype=torch.float64)
        self.epsilon = epsilon

    def to(self, device: torch.device | str) -> RunningMeanStd:
        """Moves the statistics."""
        self.mean, self.var, self.count = (x.to(device) for x in (self.mean, self.var, self.count))
        return self

    @torch.no_grad()
    def update(self, rows: Tensor, valid: Tensor | None = None) -> None:
        """Adds rows [M, shape], without the numbers for which ``valid`` [M, shape] is 0.

        Nothing changes if M = 0, or if a number is NaN or infinite: it would remain in the statistics.
        """
        if rows.shape[0] == 0:
            return
        rows = rows.double()  # float32 rounding would make a large constant feature appear to vary
        new: int | Tensor = rows.shape[0]
        if valid is None:
            batch_mean = rows.mean(dim=0)
            batch_var = (rows - batch_mean).square_().mean(dim=0)  # takes a third of the time of Tensor.var
        else:
            new = valid.sum(dim=0, dtype=torch.float64)
            batch_mean = (rows * valid).sum(dim=0) / new.clamp(min=1.0)
            batch_var = ((rows - batch_mean).square_() * valid).sum(dim=0) / new.clamp(min=1.0)
        count = self.count + new
        delta = batch_mean - self.mean
        share = new / count.clamp(min=1.0)
        var = (1 - share) * self.var + share * batch_var + share * (1 - share) * delta.square()
        mean = self.mean + delta * share
        is_finite = torch.isfinite(var + mean).all()
        self.mean, self.var = torch.where(is_finite, mean, self.mean), torch.where(is_finite, var, self.var)
        self.count = torch.where(is_finite, count, self.count)

    @property
    def std(self) -> Tensor:
        """Standard deviation; 1 where it is below epsilon, so that constant features are not scaled up."""
        std = self.var.sqrt()
        return torch.where(std < self.epsilon, torch.ones_like(std), std)

    def normalise(self, rows: Tensor, clip: float = torch.inf) -> Tensor:
        """(rows - mean) / std, clipped to [-clip, clip]."""
        return ((rows - self.mean) / self.std).clamp(-clip, clip).float()

    def state_dict(self) -> dict[str, Tensor]:
        """Mean, variance and count."""
        return {"mean": self.mean.clone(), "var": self.var.clone(), "count": self.count.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Loads the values of ``state_dict`` onto the current device."""
        device = self.mean.device
        self.mean, self.var, self.count = (state[name].to(device) for name in ("mean", "var", "count"))
