"""From what a caller calls an image to encoded bytes."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pixembed.errors import ImageError

Unreadable: TypeAlias = Mapping[int, ImageError]
"""By position in a batch."""


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
    """Raises TypeError for what is not several images: the letters of a path, the lines of a file
    or the rows of an array would be taken for them."""
    alone = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview)
    if alone or hasattr(images, "convert") or hasattr(images, "read"):
        raise TypeError(
            f"images is several images, not one {type(images).__name__}; put it into a list"
        )
    if isinstance(images, np.ndarray) and not _holds_images(images):
        raise TypeError(f"images is several images, not {_describe(images)}; put it into a list")
    known = isinstance(images, Iterable | AsyncIterable) or hasattr(images, "__getitem__")
    if isinstance(images, Mapping) or not known:
        raise TypeError(f"images is a list or an iterable of images, not {type(images).__name__}")


def _holds_images(array: NDArray[Any]) -> bool:
    """Objects in a row, as Ray and pandas give them, or pixels of more than one image."""
    if array.dtype == object:
        return array.ndim == 1
    return array.ndim > 3 or (array.ndim == 3 and array.shape[2] not in (3, 4))


def check_batch(images: object) -> None:
    """`check_images`, where an asynchronous iterable is of no use either."""
    check_images(images)
    if isinstance(images, AsyncIterable):
        raise TypeError(
            f"images is an asynchronous iterable ({type(images).__name__}); only "
            "AsyncClient.embed_stream takes one"
        )


def encoded_batch(images: Iterable[ImageLike], errors: str) -> tuple[list[bytes], Unreadable]:
    """What travels; with errors="return" empty for files that cannot be read, and why."""
    data: list[bytes] = []
    unreadable: dict[int, ImageError] = {}
    for index, image in enumerate(images):
        try:
            data.append(encoded(image, index))
        except OSError as error:
            if errors != "return":
                raise
            unreadable[index] = unreadable_file(error)
            data.append(b"")
    return data, unreadable


def unreadable_file(error: OSError) -> ImageError:
    return ImageError("NOT_FOUND", "UNREADABLE_FILE", str(error))


def encoded(image: ImageLike, index: int | None = None) -> bytes:
    """The bytes that travel. Raises OSError where a file cannot be read, TypeError or ValueError
    for what is no image; they name the `index` of one among several."""
    if isinstance(image, bytes):
        return image
    try:
        return _encoded(image)
    except (TypeError, ValueError) as error:
        if index is None:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"image {index}: {error}") from error


def _encoded(image: object) -> bytes:
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        if "\0" in str(image):
            raise ValueError(f"a path has no NUL, as {str(image)!r} does")
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
    if 0 in rgb.size:
        raise ValueError(f"a PIL image of {rgb.size[0]} x {rgb.size[1]} holds no pixels")
    transparency = rgb.info.get("transparency")
    if isinstance(transparency, int):  # of modes 1 and I;16; Pillow takes it for a level of red
        transparency = (transparency, 0, 0)
    png = io.BytesIO()
    rgb.save(png, "PNG", compress_level=1, transparency=transparency)
    return png.getvalue()


def _describe(pixels: NDArray[Any]) -> str:
    return f"an array of {pixels.dtype} {list(pixels.shape)}"


def _png_of_array(pixels: NDArray[Any]) -> bytes:
    what = _describe(pixels)
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
