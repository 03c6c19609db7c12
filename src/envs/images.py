"""Images that environments return as bytes: their size and colour, as ``env_args`` states or by default."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import Block, ConfigError
from ..utils.space_blocks import Shape

KEYS = ("resize", "grayscale")  # of ``env_args``
LONGEST = 84  # pixels of a side: larger images are made smaller unless ``resize`` is set (Mnih et al. 2015)
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601


@dataclass(frozen=True)
class Images:
    """How images are prepared.

    Attributes:
        resize: their height and width; None: at most ``LONGEST`` pixels a side, in the same proportions; False: as
            they are.
        grayscale: whether images of three channels become grey.
    """

    resize: tuple[int, int] | bool | None = None
    grayscale: bool = False

    @property
    def is_set(self) -> bool:
        """Whether the user has chosen something that needs images."""
        return isinstance(self.resize, tuple) or self.grayscale

    def shape(self, shape: Shape) -> Shape:
        """The shape in which images of ``shape`` are used; one that is prepared has its channels last."""
        height, width, channels = _sizes(shape)
        if self.keeps(shape):
            return shape
        return (*self._sides(height, width), 1 if self.grayscale and channels == 3 else channels)

    def keeps(self, shape: Shape) -> bool:
        """Whether images of ``shape`` are used as they are."""
        height, width, channels = _sizes(shape)
        return self._sides(height, width) == (height, width) and not (self.grayscale and channels == 3)

    def preparation(self, shape: Shape) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None:
        """The function that prepares images of ``shape``; None: they are used as they are."""
        if self.keeps(shape):
            return None
        block = _block(shape)
        assert block.grid_axes is not None
        block_shape, channels = block.shape, block.grid_axes[0]
        _, old_height, old_width = (block_shape[axis] for axis in block.grid_axes)
        height, width, _ = self.shape(shape)
        rows, columns = area_weights(old_height, height), area_weights(old_width, width)
        is_grey = self.grayscale and block_shape[channels] == 3

        def prepare(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
            pixels: NDArray[Any] = np.moveaxis(image.reshape(block_shape), channels, -1)  # [H, W, C]
            lines = rows @ pixels.reshape(old_height, -1).astype(np.float32)
            pixels = columns @ lines.reshape(height, old_width, -1)
            if is_grey:
                pixels = (pixels @ LUMA)[..., None]
            return np.rint(pixels).astype(np.uint8)

        return prepare

    def _sides(self, height: int, width: int) -> tuple[int, int]:
        longest = max(height, width)
        if not height or self.resize is False or (self.resize is None and longest <= LONGEST):
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        return max(round(height * LONGEST / longest), 1), max(round(width * LONGEST / longest), 1)


AS_THEY_ARE = Images(resize=False)


def area_weights(length: int, size: int) -> NDArray[np.float32]:
    """The matrix [size, length] of means over ``size`` equal parts of an axis.

    A value at a border of two parts counts in both by its share.
    """
    borders = np.arange(size + 1) * (length / size)
    low, high = borders[:-1, None], borders[1:, None]
    at = np.arange(length)
    shares = np.clip(np.minimum(at + 1, high) - np.maximum(at, low), 0, None)
    return (shares * (size / length)).astype(np.float32)


def images_from(arguments: dict[str, Any]) -> Images:
    """Removes ``KEYS`` from ``env_args``; raises ConfigError if a value is wrong."""
    resize, grayscale = arguments.pop("resize", None), arguments.pop("grayscale", False)
    if isinstance(resize, list | tuple):
        if len(resize) != 2 or not all(isinstance(side, int) and side > 0 for side in resize):
            raise ConfigError(f"env_args.resize: {resize} is not [height, width] in pixels")
        resize = (resize[0], resize[1])
    elif resize is not None and resize is not False:
        raise ConfigError(f"env_args.resize: {resize!r} is neither [height, width] nor False")
    if not isinstance(grayscale, bool):
        raise ConfigError(f"env_args.grayscale: {grayscale!r} is neither True nor False")
    return Images(resize, grayscale)


def _block(shape: Shape) -> Block:
    return Block(0, "image", (*shape, 1) if len(shape) == 2 else shape)


def _sizes(shape: Shape) -> tuple[int, int, int]:
    """Height, width and number of channels of an image; zeros if pixels of this shape are none."""
    block = _block(shape)
    if block.grid_axes is None:
        return 0, 0, 0
    channels, height, width = (block.shape[axis] for axis in block.grid_axes)
    return height, width, channels
