"""Every flag of the programs has its line in the README, and the README has no other.

As a program, `test_documentation.py bulk` (or `map`) prints the table of one of them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pathlib
import re
import subprocess
import sys
from unittest import mock

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"
# What pixembed-map computes with is not installed where these tests run; its flags do not need it.
NEEDED_BY_MAP = (
    "sklearn",
    "sklearn.cluster",
    "sklearn.decomposition",
    "sklearn.exceptions",
    "sklearn.neighbors",
    "umap",
)


def table_of(program: str) -> str:
    missing = [name for name in NEEDED_BY_MAP if not importlib.util.find_spec(name.split(".")[0])]
    sys.modules.update({name: mock.MagicMock() for name in missing})
    parser = importlib.import_module(f"pixembed.{program}.__main__")._parser()
    assert isinstance(parser, argparse.ArgumentParser)
    rows = ["| flag | default | meaning |", "| --- | --- | --- |"]
    for action in parser._actions:
        flag = next((text for text in action.option_strings if text.startswith("--")), None)
        if flag in (None, "--help"):
            continue
        assert action.help, f"{flag} of pixembed-{program} has no help"
        meaning, default, *_ = [*re.split(r"[;.]? ?[dD]efault: ", action.help), ""]
        if default:
            default = f"`{action.default}`" if default == "%(default)s" else default
        elif action.required:
            default = "(required)"
        elif action.nargs == 0:
            default = "`False`"
        rows.append(f"| `{flag}` | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("program", ["bulk", "map"])
def test_the_readmes_table_of_flags_is_the_programs(program: str) -> None:
    # In a process of its own, for the stand-ins of what is not installed.
    printed = subprocess.run(
        [sys.executable, __file__, program], capture_output=True, text=True, check=False
    )
    assert printed.returncode == 0, printed.stderr
    text = README.read_text(encoding="utf-8")
    begin = f"<!-- flags of pixembed-{program}: begin -->\n"
    assert f"{begin}{printed.stdout}<!-- flags: end -->" in text, (
        f"put this behind {begin}{printed.stdout}"
    )


if __name__ == "__main__":
    print(table_of(sys.argv[1]), end="")
