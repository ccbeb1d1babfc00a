"""How far a batch or a stream is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pixembed._options import ProgressLike


@contextmanager
def progress_of(images: object, progress: ProgressLike) -> Iterator[Callable[[int], None]]:
    """Gives what is to be called with the number of images that are done now."""
    try:
        total: int | None = len(images)  # type: ignore[arg-type]
    except TypeError:
        total = None
    if progress is False:
        yield lambda count: None
    elif callable(progress):
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        yield advance
    elif progress is not True:
        raise TypeError(f"progress is {progress!r}; it is True, False or a function")
    else:
        with _bar(total) as bar:
            yield bar.update


def _bar(total: int | None) -> Any:
    try:
        from tqdm.auto import tqdm  # noqa: PLC0415  optional
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'pixembed[progress]'") from error
    return tqdm(total=total, unit="image")
