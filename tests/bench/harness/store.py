"""What was measured, one file for each leg and round, so that an interrupted run goes on where it was."""

import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

Raw = dict[str, Any]


class Store:
    """Raw results under one folder. A file appears when it is complete, and is not measured again."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, leg: str, number: int) -> pathlib.Path:
        return self.folder / f"{leg}.{number:02}.json"

    def once(self, leg: str, number: int, measure: Callable[[], Raw]) -> tuple[Raw, bool]:
        """The result of a leg's round, and whether it had to be measured now."""
        path = self.path(leg, number)
        if path.exists():
            return json.loads(path.read_text()), False
        raw = measure()
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(raw, indent=1))
        os.replace(part, path)
        return raw, True

    def rounds(self, leg: str) -> list[Raw]:
        """What there is of a leg, in the order of the rounds."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob(f"{leg}.*.json"))]
