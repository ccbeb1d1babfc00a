"""What every test here needs."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from pixembed_fixtures import Server

from pixembed import Client


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected


@pytest.fixture
def files(picture_directory: pathlib.Path) -> list[str]:
    return sorted(str(file) for file in picture_directory.iterdir())
