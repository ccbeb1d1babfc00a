"""From what a caller calls an image to encoded bytes."""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray


class PilImage(Protocol):
    """As much of PIL.Image.Image as is needed."""

    def convert(self, mode: str) -> Any: ...


ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | PilImage | NDArray[np.uint8]"
)
"""A path, encoded bytes, a PIL image, or pixels: uint8 [H, W], [H, W, 3] or [H, W, 4]."""

_COLOR_TYPES = {1: 0, 3: 2, 4: 6}
"""PNG's grey, RGB and RGBA, by the number of bands."""


def check_images(images: object) -> None:
    """Raises TypeError for one image in the place of many: the letters of a path, or the numbers of
    a file's bytes, would be taken for images."""
    alone = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview)
    if alone or hasattr(images, "convert"):
        raise TypeError(
            f"images is several images, not one {type(images).__name__}; put it into a list"
        )


def encoded(image: ImageLike) -> bytes:
    """The bytes that travel. Raises OSError where a file cannot be read, TypeError or ValueError
    for what is no image."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        with open(image, "rb") as file:
            return file.read()
    if isinstance(image, np.ndarray):
        return _png_of_array(image)
    if hasattr(image, "convert"):
        return _png_of_pil(image)
    raise TypeError(
        f"an image is a path, bytes, a PIL image or a numpy array, not {type(image).__name__}"
    )


def _png_of_pil(image: PilImage) -> bytes:
    rgb = image.convert("RGB")
    transparency = rgb.info.get("transparency")
    if isinstance(transparency, int):  # of modes 1 and I;16; Pillow takes it for a level of red
        transparency = (transparency, 0, 0)
    png = io.BytesIO()
    rgb.save(png, "PNG", compress_level=1, transparency=transparency)
    return png.getvalue()


def _png_of_array(pixels: NDArray[Any]) -> bytes:
    what = f"an array of {pixels.dtype} {list(pixels.shape)}"
    if pixels.dtype != np.uint8:
        raise TypeError(f"an array of pixels is uint8, not {what}")
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,), (4,)):
        raise ValueError(f"an array of pixels is [H, W], [H, W, 3] or [H, W, 4], not {what}")
    if pixels.size == 0:
        raise ValueError(f"{what} holds no pixels")
    height, width = pixels.shape[:2]
    bands = pixels.size // (height * width)
    # Every row of a PNG begins with the number of its filter: 0, none.
    rows = np.zeros((height, 1 + width * bands), np.uint8)
    rows[:, 1:] = pixels.reshape(height, width * bands)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[bands], 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            *_png_chunk(b"IHDR", header),
            *_png_chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)),
            *_png_chunk(b"IEND", b""),
        ]
    )


def _png_chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    crc = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc)
