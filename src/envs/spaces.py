"""Gymnasium spaces as flat rows: float32, or bytes if all their values are pixels."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..types import ConfigError
from ..utils.space_blocks import is_image
from .images import AS_THEY_ARE, Images
from .messages import one_line

Row = NDArray[Any]
Writer = Callable[[Any, Row], None]

MASK_KEY = "action_mask"


class Flattener(NamedTuple):
    """Converts observations of one space to a row: ``write(observation, row)`` fills ``row`` [size]."""

    size: int
    write: Writer


def flattener(space: spaces.Space, what: str = "observation", images: Images = AS_THEY_ARE) -> Flattener:
    """The flattener of ``space``.

    Numbers are cast to float32. Images (uint8 up to 255) are prepared by ``images``, and divided by 255 in float32
    rows. Discrete and MultiDiscrete become one-hot; Dict and Tuple are concatenated.

    Raises:
        ConfigError: the space, which the message calls ``what``, has no fixed size (Sequence, Graph, Text, ...).
    """
    if is_image(space):
        return _image(tuple(space.shape or ()), images)
    if isinstance(space, spaces.Box):
        return Flattener(int(np.prod(space.shape)), _write_vector if len(space.shape) == 1 else _write_ravelled)
    if isinstance(space, spaces.Discrete):
        return Flattener(int(space.n), _one_hot(int(space.start)))
    if isinstance(space, spaces.MultiBinary):
        return Flattener(int(np.prod(space.shape)), _write_ravelled)
    if isinstance(space, spaces.MultiDiscrete):
        return _multi_discrete(space)
    if isinstance(space, spaces.Dict):
        return _in_a_row({key: flattener(part, f"{what}[{key!r}]", images) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return _in_a_row({i: flattener(part, f"{what}[{i}]", images) for i, part in enumerate(space.spaces)})
    raise ConfigError(f"{what}: the space {space} has no fixed size and cannot be flattened")


def check_spaces(key: str, parts: Iterable[Any]) -> None:
    """Raises ConfigError if the environment ``key`` has a space that is not Gymnasium's."""
    for part in parts:
        if isinstance(part, spaces.Space):
            continue
        kind = type(part)
        if kind.__module__.partition(".")[0] == "gym":
            raise ConfigError(
                f"environment {key} has spaces of the old package gym ({kind.__name__}): replace `import gym` by "
                "`import gymnasium as gym` in it, or use a newer version of it"
            )
        raise ConfigError(
            f"environment {key} has the space {one_line(part)} ({kind.__name__}), not a gymnasium space"
        )


def has_mask(space: spaces.Space) -> bool:
    """Whether observations carry an action mask: a Dict with the key ``action_mask``."""
    return isinstance(space, spaces.Dict) and MASK_KEY in space.spaces


def without_mask(space: spaces.Space) -> spaces.Space:
    """The same space without its action mask."""
    if not has_mask(space):
        return space
    return spaces.Dict({key: part for key, part in space.spaces.items() if key != MASK_KEY})


def _write_vector(value: Any, row: Row) -> None:
    if len(value) != len(row):  # one number would be repeated
        raise ValueError(f"{len(value)} numbers instead of {len(row)}")
    row[:] = value


def _write_ravelled(value: Any, row: Row) -> None:
    _write_vector(np.reshape(value, -1), row)


def _image(shape: tuple[int, ...], images: Images) -> Flattener:
    prepare, size = images.preparation(shape), int(np.prod(shape))

    def write(value: Any, row: Row) -> None:
        pixels = np.reshape(value, -1)
        if len(pixels) != size:
            raise ValueError(f"{len(pixels)} numbers instead of {size}")
        if pixels.dtype != np.uint8 and (prepare is not None or row.dtype == np.uint8):
            as_bytes = pixels.astype(np.uint8)
            if not (as_bytes == pixels).all():
                raise ValueError("its numbers are no bytes")
            pixels = as_bytes
        row[:] = pixels if prepare is None else prepare(pixels).reshape(-1)
        if row.dtype != np.uint8:
            row /= 255

    return Flattener(int(np.prod(images.shape(shape))), write)


def _one_hot(start: int) -> Writer:
    def write(value: Any, row: Row) -> None:
        index = int(np.asarray(value).item()) - start  # some environments return an array of one number
        if not 0 <= index < len(row):  # a negative index would count from the end
            raise ValueError(f"value {index} is outside its Discrete space of {len(row)}")
        row[:] = 0
        row[index] = 1

    return write


def _multi_discrete(space: spaces.MultiDiscrete) -> Flattener:
    sizes = np.reshape(space.nvec, -1)
    firsts = np.concatenate(([0], np.cumsum(sizes)[:-1])) - np.reshape(space.start, -1)

    def write(value: Any, row: Row) -> None:
        row[:] = 0
        row[firsts + np.reshape(value, -1)] = 1

    return Flattener(int(sizes.sum()), write)


def _in_a_row(parts: dict[Any, Flattener]) -> Flattener:
    pieces: list[tuple[Any, slice, Writer]] = []
    size = 0
    for key, part in parts.items():
        pieces.append((key, slice(size, size + part.size), part.write))
        size += part.size

    def write(value: Any, row: Row) -> None:
        for key, piece, write_piece in pieces:
            write_piece(value[key], row[piece])

    return Flattener(size, write)
