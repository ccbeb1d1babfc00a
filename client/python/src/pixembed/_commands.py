"""The entry points of the commands, which say in a line what is not installed."""

from __future__ import annotations

import sys


def bulk() -> int:
    """pixembed-bulk."""
    try:
        from pixembed.bulk.__main__ import main  # noqa: PLC0415  optional
    except ImportError as error:
        return _missing("pixembed-bulk", error)
    return main()


def show_map() -> int:
    """pixembed-map."""
    try:
        from pixembed.map.__main__ import main  # noqa: PLC0415  optional
    except ImportError as error:
        return _missing("pixembed-map", error)
    return main()


def _missing(program: str, error: ImportError) -> int:
    extra = program.removeprefix("pixembed-")
    why = error.__cause__ or error
    print(f"{program}: {why}; pip install 'pixembed[{extra}]' brings it", file=sys.stderr)
    return 1
