"""What a call may ask for: the keyword arguments of every method, written down once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np

from pixembed.v1 import embedding_pb2

Pooling: TypeAlias = Literal["mean", "cls", "max", "masked_mean"]
DataType: TypeAlias = Literal["float32", "float16", "bfloat16", "int8", "binary"]
ExifOrientation: TypeAlias = Literal["ignore", "apply"]
Lane: TypeAlias = Literal["", "online", "bulk"]
ProgressLike: TypeAlias = "bool | Callable[[int, int | None], object]"
"""True shows a bar of tqdm; a function is told how many are done, and of how many if known."""


_LARGEST_INT32 = 2**31 - 1
_INTEGER = int | np.integer


class ExplainOptions(TypedDict, total=False):
    """The keyword arguments of `explain`."""

    model: str
    """Empty: the server's first model."""
    exif_orientation: ExifOrientation
    """ "apply" turns images upright as their EXIF data say; "ignore" (the default) does not."""
    background: tuple[int, int, int] | None
    """Red, green and blue that show through where an image is transparent. None drops alpha."""


class EmbedOptions(ExplainOptions, total=False):
    """The keyword arguments of `embed`."""

    pooling: Pooling
    """How the tokens become one vector; "mean" by default."""
    layers: Sequence[int]
    """Which hidden states are pooled, as transformers numbers output_hidden_states. Several: their
    mean; none: last_hidden_state."""
    normalize: bool
    """Scale each vector to length 1."""
    dimensions: int
    """Keep the first so many dimensions; 0, the default, keeps all."""
    data_type: DataType
    """How vectors travel; they arrive as float32 all the same."""
    lane: Lane
    """ "bulk" fills spare room and never delays "online". Empty, the default: "bulk" for
    `embed_stream`, "online" for the rest."""
    expected_fingerprint: str
    """Refuse with FINGERPRINT_MISMATCH unless the vectors would live in this space."""
    progress: ProgressLike
    timeout: float | None
    """Seconds that `embed` may take once the images are read, repetitions and all; None is no
    limit. By default that of the client, which does not limit a batch too large for one request. Of
    `embed_stream`: for so long it waits for a server that went away. Of an Engine: as its own."""


class StreamOptions(EmbedOptions, total=False):
    """The keyword arguments of `embed_stream`."""

    ordered: bool
    """Results in the order of the images; otherwise as soon as they exist."""


def check_names(method: str, options: Mapping[str, object], kind: Any) -> None:
    """Raises TypeError for an option that the method does not have: it would have no effect.
    `kind`: a TypedDict, as EmbedOptions."""
    known = list(kind.__annotations__)  # those of its bases come first
    for name in options:
        if name not in known:
            raise TypeError(f'{method} has no option "{name}"; there are {", ".join(known)}')


def encode_options(
    *,
    pooling: str = "mean",
    layers: Sequence[int] = (),
    exif_orientation: str = "ignore",
    background: tuple[int, int, int] | None = None,
    normalize: bool = False,
    dimensions: int = 0,
    data_type: str = "float32",
    lane: str = "",
    expected_fingerprint: str = "",
    ordered: bool = False,
    # These three do not travel in the options; they are here so that **options fits.
    model: str = "",
    progress: ProgressLike = False,
    timeout: float | None = None,
) -> embedding_pb2.EmbedOptions:
    """Raises TypeError or ValueError, which name the option, where the server would refuse the
    value whatever the model."""
    _check(normalize, int | np.bool_, "normalize", "True or False")
    _check(ordered, int | np.bool_, "ordered", "True or False")
    _check(model, str, "model", "a str")
    check_timeout(timeout)
    _check(expected_fingerprint, str, "expected_fingerprint", "a str")
    _check(dimensions, _INTEGER, "dimensions", "a whole number")
    _check_integers(layers, "layers", "several whole numbers, as [-1]")
    if background is not None:
        _check_integers(background, "background", "three numbers: red, green and blue")
    if dimensions < 0:
        raise ValueError(f"dimensions is {dimensions}; it must not be negative")
    if dimensions > _LARGEST_INT32:
        raise ValueError(f"dimensions is {dimensions}; no model has more than {_LARGEST_INT32}")
    if background is not None and len(background) != 3:
        raise ValueError(f"background is {background}; it is three numbers: red, green and blue")
    if background is not None and not all(0 <= band <= 255 for band in background):
        raise ValueError(f"background is {background}; red, green and blue go from 0 to 255")
    return embedding_pb2.EmbedOptions(
        pooling=_enum(embedding_pb2.Pooling, "POOLING_", "pooling", pooling),
        layers=[int(layer) for layer in layers],
        exif_orientation=_enum(
            embedding_pb2.ExifOrientation,
            "EXIF_ORIENTATION_",
            "exif_orientation",
            exif_orientation,
        ),
        background=_color(background),
        normalize=bool(normalize),
        dimensions=dimensions,
        data_type=_enum(embedding_pb2.DataType, "DATA_TYPE_", "data_type", data_type),
        packed=True,
        lane=_enum(embedding_pb2.Lane, "LANE_", "lane", lane) if lane else None,
        expected_fingerprint=expected_fingerprint,
        ordered=bool(ordered),
    )


def check_timeout(timeout: object) -> None:
    """Raises TypeError or ValueError for what is not a time that a call may take."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout is {timeout!r}; it is seconds, or None for no limit")
    if not 0 < timeout <= _LONGEST_TIMEOUT:  # nor is NaN
        raise ValueError(
            f"timeout is {timeout}; it is more than 0 seconds and at most {_LONGEST_TIMEOUT}, or "
            "None for no limit"
        )


_LONGEST_TIMEOUT = 10**8


def _check(value: object, kind: Any, name: str, expected: str) -> None:
    # A bool is an int to Python alone.
    if not isinstance(value, kind) or (kind is _INTEGER and isinstance(value, bool)):
        raise TypeError(f"{name} is {value!r}; it is {expected}")


def _check_integers(values: object, name: str, expected: str) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise TypeError(f"{name} is {values!r}; it is {expected}")
    for value in values:
        if not isinstance(value, _INTEGER) or isinstance(value, bool):
            raise TypeError(f"{name} is {values!r}; it is {expected}")
        if abs(int(value)) > _LARGEST_INT32:
            raise ValueError(f"{name} is {values!r}; {value} is too large")


def _enum(kind: Any, prefix: str, name: str, value: str) -> str:
    """The name of "cls" in the enum Pooling."""
    known = {key.removeprefix(prefix).lower(): key for key, number in kind.items() if number}
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; there is {', '.join(known)}")
    if value not in known:
        raise ValueError(f'{name} is "{value}"; there is {", ".join(known)}')
    return str(known[value])


def _color(color: tuple[int, int, int] | None) -> embedding_pb2.Color | None:
    if color is None:
        return None
    red, green, blue = color
    return embedding_pb2.Color(red=red, green=green, blue=blue)
