"""The health check of the Dockerfile, as it stands there, against the server that it starts."""

import json
import os
import pathlib
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from pixembed_fixtures import PATIENCE, Pki, Server

DOCKERFILE = pathlib.Path(__file__).parents[2] / "Dockerfile"
FOLDER = "/run/pixembed"
PORT = "50051"


class Image(NamedTuple):
    """What the Dockerfile's last stage says."""

    variables: dict[str, str]
    check: list[str]


def read_dockerfile() -> Image:
    stage = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)[-1]
    lines = stage.replace("\\\n", "").splitlines()
    words = [word for line in lines if line.startswith("ENV ") for word in shlex.split(line[4:])]
    variables = dict(word.split("=", 1) for word in words)
    check = next(line for line in lines if line.startswith("HEALTHCHECK ")).split(" CMD ", 1)[1]
    assert f"VOLUME {FOLDER}" in lines
    return Image({k: v for k, v in variables.items() if k != "PATH"}, json.loads(check))


StartImage = Callable[..., Server]


@pytest.fixture
def start_image(vit: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[StartImage]:
    """A server with the image's variables and those given, its folder and port being ours."""
    servers: list[Server] = []

    def start(*flags: str, **variables: str) -> Server:
        image = read_dockerfile().variables | variables | {"PIXEMBED_MODEL": str(vit)}
        here = {
            name: value.replace(FOLDER, str(tmp_path)).replace(f"0.0.0.0:{PORT}", "127.0.0.1:0")
            for name, value in image.items()
        }
        servers.append(Server(*flags, variables=here))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def check(server: Server, folder: pathlib.Path) -> int:
    """The exit code of the health check; 0 is healthy."""
    port = server.address.split(",")[0].rsplit(":", 1)[1]
    command = [
        word.replace(FOLDER, str(folder)).replace(PORT, port) for word in read_dockerfile().check
    ]
    assert command.pop(0) == "pixembed"
    return subprocess.run(
        [os.environ["PIXEMBED_CLI"], *command], timeout=PATIENCE, check=False
    ).returncode


def test_a_server_in_plain_text_is_healthy_until_it_is_gone(
    start_image: StartImage, tmp_path: pathlib.Path
) -> None:
    server = start_image()
    assert check(server, tmp_path) == 0
    server.stop()
    assert check(server, tmp_path) == 1


def test_so_is_one_that_wants_certificates_and_tokens(
    start_image: StartImage, tmp_path: pathlib.Path, pki: Pki
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    server = start_image(
        PIXEMBED_TLS_CERTIFICATE_FILE=str(pki.server_cert),
        PIXEMBED_TLS_PRIVATE_KEY_FILE=str(pki.server_key),
        PIXEMBED_TLS_CLIENT_CA_FILE=str(pki.ca),
        PIXEMBED_AUTH_TOKEN_FILE=str(tokens),
    )
    assert check(server, tmp_path) == 0
    server.kill()
    assert check(server, tmp_path) == 1


def test_without_the_socket_the_port_is_asked(
    start_image: StartImage, tmp_path: pathlib.Path
) -> None:
    server = start_image("--listen=127.0.0.1:0")
    assert check(server, tmp_path) == 0
