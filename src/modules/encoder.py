"""Convolutions over the images and grids inside flat rows of features, in front of a network's first linear layer.

Batches, controllers and learners handle observations and states as rows. ``encoder_for`` is the one place where
agents, critics, mixers and opponent models get the network that finds the images in them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..config.keys import EncoderKeys
from ..config.schema import read
from ..types import Block, ConfigError, EnvInfo

SMALL = 16  # cells of the shorter side of a grid
# Channels, size, stride and padding of each layer. Of grids: MinAtar (Young and Tian 2019). Of images: DQN (Mnih et
# al. 2015), padded so that narrow images keep some width.
OF_GRIDS = ((16, 3, 1, 0),)
OF_IMAGES = ((32, 8, 4, 2), (64, 4, 2, 1), (64, 3, 1, 1))
MOST = 1 << 24  # numbers of the inputs and outputs of layers that a pass without gradients holds at once


def as_features(rows: Tensor) -> Tensor:
    """Rows as float32; bytes are 255 times the features (``EnvInfo.obs_dtype``)."""
    return rows.float().div_(255.0) if rows.dtype == torch.uint8 else rows


def as_stored(features: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of ``as_features`` for rows of ``dtype``."""
    return (features * 255.0).round().to(torch.uint8) if dtype == torch.uint8 else features


class Part(NamedTuple):
    """Adjacent features of a row: an image or grid of this shape."""

    start: int
    shape: tuple[int, ...]
    axes: tuple[int, int, int]  # of channels, height and width

    @property
    def end(self) -> int:
        """The index of the feature behind it."""
        return self.start + self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def planes(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = (self.shape[axis] for axis in self.axes)
        return channels, height, width


def grids_of(blocks: Sequence[Block]) -> list[list[Part]]:
    """The images and grids of a row in groups of equal height and width; the largest group comes first."""
    groups: dict[tuple[int, int], list[Part]] = {}
    start = 0
    for block in blocks:
        if block.grid_axes is not None:
            part = Part(start, block.shape, block.grid_axes)
            groups.setdefault(part.planes[1:], []).append(part)
        start += block.size
    return sorted(groups.values(), key=lambda parts: -sum(part.end - part.start for part in parts))


class Convolutions(nn.Sequential):
    """Layers for planes [M, C, H, W]; ``size`` is the number of outputs, ``numbers`` that of all layers."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        layers: list[nn.Module] = []
        numbers = 0
        for outputs, size, stride, padding in OF_IMAGES if min(height, width) > SMALL else OF_GRIDS:
            layers += [nn.Conv2d(channels, outputs, size, stride, padding), nn.ReLU(inplace=True)]
            height, width = ((side + 2 * padding - size) // stride + 1 for side in (height, width))
            channels = outputs
            numbers += channels * height * width
        super().__init__(*layers)
        self.numbers, self.size = numbers, channels * height * width


class Encoder(nn.Module):
    """Replaces the images and grids in rows by the features of convolutions; other features remain, behind them.

    Images and grids of one height and width are channels of one: those of several agents, or of the last steps.

    Args:
        groups: see ``grids_of``; at least one.
        size: I, the number of features in a row.
    """

    def __init__(self, groups: Sequence[Sequence[Part]], size: int) -> None:
        super().__init__()
        self.groups = [list(parts) for parts in groups]
        planes = [(sum(part.planes[0] for part in parts), *parts[0].planes[1:]) for parts in self.groups]
        self.convolutions = nn.ModuleList(Convolutions(*shape) for shape in planes)
        taken = sorted((part.start, part.end) for parts in self.groups for part in parts)
        borders = [0, *(at for pair in taken for at in pair), size]
        self.others = [slice(a, b) for a, b in zip(borders[::2], borders[1::2], strict=True) if b > a]
        stacks: Any = self.convolutions
        self.size = sum(stack.size for stack in stacks) + sum(other.stop - other.start for other in self.others)
        self.numbers = size + sum(stack.numbers for stack in stacks)  # of a row, of all layers

    def forward(self, rows: Tensor) -> Tensor:
        """[..., I] -> [..., ``size``]. Without gradients, parts of the rows pass one after another."""
        if rows.dim() == 3 and not rows.is_contiguous() and rows.transpose(0, 1).is_contiguous():
            return self(rows.transpose(0, 1)).transpose(0, 1)  # keeps the memory layout: no copy
        flat = rows.reshape(-1, rows.shape[-1])
        most = max(MOST // self.numbers, 1)
        if torch.is_grad_enabled() or len(flat) <= most:
            encoded = self._encode(flat)
        else:
            encoded = torch.cat([self._encode(part) for part in flat.split(most)])
        return encoded.view(*rows.shape[:-1], self.size)

    def _encode(self, rows: Tensor) -> Tensor:
        encoded = []
        for parts, stack in zip(self.groups, self.convolutions, strict=True):
            planes = [rows[:, p.start : p.end].unflatten(1, p.shape).permute(0, *(a + 1 for a in p.axes))
                      for p in parts]  # fmt: skip
            encoded.append(stack(planes[0] if len(planes) == 1 else torch.cat(planes, dim=1)).flatten(1))
        return torch.cat([*encoded, *(rows[:, other] for other in self.others)], dim=1)


def encoder_for(args: Any, what: str, size: int) -> tuple[nn.Module, int]:
    """The network in front of a first linear layer, and the size of its outputs: an ``Encoder``, or nothing.

    Args:
        args: namespace or mapping with the key ``encoder`` and, of omarl's runs, ``env_info``.
        what: ``obs`` or ``state``: what a row begins with.
        size: I, the number of features in a row; other features may follow.

    Raises:
        ConfigError: ``encoder: cnn``, and observations have no images or grids, or not the same for all agents.
    """
    wanted = read(EncoderKeys, args).encoder
    info = args.get("env_info") if isinstance(args, dict) else getattr(args, "env_info", None)
    groups = _groups(wanted, info, what)
    if wanted == "cnn" and what == "obs" and not groups:
        raise ConfigError("encoder: cnn needs observations with an image or grid, alike for all agents; use auto")
    if not groups:
        return nn.Identity(), size
    encoder = Encoder(groups, size)
    return encoder, encoder.size


class Sizes(NamedTuple):
    """Of an encoder: numbers of a row that it returns, those in all its layers, and its parameters."""

    outputs: int
    numbers: int = 0
    parameters: int = 0


def encoded_sizes(encoder: str, info: EnvInfo, what: str, size: int) -> Sizes:
    """The sizes of ``encoder_for``, for the estimate of memory; ``encoder`` is the key's value."""
    groups = _groups(encoder, info, what)
    if not groups:
        return Sizes(size)
    with torch.device("meta"):  # allocates nothing, and draws no random numbers
        network = Encoder(groups, size)
    return Sizes(network.size, network.numbers, sum(p.numel() for p in network.parameters()))


def _groups(encoder: str, info: EnvInfo | None, what: str) -> list[list[Part]]:
    return [] if info is None or encoder == "mlp" else grids_of(info.blocks_of(what))
