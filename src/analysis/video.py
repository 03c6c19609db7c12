"""Encodes the frames of an episode as a GIF or as an MP4 that every browser plays."""

from collections.abc import Callable, Generator, Iterable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import ConfigError

Frames = Iterable[NDArray[np.uint8]]  # [height, width, 3] each, all of one size


def check_encoders(formats: Iterable[str]) -> None:
    """Raises ConfigError if a format needs a package that is not installed."""
    if "mp4" in formats and not find_spec("imageio_ffmpeg"):
        raise ConfigError("formats: mp4 needs a package that is missing; pip install imageio-ffmpeg")


def gif(frames: Frames, fps: float) -> bytes:
    """An animation that repeats without end, with 256 colours for each frame."""
    from PIL import Image

    first, *others = [Image.fromarray(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    return file.getvalue()


def mp4(frames: Frames, fps: float) -> bytes:
    """H.264 with the colours that every browser plays, and the index at the beginning."""
    import imageio_ffmpeg

    with TemporaryDirectory() as folder:
        file = Path(folder) / "film.mp4"
        video: Generator[None, Any, None] | None = None
        try:
            for frame in map(even, frames):
                if video is None:
                    height, width, _ = frame.shape
                    video = imageio_ffmpeg.write_frames(
                        str(file), (width, height), fps=fps, quality=8, macro_block_size=2,
                        output_params=["-movflags", "+faststart"],
                    )  # fmt: skip
                    video.send(None)
                video.send(np.ascontiguousarray(frame))
        finally:
            if video is not None:
                video.close()
        return file.read_bytes()


def even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame with even sides, as H.264 needs them; the last row or column is repeated."""
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


ENCODERS: dict[str, Callable[[Frames, float], bytes]] = {"gif": gif, "mp4": mp4}
