"""Where the images of a job come from: the same images in the same order at every start."""

from __future__ import annotations

import csv
import glob
import json
import lzma
import os
import pathlib
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

EXTENSIONS = ("avif", "bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp")
"""Of the files that a folder or a tar shard is searched for."""

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


class SourceError(Exception):
    """A source that cannot be read, or a manifest that makes no sense."""


@dataclass(frozen=True)
class Source:
    """One image: its name, and how to get its bytes.

    `read` may raise OSError, which is an error of this image alone. A reader of a tar shard is only
    good until the next source is asked for.
    """

    id: str
    read: Callable[[], bytes]


def _suffixes(extensions: Iterable[str]) -> tuple[str, ...]:
    """What names end in; "*" takes every file."""
    found = ["" if text == "*" else "." + text.lower().lstrip(".") for text in extensions]
    if not found or "." in found:
        raise SourceError("an extension is empty; they are as jpg,png, or * for every file")
    return tuple(found)


def sources(inputs: Sequence[str], extensions: Iterable[str] = EXTENSIONS) -> Iterator[Source]:
    """The images of `inputs`, one after the other, in an order that depends on nothing but them.

    An input is a folder (searched with all its subfolders, in the order of the names), a tar shard,
    a manifest (`@FILE`: .jsonl with "path" and perhaps "id", .csv with such columns, or a path a
    line), a glob, or a file. Ids are the paths as they are found, of a tar shard
    "SHARD/MEMBER". Files that are named themselves are taken whatever they are called.
    Bytes of a name that are not UTF-8 are written as \\xff in its id. Raises SourceError.

    Links to folders are followed, but for those to a folder that they are in. A link that leads
    nowhere, and a subfolder that cannot be read, are an image each that cannot be read: nobody
    knows what is behind them.
    """
    suffixes = _suffixes(extensions)
    for text in inputs:
        if not text.strip("@"):
            raise SourceError(f'"{text}" names no input')
        if text.startswith("@"):
            yield from _manifest(pathlib.Path(text[1:]))
        elif os.path.isdir(text):
            yield from _input_folder(text, suffixes)
        elif os.path.exists(text):
            yield from _named(text, suffixes)
        else:
            found = sorted(glob.glob(text, recursive=True))
            if not found:
                raise SourceError(f"{text}: there is no such file or folder, and nothing like it")
            for path in found:
                if not os.path.isdir(path):
                    yield from _named(path, suffixes)


def _named(path: str, suffixes: tuple[str, ...]) -> Iterator[Source]:
    if path.endswith(_TAR_SUFFIXES):
        yield from _shard(path, suffixes)
    else:
        yield _file(path)


def _file(path: str, name: str | None = None) -> Source:
    return Source(_id(path if name is None else name), lambda: _read(path))


def _read(path: str) -> bytes:
    # Not even opened, which a device may take for a command.
    _check_regular(path, os.stat(path))
    # Not blocking: by now it may be a FIFO into which nobody writes.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check_regular(path, os.fstat(file.fileno()))
        return file.read()


def _check_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path!r} is not a regular file")


def _id(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class _Folder:
    """What a folder holds, in the order of the names; and its device and inode, by which it is
    known again, whatever way led to it."""

    identity: tuple[int, int]
    entries: list[os.DirEntry[str]]


def _open(path: str) -> _Folder:
    """Raises OSError."""
    status = os.stat(path)
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    return _Folder((status.st_dev, status.st_ino), found)


def _opened(entry: os.DirEntry[str]) -> _Folder | None:
    """None: it is no folder, and leads to none. Raises OSError, as for a link to nothing."""
    if not entry.is_dir() and not entry.is_symlink():
        return None
    return _open(entry.path) if stat.S_ISDIR(os.stat(entry.path).st_mode) else None


def _input_folder(path: str, suffixes: tuple[str, ...]) -> Iterator[Source]:
    try:
        folder = _open(path)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    yield from _images_in(folder, (), suffixes)


def _images_in(
    folder: _Folder, above: tuple[_Folder, ...], suffixes: tuple[str, ...]
) -> Iterator[Source]:
    """In the order of the names, folders and files alike. `above`: the folders on the way here."""
    way = (*above, folder)
    for entry in folder.entries:
        try:
            below = _opened(entry)
        except OSError as error:
            yield _unreadable(entry.path, error)
            continue
        if below is not None:
            if all(below.identity != other.identity for other in way):
                yield from _images_in(below, way, suffixes)
        elif entry.name.endswith(_TAR_SUFFIXES):
            yield from _shard(entry.path, suffixes)
        elif entry.name.lower().endswith(suffixes):
            yield _file(entry.path)


def _unreadable(path: str, error: OSError) -> Source:
    def read() -> bytes:
        raise error

    return Source(_id(path), read)


def _shard(path: str, suffixes: tuple[str, ...]) -> Iterator[Source]:
    try:
        _check_regular(path, os.stat(path))
        with tarfile.open(path) as shard:
            for member in shard:
                if member.isfile() and member.name.lower().endswith(suffixes):
                    read = _member_reader(path, shard, member)
                    yield Source(_id(f"{path}/{member.name}"), read)
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.strerror:
            raise SourceError(f"{path}: {error.strerror}") from error
        # Of a file that is no archive tarfile lists, line by line, what each kind of it lacks.
        what = str(error).splitlines()[:1]
        raise SourceError(f"{path} is not a tar archive, or is cut off: {''.join(what)}") from error


_UNREADABLE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
"""What tarfile raises for an archive, and for one in gzip, bzip2 or xz, that is broken."""


def _member_reader(
    path: str, shard: tarfile.TarFile, member: tarfile.TarInfo
) -> Callable[[], bytes]:
    def read() -> bytes:
        file = shard.extractfile(member)
        assert file is not None  # a regular file
        try:
            data = file.read()
        except _UNREADABLE as error:
            raise SourceError(f"{path} is cut off or broken in {member.name}: {error}") from error
        if len(data) != member.size:
            raise SourceError(
                f"{path} is cut off in {member.name}, after {len(data)} of {member.size} bytes"
            )
        return data

    return read


def _manifest(path: pathlib.Path) -> Iterator[Source]:
    """Paths in it are relative to the manifest's folder."""
    try:
        # A byte order mark, as of Excel, is no part of the first name.
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(_rows(path, lines), start=1):
                image = _text(path, number, row, "path")
                name = _text(path, number, row, "id") if row.get("id") else image
                yield _file(str(path.parent / image), name)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SourceError(f"{path}: {what}") from error


def _text(path: pathlib.Path, number: int, row: dict[str, object], column: str) -> str:
    value = row.get(column)
    if not value:
        columns = ", ".join(f'"{name}"' for name in row)
        raise SourceError(f'{path}: row {number} has no "{column}"; it has {columns}')
    if not isinstance(value, str):
        raise SourceError(f'{path}: row {number} has the "{column}" {value!r}, which is no text')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f'{path}: row {number} has the "{column}" {value!r}, which is no Unicode'
        ) from error
    if "\0" in value:
        raise SourceError(f'{path}: row {number} has the "{column}" {value!r}, with a NUL')
    return value


def _rows(path: pathlib.Path, lines: IO[str]) -> Iterator[dict[str, object]]:
    if path.suffix == ".csv":
        yield from csv.DictReader(lines)
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if path.suffix == ".jsonl":
            yield _json_row(path, number, line)
        else:
            yield {"path": line.rstrip("\r\n")}


def _json_row(path: pathlib.Path, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SourceError(f"{path}: line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise SourceError(f"{path}: line {number} is not a JSON object")
    return row
