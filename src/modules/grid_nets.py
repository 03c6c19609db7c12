"""Convolutional encoder and decoder for states that contain grids or images, and possibly other features."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..types import Block
from .linear import Linear

CHANNELS = 32
LARGE = 16  # grids at least this wide are halved by every layer


class Grid(NamedTuple):
    """Indices of the features of a flat state that form planes of one grid, and of the others."""

    planes: Tensor  # int64 [C, H, W]
    rest: Tensor  # int64 [R]


def grid_of(blocks: Sequence[Block]) -> Grid | None:
    """The planes of all blocks that share the most common height and width; None if no block is a grid.

    The planes' axis is the one that differs from the other two, or the shorter of first and last.
    """
    grids: dict[tuple[int, int], list[Tensor]] = {}
    start = 0
    for block in blocks:
        if len(block.shape) == 3 and min(block.shape) > 0:
            planes = torch.arange(start, start + block.size).reshape(block.shape)
            first, middle, last = block.shape
            if first == middle or (middle != last and last <= first):
                planes = planes.permute(2, 0, 1)
            if min(planes.shape[1:]) > 1:
                grids.setdefault((planes.shape[1], planes.shape[2]), []).append(planes)
        start += block.size
    if not grids:
        return None
    planes = torch.cat(max(grids.values(), key=lambda found: sum(p.numel() for p in found)))
    is_rest = torch.ones(start, dtype=torch.bool)
    is_rest[planes.flatten()] = False
    return Grid(planes, is_rest.nonzero().squeeze(1))


def _halvings(height: int, width: int) -> int:
    """Layers that halve the grid until its shorter side is below 8."""
    return 0 if min(height, width) < LARGE else max(1, int(math.log2(min(height, width) / 4)))


class GridEncoder(nn.Module):
    """3x3 convolutions over the planes, then two linear layers over their output and the other features."""

    def __init__(self, grid: Grid, hidden_dim: int, outputs: int) -> None:
        super().__init__()
        c, h, w = grid.planes.shape
        self.planes, self.rest = nn.Buffer(grid.planes, persistent=False), nn.Buffer(grid.rest, persistent=False)
        layers: list[nn.Module] = []
        for stride in [2] * _halvings(h, w) or [1, 1]:
            layers += [nn.Conv2d(c, CHANNELS, 3, stride=stride, padding=1), nn.ReLU()]
            c = CHANNELS
            h, w = -(-h // stride), -(-w // stride)
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Sequential(
            Linear(c * h * w + len(grid.rest), hidden_dim), nn.ReLU(), Linear(hidden_dim, outputs)
        )

    def forward(self, states: Tensor) -> Tensor:
        """States [..., S] to [..., outputs]."""
        flat = states.reshape(-1, states.shape[-1])
        planes = self.convolutions(flat[:, self.planes])  # [M, 32, h, w]
        out = self.head(torch.cat([planes.flatten(1), flat[:, self.rest]], dim=1))
        return out.reshape(*states.shape[:-1], -1)


class GridDecoder(nn.Module):
    """The mirror image of ``GridEncoder``: linear layers, then transposed convolutions to the planes."""

    def __init__(self, grid: Grid, inputs: int, hidden_dim: int) -> None:
        super().__init__()
        c, h, w = grid.planes.shape
        self.order = nn.Buffer(torch.cat([grid.planes.flatten(), grid.rest]).argsort(), persistent=False)
        sizes = [(h, w)]
        for _ in range(_halvings(h, w)):
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        self.small = sizes[-1]
        self.n_rest = len(grid.rest)
        outputs = CHANNELS * math.prod(self.small) + self.n_rest
        self.head = nn.Sequential(Linear(inputs, hidden_dim), nn.ReLU(), Linear(hidden_dim, outputs))
        layers: list[nn.Module] = [nn.ReLU()]
        for size, before in zip(sizes[-2::-1], sizes[:0:-1], strict=True):
            extra = (size[0] - 2 * before[0] + 1, size[1] - 2 * before[1] + 1)
            layers += [nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, 2, 1, output_padding=extra), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(CHANNELS, c, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        """Codes [..., Z] to states [..., S]."""
        out = self.head(z.reshape(-1, z.shape[-1]))
        spread, rest = out.tensor_split([out.shape[1] - self.n_rest], dim=1)
        planes = self.convolutions(spread.reshape(-1, CHANNELS, *self.small))
        return torch.cat([planes.flatten(1), rest], dim=1)[:, self.order].reshape(*z.shape[:-1], -1)
