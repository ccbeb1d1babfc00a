"""For datasets.Dataset.map: a column of images becomes a column of vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from typing_extensions import Unpack

from pixembed._images import ImageLike
from pixembed._options import EmbedOptions
from pixembed._results import Errors
from pixembed.client import Client

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
    fails has None in `output`, and the reason in the column `output`_error.
    """
    return partial(
        _embed, client=client, column=column, output=output, errors=errors, options=options
    )


def _embed(
    batch: Batch, *, client: Client, column: str, output: str, errors: Errors, options: EmbedOptions
) -> dict[str, list[Any]]:
    images = [_image(value) for value in batch[column]]
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
    image: ImageLike = value
    return image
