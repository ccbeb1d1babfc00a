"""For datasets.Dataset.map: a column of images becomes a column of vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from typing_extensions import Unpack

from pixembed._images import ImageLike
from pixembed._options import EmbedOptions
from pixembed._results import Errors, check_errors
from pixembed.client import Client
from pixembed.integrations import check_arguments

Batch: TypeAlias = Mapping[str, list[Any]]


def embed_column(
    client: Client,
    column: str = "image",
    *,
    output: str = "embedding",
    errors: Errors = "raise",
    **options: Unpack[EmbedOptions],
) -> Callable[[Batch], dict[str, list[Any]]]:
    """The function for `dataset.map(embed_column(client), batched=True, batch_size=256)`.

    A column of datasets.Image(decode=False) travels as it is; decoded images travel as PNG of their
    RGB pixels. A column may also hold paths, or encoded bytes. `errors="return"`: a row whose image
    fails, or is None, has None in `output`, and the reason in the column `output`_error.
    """
    check_arguments(client, options)
    check_errors(errors)
    return partial(
        _embed, client=client, column=column, output=output, errors=errors, options=options
    )


def _embed(
    batch: Batch, *, client: Client, column: str, output: str, errors: Errors, options: EmbedOptions
) -> dict[str, list[Any]]:
    try:
        values = batch[column]
    except KeyError as error:
        raise ValueError(f'there is no column "{column}"; there are {", ".join(batch)}') from error
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise TypeError(
            f'the column "{column}" is one {type(values).__name__}, not those of a batch: '
            "dataset.map needs batched=True"
        )
    images = [_image(value) for value in values]
    if errors == "raise":
        return {output: list(client.embed(images, **options))}
    embeddings = client.embed(images, errors=errors, **options)
    failed = embeddings.errors
    return {
        output: [None if i in failed else vector for i, vector in enumerate(embeddings.vectors)],
        f"{output}_error": [str(failed[i]) if i in failed else None for i in range(len(images))],
    }


def _image(value: Any) -> ImageLike:
    """An undecoded image of datasets is {"bytes": ..., "path": ...}; one may be None."""
    if isinstance(value, Mapping):
        value = value["path"] if value["bytes"] is None else value["bytes"]
    image: ImageLike = b"" if value is None else value  # EMPTY_IMAGE
    return image
