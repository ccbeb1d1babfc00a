"""A folder that appears whole or not at all."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def replace_directory(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives an empty folder to fill; puts it in the place of `target` when the block ends well.

    What was at `target` stays until then, and stays if the block fails. Both are on one file system,
    so the exchange is two renames.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    workspace = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        new, old = workspace / "new", workspace / "old"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        shutil.rmtree(workspace)
