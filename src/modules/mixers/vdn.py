"""VDN: the team's value is the sum of the agents' (Sunehag et al. 2018)."""

from typing import Any

from torch import Tensor, nn


class VDNMixer(nn.Module):
    """Sums the agents' values. ``state_shape`` and ``args`` are unused; they are part of every mixer's signature."""

    def __init__(self, state_shape: int, args: Any) -> None:
        super().__init__()

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        """Values [..., N] and states [..., S] -> the team's value [..., 1]."""
        return values.sum(dim=-1, keepdim=True)
