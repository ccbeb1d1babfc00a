"""From the server's answers to vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pixembed.errors import EmbedError, ImageError, image_error
from pixembed.v1 import embedding_pb2

Vectors: TypeAlias = NDArray[np.float32]
Errors: TypeAlias = Literal["raise", "return"]


class Embeddings(NamedTuple):
    vectors: Vectors
    """[N, D]; NaN in the rows of images that failed."""
    errors: Mapping[int, ImageError]
    """By position in the batch."""
    fingerprint: str
    """The space that the vectors live in; vectors of two must not meet in one index."""


@dataclass(frozen=True)
class Result:
    """What became of one image of a stream: a vector or an error."""

    index: int
    vector: Vectors | None
    error: ImageError | None
    fingerprint: str


class Gathering:
    """Results in any order become one array."""

    def __init__(
        self, count: int, width: int, errors: Errors, unreadable: Mapping[int, ImageError]
    ) -> None:
        """`unreadable`: of images in whose place an empty one travels."""
        self._vectors = np.full((count, width), np.nan, dtype=np.float32)
        self._failed: dict[int, ImageError] = {}
        self._fingerprint = ""
        self._errors = errors
        self._unreadable = unreadable

    def add(self, result: Result) -> None:
        self._fingerprint = result.fingerprint or self._fingerprint
        error = self._unreadable.get(result.index, result.error)
        if error is not None:
            self._failed[result.index] = error
        elif result.vector is not None:
            self._vectors[result.index] = result.vector

    def finish(self) -> Vectors | Embeddings:
        failed = dict(sorted(self._failed.items()))
        embeddings = Embeddings(self._vectors, failed, self._fingerprint)
        if self._errors == "return":
            return embeddings
        if self._failed:
            raise EmbedError(embeddings.errors, embeddings)
        return self._vectors


def check_errors(errors: str) -> None:
    if errors not in ("raise", "return"):
        raise ValueError(f'errors is "{errors}"; there is "raise" and "return"')


def result_of(message: embedding_pb2.EmbedResult, index: int, fingerprint: str) -> Result:
    if message.HasField("embedding"):
        return Result(index, _vector(message.embedding), None, fingerprint)
    return Result(index, None, image_error(message.error), fingerprint)


def _vector(embedding: embedding_pb2.Embedding) -> Vectors:
    data = embedding.data
    vector: NDArray[Any]
    if embedding.data_type == embedding_pb2.DATA_TYPE_FLOAT32:
        vector = np.frombuffer(data, "<f4") if data else np.array(embedding.values)
    elif embedding.data_type == embedding_pb2.DATA_TYPE_FLOAT16:
        vector = np.frombuffer(data, "<f2")
    elif embedding.data_type == embedding_pb2.DATA_TYPE_BFLOAT16:
        vector = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    elif embedding.data_type == embedding_pb2.DATA_TYPE_INT8:
        vector = np.frombuffer(data, "i1") * np.float32(embedding.scale)
    else:
        vector = np.unpackbits(np.frombuffer(data, "u1"), count=embedding.dimensions)
    return vector.astype(np.float32)
