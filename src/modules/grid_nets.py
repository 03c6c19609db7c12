"""Convolutional encoder and decoder of the VAE, for states that contain grids or images, and other features."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .encoder import Encoder, Part
from .linear import Linear

CHANNELS = 32
LARGE = 16  # grids at least this wide are halved by every layer
MOST = 1 << 24  # numbers of a layer that a pass without gradients holds at once


class GridEncoder(nn.Sequential):
    """States [..., S] to [..., outputs]: the ``Encoder`` of agents and critics, then two linear layers.

    ``groups``: see ``encoder.grids_of``; ``size`` is S.
    """

    def __init__(self, groups: Sequence[Sequence[Part]], size: int, hidden_dim: int, outputs: int) -> None:
        encoder = Encoder(groups, size)
        super().__init__(encoder, Linear(encoder.size, hidden_dim), nn.ReLU(), Linear(hidden_dim, outputs))


def _halvings(height: int, width: int) -> int:
    """Layers that halve the grid until its shorter side is below 8."""
    return 0 if min(height, width) < LARGE else max(1, int(math.log2(min(height, width) / 4)))


class GridDecoder(nn.Module):
    """Linear layers, then transposed convolutions to the images or grids of the largest group.

    ``groups``: see ``encoder.grids_of``; ``size`` is S.
    """

    def __init__(self, groups: Sequence[Sequence[Part]], size: int, inputs: int, hidden_dim: int) -> None:
        super().__init__()
        indices = torch.arange(size)
        planes = torch.cat([indices[p.start : p.end].reshape(p.shape).permute(p.axes) for p in groups[0]])
        is_rest = torch.ones(size, dtype=torch.bool)
        is_rest[planes.flatten()] = False
        self.order = nn.Buffer(torch.cat([planes.flatten(), indices[is_rest]]).argsort(), persistent=False)
        c, h, w = planes.shape
        sizes = [(h, w)]
        for _ in range(_halvings(h, w)):
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        self.small = sizes[-1]
        self.n_rest = size - planes.numel()
        outputs = CHANNELS * math.prod(self.small) + self.n_rest
        self.head = nn.Sequential(Linear(inputs, hidden_dim), nn.ReLU(), Linear(hidden_dim, outputs))
        layers: list[nn.Module] = [nn.ReLU()]
        for larger, before in zip(sizes[-2::-1], sizes[:0:-1], strict=True):
            extra = (larger[0] - 2 * before[0] + 1, larger[1] - 2 * before[1] + 1)
            layers += [nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, 2, 1, output_padding=extra), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(CHANNELS, c, 3, padding=1))
        self.numbers = 2 * CHANNELS * h * w  # of a state, about

    def forward(self, z: Tensor) -> Tensor:
        """Codes [..., Z] to states [..., S]. Without gradients, parts of the codes pass one after another."""
        codes, most = z.reshape(-1, z.shape[-1]), max(MOST // self.numbers, 1)
        if torch.is_grad_enabled() or len(codes) <= most:
            states = self._decode(codes)
        else:
            states = torch.cat([self._decode(part) for part in codes.split(most)])
        return states.reshape(*z.shape[:-1], -1)

    def _decode(self, codes: Tensor) -> Tensor:
        out = self.head(codes)
        spread, rest = out.tensor_split([out.shape[1] - self.n_rest], dim=1)
        planes = self.convolutions(spread.reshape(-1, CHANNELS, *self.small))
        return torch.cat([planes.flatten(1), rest], dim=1)[:, self.order]
