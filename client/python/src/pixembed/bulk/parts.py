"""The output of a job: a folder of parts, each there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixembed.errors import ImageError

Format: TypeAlias = Literal["parquet", "arrow", "npy"]


@dataclass(frozen=True)
class Row:
    """What became of one image."""

    id: str
    vector: NDArray[np.float32] | None
    error: ImageError | None


def digest_of(ids: Iterable[str]) -> str:
    """Names a part's images, in their order."""
    digest = hashlib.sha256()
    for name in ids:
        digest.update(json.dumps(name).encode())
    return digest.hexdigest()


def _unfinished(name: str) -> str:
    return f".{name}.unfinished"


def remove_unfinished(folder: pathlib.Path) -> None:
    """What killed writers left. To be called while nobody writes into the folder."""
    for path in folder.glob(_unfinished("*")):
        path.unlink()


def write_whole(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """The file appears under its name once it is complete and on the disk."""
    unfinished = path.with_name(_unfinished(path.name))
    try:
        write(unfinished)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        # As of a full disk, of which pyarrow names no file. Its room is given back.
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        what = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"cannot be written: {what}", str(path)) from error
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: pathlib.Path, text: str) -> None:
    """As `write_whole`."""
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))


class Part(NamedTuple):
    """What a written part holds."""

    digest: str
    """Of the ids: digest_of."""
    rows: int
    failed: int


class Parts:
    """part-00000.parquet and so on. Columns (parquet, arrow): id, vector (null where the image
    failed), error_code, error_reason, error_message (null where it did not).

    npy: part-00000.npy, float32 [rows, dimension], NaN where the image failed, and
    part-00000.jsonl with "id" and perhaps "error" in the same order.
    """

    def __init__(self, folder: pathlib.Path, kind: Format, dimension: int) -> None:
        self._folder = folder
        self._kind = kind
        self._dimension = dimension

    def path(self, number: int) -> pathlib.Path:
        return self._folder / f"part-{number:05}.{self._kind}"

    def exists(self, number: int) -> bool:
        return self.path(number).exists()

    def read(self, number: int) -> Part:
        """What a part that exists holds. Raises OSError, ValueError or KeyError: it is not ours."""
        path = self.path(number)
        if self._kind == "npy":
            with path.with_suffix(".jsonl").open(encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines]
            failed = sum("error" in row for row in rows)
            return Part(digest_of(row["id"] for row in rows), len(rows), failed)
        metadata = self._schema(path).metadata or {}
        return Part(
            metadata[b"pixembed.ids_sha256"].decode(),
            int(metadata[b"pixembed.rows"]),
            int(metadata[b"pixembed.failed"]),
        )

    def write(self, number: int, rows: list[Row], fingerprint: str) -> None:
        path = self.path(number)
        if self._kind == "npy":
            # The vectors last: they are the part.
            write_text(path.with_suffix(".jsonl"), self._lines(rows))
            write_whole(path, lambda file: self._write_npy(file, rows))
        else:
            table = self._table(rows, fingerprint)
            write_whole(path, lambda file: self._write_table(file, table))

    def _schema(self, path: pathlib.Path) -> pa.Schema:
        if self._kind == "parquet":
            return pq.read_schema(path)
        with pa.ipc.open_file(path) as file:
            return file.schema

    def _write_table(self, file: pathlib.Path, table: pa.Table) -> None:
        if self._kind == "parquet":
            pq.write_table(table, file, compression="zstd")
            return
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    def _table(self, rows: list[Row], fingerprint: str) -> pa.Table:
        vectors = self._matrix(rows)
        missing = pa.array([row.vector is None for row in rows])
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.reshape(-1)), self._dimension, mask=missing
        )
        metadata = {
            "pixembed.fingerprint": fingerprint,
            "pixembed.ids_sha256": digest_of(row.id for row in rows),
            "pixembed.rows": str(len(rows)),
            "pixembed.failed": str(sum(row.error is not None for row in rows)),
        }

        def errors(field: str) -> pa.Array:
            values = [None if row.error is None else getattr(row.error, field) for row in rows]
            return pa.array(values, pa.string())

        return pa.table(
            {
                "id": pa.array([row.id for row in rows], pa.string()),
                "vector": column,
                "error_code": errors("code"),
                "error_reason": errors("reason"),
                "error_message": errors("message"),
            }
        ).replace_schema_metadata(metadata)

    def _matrix(self, rows: list[Row]) -> NDArray[np.float32]:
        vectors = np.full((len(rows), self._dimension), np.nan, dtype=np.float32)
        for i, row in enumerate(rows):
            if row.vector is not None:
                vectors[i] = row.vector
        return vectors

    def _write_npy(self, file: pathlib.Path, rows: list[Row]) -> None:
        with file.open("wb") as out:
            np.save(out, self._matrix(rows))

    @staticmethod
    def _lines(rows: list[Row]) -> str:
        lines: list[dict[str, Any]] = []
        for row in rows:
            line: dict[str, Any] = {"id": row.id}
            if row.error is not None:
                line["error"] = {
                    "code": row.error.code,
                    "reason": row.error.reason,
                    "message": row.error.message,
                }
            lines.append(line)
        return "".join(json.dumps(line) + "\n" for line in lines)
