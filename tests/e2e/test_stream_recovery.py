"""`pixembed embed` outlives its server. (The clients' own tests have more of it.)"""

import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from pixembed_fixtures import PATIENCE, Server, StartServer, encode, picture

from pixembed import Client

COUNT = 400


@contextmanager
def embedding(folder: pathlib.Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """The program at work on a folder, window and all."""
    with subprocess.Popen(
        [os.environ["PIXEMBED_CLI"], "embed", *flags, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """COUNT pictures, of which there are ten; the seventh is none."""
    directory = tmp_path_factory.mktemp("pictures")
    pictures = [encode(picture(300, 200, i), "JPEG") for i in range(10)]
    pictures[7] = b"broken"
    for i in range(COUNT):
        (directory / f"{i:03}.jpg").write_bytes(pictures[i % 10])
    return directory


@pytest.mark.parametrize("end", [Server.kill, Server.stop])
def test_a_restart_in_mid_stream_loses_and_repeats_nothing(
    end: Callable[[Server], object],
    folder: pathlib.Path,
    vit: pathlib.Path,
    start_server: StartServer,
) -> None:
    server = start_server(f"--model={vit}")
    address = server.address
    paths = sorted(folder.iterdir())
    with Client(address) as client:
        expected = client.embed(paths[:10], errors="return").vectors
    printed = []
    with embedding(folder, f"--address={address}", "--max_in_flight_images=20") as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line.rstrip("\n").split("\t"))
            if len(printed) in (30, 200):  # on its way back to full speed it happens again
                end(server)
                server = start_server(f"--model={vit}", listen=address)
        assert process.wait(PATIENCE) == 1  # for the broken ones
        assert process.stderr is not None
        assert "360 embedded, 40 failed" in process.stderr.read()
    whole = [path for i, path in enumerate(paths) if i % 10 != 7]
    assert [pathlib.Path(line[0]) for line in printed] == whole
    for path, _, *head in printed:
        vector = expected[int(pathlib.Path(path).stem) % 10]
        np.testing.assert_allclose([float(word) for word in head], vector[:4], rtol=0, atol=1e-4)


def test_another_address_goes_on_with_it(
    folder: pathlib.Path, vit: pathlib.Path, start_server: StartServer
) -> None:
    servers = [start_server(f"--model={vit}"), start_server(f"--model={vit}")]
    addresses = ",".join(server.address for server in servers)
    lines = 0
    with embedding(folder, f"--address={addresses}", "--max_in_flight_images=20") as process:
        assert process.stdout is not None
        for _ in process.stdout:
            lines += 1
            if lines == 30:  # after GetModel at the first address the stream is at the second
                servers[1].kill()
    assert lines == 360


def test_another_model_at_the_address_does_not_go_on_with_it(
    folder: pathlib.Path,
    vit: pathlib.Path,
    dinov2: pathlib.Path,
    start_server: StartServer,
) -> None:
    server = start_server(f"--model={vit}")
    address = server.address
    lines = 0
    with embedding(folder, f"--address={address}", "--max_in_flight_images=20") as process:
        assert process.stdout is not None
        for line in process.stdout:
            assert line.split("\t")[1] == "32"
            lines += 1
            if lines == 30:
                server.kill()
                start_server(f"--model={dinov2}", listen=address)
        assert process.wait(PATIENCE) == 1
        assert process.stderr is not None
        assert "FINGERPRINT_MISMATCH" in process.stderr.read()
