"""Small pictures of the images that ids name, inside the page."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import pathlib
import tarfile
import warnings
from collections.abc import Iterable, Sequence
from typing import IO

from PIL import Image, ImageOps

_SHARD = (".tar", ".tar.gz", ".tgz")
_QUALITY = 75


def rows_to_show(listed: Iterable[int], rows: int, limit: int) -> list[int]:
    """The rows that get a thumbnail, at most `limit`: those that are listed, in their order, then
    others, spread evenly over all."""
    chosen = dict.fromkeys(listed)
    left = limit - len(chosen)
    if left > 0:
        others = [row for row in range(rows) if row not in chosen]
        step = max(1, -(-len(others) // left))
        chosen |= dict.fromkeys(others[::step])
    return list(chosen)[:limit]


def thumbnails(
    ids: Sequence[str], rows: Iterable[int], root: pathlib.Path | None, size: int
) -> dict[int, str]:
    """A data: URI for each of `rows` whose image is found: a JPEG of at most `size` pixels a side.

    An id is a path as pixembed-bulk writes it, of an image in a tar shard SHARD/MEMBER. `root`: ids
    are relative to it, and nothing outside of it is read. Images that are missing, or that Pillow
    cannot read, have no thumbnail.
    """
    by_path: dict[pathlib.Path, list[int]] = {}
    by_shard: dict[pathlib.Path, dict[str, list[int]]] = {}
    for row in rows:
        path = _path(ids[row], root)
        if path is None:
            continue
        shard = _shard_of(path)
        if shard is None:
            by_path.setdefault(path, []).append(row)
        else:
            member = path.relative_to(shard).as_posix()
            by_shard.setdefault(shard, {}).setdefault(member, []).append(row)
    found: dict[int, str] = {}
    for path, same in by_path.items():
        if os.path.isfile(path):  # a pipe would never end
            with contextlib.suppress(OSError), path.open("rb") as file:
                found |= dict.fromkeys(same, _thumbnail(file, size))
    for shard, members in by_shard.items():
        found |= _of_shard(shard, members, size)
    return {row: uri for row, uri in sorted(found.items()) if uri}


def _path(name: str, root: pathlib.Path | None) -> pathlib.Path | None:
    """None: it is outside of the root, or no path at all."""
    try:
        if root is None:
            return pathlib.Path(name)
        path = (root / name).resolve()
        return path if path.is_relative_to(root.resolve()) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _shard_of(path: pathlib.Path) -> pathlib.Path | None:
    parents = (parent for parent in path.parents if parent.name.endswith(_SHARD))
    return next((parent for parent in parents if os.path.isfile(parent)), None)


def _of_shard(shard: pathlib.Path, members: dict[str, list[int]], size: int) -> dict[int, str]:
    """Reads the shard once, from its beginning to its end."""
    found: dict[int, str] = {}
    # What was found before a shard breaks off is kept.
    with contextlib.suppress(tarfile.TarError, OSError, EOFError), tarfile.open(shard) as archive:
        for member in archive:
            if member.isfile() and member.name in members:
                file = archive.extractfile(member)
                assert file is not None  # a regular file
                found |= dict.fromkeys(members[member.name], _thumbnail(file, size))
    return found


def _thumbnail(file: IO[bytes], size: int) -> str:
    """Empty if it cannot be made."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                image.draft("RGB", (2 * size, 2 * size))  # a JPEG need not be decoded whole
                small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((size, size))
        data = io.BytesIO()
        small.save(data, "JPEG", quality=_QUALITY)
    except Exception:  # Pillow's decoders raise what they like; here every image may be missing
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
