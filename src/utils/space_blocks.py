"""Feature types of flattened observations, as a Gymnasium space declares them."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from gymnasium import spaces

from ..types import Block

Shape = tuple[int, ...]


def unchanged(shape: Shape) -> Shape:
    """The same shape."""
    return shape


def is_image(space: Any) -> bool:
    """Whether a space has pixels: a Box of bytes up to 255."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and bool(space.high.max(initial=0) == 255)


def blocks_of_space(space: spaces.Space, image_shape: Callable[[Shape], Shape] = unchanged) -> tuple[Block, ...]:
    """The feature blocks of a space, in the order of ``envs.spaces.flattener``.

    Discrete and MultiDiscrete spaces give one-hot groups. MultiBinary spaces and integer Boxes of {0, 1} give bits.
    Boxes of bytes give images, of one channel if they have two axes; ``image_shape`` gives the shape in which they
    are used. A space without a fixed size gives no blocks.
    """
    if is_image(space):
        shape = image_shape(tuple(space.shape or ()))
        return (Block(int(np.prod(shape)), "image", (*shape, 1) if len(shape) == 2 else shape),)
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        kind = _kind(space) if isinstance(space, spaces.Box) else "binary"
        return (Block(int(np.prod(space.shape)), kind, tuple(space.shape)),)
    if isinstance(space, spaces.Discrete):
        return (Block(int(space.n), "one_hot"),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(Block(int(n), "one_hot") for n in np.reshape(space.nvec, -1))
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return tuple(block for part in parts for block in blocks_of_space(part, image_shape))
    return ()


def padded(blocks: tuple[Block, ...], size: int) -> tuple[Block, ...]:
    """The blocks and one more block for zero padding up to ``size`` features; empty if no blocks are known."""
    missing = size - sum(block.size for block in blocks)
    return (*blocks, Block(missing, "image" if are_pixels(blocks) else "number")) if blocks and missing else blocks


def are_pixels(blocks: Iterable[Block]) -> bool:
    """Whether all features are pixels, which bytes hold."""
    kinds = {block.kind for block in blocks}
    return kinds == {"image"}


def _kind(space: spaces.Box) -> str:
    is_integer = np.issubdtype(space.dtype, np.integer) or space.dtype == np.bool_
    is_bits = is_integer and space.low.size and space.low.min() >= 0 and space.high.max() <= 1
    return "binary" if is_bits else "number"
