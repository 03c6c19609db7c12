"""The places of opponents as a learner sees them: a coarse map of displacements, finer near the learner."""

import numpy as np
from torch import Tensor, nn

from ..modules.compiled import is_compiled, kernels

KERNELS = "place_kernels"
NODES = 7  # G, on each axis


class PlaceMap(nn.Module):
    """Spreads probabilities of places over a grid of displacements from the learner.

    The nodes of an axis are at 0 and at displacements of 1/9, 4/9 and 9/9 of the board's length to both sides. Each
    place gives its probability to the four nodes around its displacement, bilinearly, so that the sum remains 1.
    A policy need not learn where each place is, and what it learns of one place holds for others.

    Args:
        length: the largest displacement on an axis.
    """

    def __init__(self, length: float) -> None:
        super().__init__()
        self.length = length
        self.size = NODES * NODES

    def forward(self, probabilities: Tensor, centres: Tensor, own: Tensor) -> Tensor:
        """Probabilities [..., M, C], places [M, C, 2], the learner's own [..., 2] -> map [..., M, G * G].

        Without gradient.
        """
        found = probabilities.new_zeros(*probabilities.shape[:-1], self.size)
        if is_compiled(KERNELS, probabilities):
            rows = (
                probabilities.reshape(-1, *centres.shape[:2]).contiguous(),
                own.detach().reshape(-1, 2).contiguous(),
            )
            axes = centres.permute(2, 0, 1).contiguous()
            given = rows[0].numpy(), axes.numpy(), rows[1].numpy(), np.float32(self.length)
            kernels(KERNELS).spread(*given, NODES, found.view(-1, *found.shape[-2:]).numpy())
            return found
        away = (centres - own[..., None, None, :]) / self.length
        half = (NODES - 1) / 2
        at = half + half * away.sign() * away.abs().sqrt().clamp(max=1)  # from 0 to G - 1
        node = at.floor().clamp(max=NODES - 2)
        (to_x, to_y), (x, y) = (at - node).unbind(dim=-1), node.long().unbind(dim=-1)
        for i, share_x in enumerate((1 - to_x, to_x)):
            for j, share_y in enumerate((1 - to_y, to_y)):
                found.scatter_add_(-1, (x + i) * NODES + y + j, probabilities * share_x * share_y)
        return found
