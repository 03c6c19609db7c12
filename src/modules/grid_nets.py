"""Convolutional encoder and decoder for states that are grids or images, with whatever features stand beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..types import Block
from .linear import Linear

CHANNELS = 32
LARGE = 16  # grids at least this wide are halved by every layer


@dataclass(frozen=True, eq=False)
class Grid:
    """Which features of a flat state form planes of one grid.

    Attributes:
        planes: int64 [C, H, W], the feature at each place.
        rest: int64 [R], the features that stand beside the grid.
    """

    planes: Tensor
    rest: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        c, h, w = self.planes.shape
        return c, h, w


def grid_of(blocks: Sequence[Block]) -> Grid | None:
    """The planes of all blocks that share the most common height and width; None where no block is a grid.

    The axis of the planes is the one that differs from the other two, or the shorter of first and last.
    """
    grids: dict[tuple[int, int], list[Tensor]] = {}
    start = 0
    for block in blocks:
        if len(block.shape) == 3 and min(block.shape) > 0:
            planes = _planes_first(torch.arange(start, start + block.size).reshape(block.shape))
            if min(planes.shape[1:]) > 1:
                grids.setdefault((planes.shape[1], planes.shape[2]), []).append(planes)
        start += block.size
    if not grids:
        return None
    planes = torch.cat(max(grids.values(), key=lambda found: sum(p.numel() for p in found)))
    is_rest = torch.ones(start, dtype=torch.bool)
    is_rest[planes.flatten()] = False
    return Grid(planes, is_rest.nonzero().squeeze(1))


def _planes_first(index: Tensor) -> Tensor:
    first, middle, last = index.shape
    channels_last = first == middle or (middle != last and last <= first)
    return index.permute(2, 0, 1) if channels_last else index


def _halvings(height: int, width: int) -> int:
    """Layers that halve the grid until its shorter side is below 8."""
    return 0 if min(height, width) < LARGE else max(1, int(math.log2(min(height, width) / 4)))


class GridEncoder(nn.Module):
    """3x3 convolutions over the planes, then two linear layers over all that is left and the other features.

    Args:
        grid: where the planes are in the flat state.
        hidden_dim: width of the linear layer.
        outputs: size of the result.
    """

    planes: Tensor
    rest: Tensor

    def __init__(self, grid: Grid, hidden_dim: int, outputs: int) -> None:
        super().__init__()
        c, h, w = grid.shape
        self.register_buffer("planes", grid.planes, persistent=False)
        self.register_buffer("rest", grid.rest, persistent=False)
        layers: list[nn.Module] = []
        strides = [2] * _halvings(h, w) or [1, 1]
        for stride in strides:
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
        seen = self.convolutions(flat[:, self.planes])  # [M, 32, h, w]
        out = self.head(torch.cat([seen.flatten(1), flat[:, self.rest]], dim=1))
        return out.reshape(*states.shape[:-1], -1)


class GridDecoder(nn.Module):
    """The mirror image of ``GridEncoder``: linear layers, then transposed convolutions to the planes.

    Args:
        grid: where the planes are in the flat state.
        inputs: size of the code.
        hidden_dim: width of the linear layer.
    """

    order: Tensor

    def __init__(self, grid: Grid, inputs: int, hidden_dim: int) -> None:
        super().__init__()
        c, h, w = grid.shape
        self.register_buffer("order", torch.cat([grid.planes.flatten(), grid.rest]).argsort(), persistent=False)
        sizes = [(h, w)]
        for _ in range(_halvings(h, w)):
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        self.small = sizes[-1]
        self.n_rest = len(grid.rest)
        self.head = nn.Sequential(
            Linear(inputs, hidden_dim),
            nn.ReLU(),
            Linear(hidden_dim, CHANNELS * self.small[0] * self.small[1] + self.n_rest),
        )
        layers: list[nn.Module] = [nn.ReLU()]
        for size, before in zip(sizes[-2::-1], sizes[:0:-1], strict=True):
            extra = (size[0] - 2 * before[0] + 1, size[1] - 2 * before[1] + 1)
            layers += [nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, 2, 1, output_padding=extra), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(CHANNELS, c, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        """Codes [..., Z] to states [..., S]."""
        out = self.head(z.reshape(-1, z.shape[-1]))
        spread, rest = out[:, : out.shape[1] - self.n_rest], out[:, out.shape[1] - self.n_rest :]
        planes = self.convolutions(spread.reshape(-1, CHANNELS, *self.small))
        return torch.cat([planes.flatten(1), rest], dim=1)[:, self.order].reshape(*z.shape[:-1], -1)
