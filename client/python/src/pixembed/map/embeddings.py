"""What pixembed-bulk wrote, or a Parquet file like it: the names of images and their vectors."""

from __future__ import annotations

import pathlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

_BATCH_ROWS = 4096
_FINGERPRINT = b"pixembed.fingerprint"
_REASON_COLUMN = "error_reason"
NOT_FINITE = "NOT_FINITE"
"""Why a row is left out whose vector is there, but holds NaN or an infinity."""
ZERO = "ZERO"
"""The same of a vector of zeros, which points nowhere."""


class MapError(Exception):
    """There is nothing that a map could be made of."""


@dataclass(frozen=True)
class Embeddings:
    """The rows of one file or folder that have a vector."""

    name: str
    """What they were read from, as the caller named it."""
    ids: list[str]
    vectors: NDArray[np.float32]
    """[N, D], each scaled to length 1: only directions are compared."""
    fingerprint: str
    """Of the space that the vectors live in; empty if the file does not say."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many other rows there are, by reason; the reason is empty if the file has none."""


def read(path: pathlib.Path, *, id_column: str = "id", vector_column: str = "vector") -> Embeddings:
    """A Parquet file, or all those of a folder in the order of their names.

    Besides the vectors, which are read piece by piece into one matrix, little is held in memory.
    Raises MapError.
    """
    reader = _Reader(path, id_column, vector_column)
    for file in _files(path):
        try:
            reader.read(file)
        except (OSError, pa.ArrowException) as error:
            raise MapError(f"{file} cannot be read as Parquet: {error}") from error
    return reader.embeddings()


def unit_length(vectors: NDArray[np.float32]) -> None:
    """Scales each row, in place. None may be of zeros."""
    for begin in range(0, len(vectors), _BATCH_ROWS):
        rows = vectors[begin : begin + _BATCH_ROWS]
        # In double precision, where no float32 overflows when it is squared.
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        rows[:] = rows / lengths[:, None]


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    if not path.exists():
        raise MapError(f"{path}: there is no such file or folder")
    if path.is_file():
        return [path]
    found = sorted(file for file in path.glob("*.parquet") if not file.name.startswith("."))
    if not found:
        raise MapError(
            f"{path} holds no .parquet file; pixembed-bulk writes them with --format=parquet"
        )
    return found


class _Reader:
    def __init__(self, path: pathlib.Path, id_column: str, vector_column: str) -> None:
        self._path = path
        self._id_column = id_column
        self._vector_column = vector_column
        self._ids: list[str] = []
        self._blocks: list[NDArray[np.float32]] = []
        self._first_file: pathlib.Path | None = None
        self._dimension = 0
        self._fingerprint = ""
        self._left_out: Counter[str] = Counter()

    def read(self, path: pathlib.Path) -> None:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            for column in (self._id_column, self._vector_column):
                if column not in schema.names:
                    raise MapError(
                        f'{path} has no column "{column}"; it has {", ".join(schema.names)}'
                    )
            self._check_type(path, schema.field(self._vector_column).type)
            self._check_ids(path, schema.field(self._id_column).type)
            self._take_fingerprint(path, schema)
            columns = [self._id_column, self._vector_column]
            if _REASON_COLUMN in schema.names:
                columns.append(_REASON_COLUMN)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                self._take(path, batch)

    def embeddings(self) -> Embeddings:
        if not self._ids:
            raise MapError(self._why_nothing())
        vectors = np.empty((len(self._ids), self._dimension), np.float32)
        row = 0
        # Each block goes as soon as it is copied.
        while self._blocks:
            block = self._blocks.pop(0)
            vectors[row : row + len(block)] = block
            row += len(block)
        unit_length(vectors)
        return Embeddings(
            str(self._path), self._ids, vectors, self._fingerprint, dict(self._left_out)
        )

    def _check_type(self, path: pathlib.Path, kind: pa.DataType) -> None:
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if lists or pa.types.is_fixed_size_list(kind):
            value = kind.value_type
            if pa.types.is_floating(value) or pa.types.is_integer(value):
                return
        raise MapError(f'{path}: the column "{self._vector_column}" holds {kind}, not vectors')

    def _check_ids(self, path: pathlib.Path, kind: pa.DataType) -> None:
        try:
            pa.array([], kind).cast(pa.string())
        except pa.ArrowException as error:
            raise MapError(
                f'{path}: the column "{self._id_column}" holds {kind}, not names'
            ) from error

    def _take_fingerprint(self, path: pathlib.Path, schema: pa.Schema) -> None:
        """Of a part in which every image failed, it may be empty."""
        found = (schema.metadata or {}).get(_FINGERPRINT, b"").decode()
        if found and self._fingerprint and found != self._fingerprint:
            raise MapError(
                f"{path} holds vectors of the space {found}, the files before it of "
                f"{self._fingerprint}: they cannot be compared"
            )
        self._fingerprint = self._fingerprint or found

    def _take(self, path: pathlib.Path, batch: pa.RecordBatch) -> None:
        column = batch.column(self._vector_column)
        present = column.is_valid()
        self._count_failed(batch, present)
        vectors = self._matrix(path, column.filter(present))
        ids = self._names(path, batch.column(self._id_column).filter(present))
        finite = np.asarray(np.isfinite(vectors).all(axis=1))
        usable = finite & vectors.any(axis=1)
        for reason, count in ((NOT_FINITE, (~finite).sum()), (ZERO, (finite & ~usable).sum())):
            if count:
                self._left_out[reason] += int(count)
        if usable.any():
            self._ids += ids.filter(pa.array(usable)).to_pylist()
            self._blocks.append(vectors[usable])

    def _names(self, path: pathlib.Path, column: pa.Array) -> pa.Array:
        try:
            return column.cast(pa.string()).fill_null("")
        except pa.ArrowException as error:
            raise MapError(
                f'{path}: the column "{self._id_column}" holds what is no text: {error}'
            ) from error

    def _count_failed(self, batch: pa.RecordBatch, present: pa.Array) -> None:
        failed = pc.invert(present)
        if _REASON_COLUMN in batch.schema.names:
            reasons = batch.column(_REASON_COLUMN).filter(failed).cast(pa.string()).fill_null("")
            self._left_out.update(reasons.to_pylist())
        elif count := pc.sum(failed).as_py():
            self._left_out[""] += count

    def _matrix(self, path: pathlib.Path, column: pa.Array) -> NDArray[np.float32]:
        """[rows, dimension]. Raises MapError where the rows are not of one length."""
        for length in pc.unique(pc.list_value_length(column)).to_pylist():
            if length == 0:
                raise MapError(f"{path} holds a vector of 0 dimensions")
            if self._first_file is None:
                self._first_file, self._dimension = path, length
            if length != self._dimension:
                raise MapError(
                    f"{path} holds a vector of {length} dimensions, {self._first_file} one of "
                    f"{self._dimension}: they cannot be compared"
                )
        values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # to infinity
            return values.astype(np.float32).reshape(len(column), self._dimension)

    def _why_nothing(self) -> str:
        failed = sum(self._left_out.values())
        if not failed:
            return f"{self._path} has no rows"
        return f"{self._path} has no vectors: {describe_left_out(self._left_out)}"


def describe_left_out(left_out: dict[str, int]) -> str:
    """As "3 rows are left out: TRUNCATED_IMAGE 2, NOT_FINITE 1"."""
    count = sum(left_out.values())
    rows = f"{count} row is" if count == 1 else f"{count} rows are"
    reasons = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return f"{rows} left out: " + ", ".join(
        f"{reason or 'without a vector'} {number}" for reason, number in reasons
    )


def check_same_space(first: Embeddings, second: Embeddings) -> None:
    """Raises MapError unless their vectors may be compared."""
    if first.fingerprint != second.fingerprint:
        raise MapError(
            f"{first.name} holds vectors of {_space(first)}, {second.name} of {_space(second)}: "
            "vectors of two spaces cannot be compared"
        )
    one, other = first.vectors.shape[1], second.vectors.shape[1]
    if one != other:
        raise MapError(
            f"{first.name} holds vectors of {one} dimensions, {second.name} of {other}: they "
            "cannot be compared"
        )


def _space(embeddings: Embeddings) -> str:
    if embeddings.fingerprint:
        return f"the space {embeddings.fingerprint}"
    return "a space without a name (no fingerprint in its metadata)"
