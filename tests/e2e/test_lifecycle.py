"""Start-up that cannot work says why in one line; shut-down loses nothing."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
from pixembed_fixtures import PATIENCE, Server, StartServer, encode, picture

from pixembed import Client, Result, ServiceError

Break = Callable[[pathlib.Path], object]


def rewrite_config(**values: object) -> Break:
    def change(directory: pathlib.Path) -> None:
        file = directory / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def rewrite_weights(change: Callable[[bytes], bytes]) -> Break:
    def write(directory: pathlib.Path) -> None:
        file = directory / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return write


BROKEN_DIRECTORIES: dict[str, tuple[Break, str]] = {
    "no directory": (shutil.rmtree, "tiny-vit"),
    "no config": (lambda d: (d / "config.json").unlink(), "config.json"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "model.safetensors"),
    "no processor": (lambda d: (d / "preprocessor_config.json").unlink(), "preprocessor_config"),
    "empty weights": (rewrite_weights(lambda b: b""), "model.safetensors"),
    "half the weights": (rewrite_weights(lambda b: b[: len(b) // 2]), "model.safetensors"),
    "header longer than the file": (
        rewrite_weights(lambda b: struct.pack("<Q", 1 << 40) + b[8:]),
        "model.safetensors",
    ),
    "NaN in the config": (rewrite_config(layer_norm_eps=float("nan")), "config.json"),
    "config that is no JSON": (lambda d: (d / "config.json").write_text("{"), "config.json"),
    "unknown family": (rewrite_config(model_type="resnet"), "resnet"),
    "another width": (rewrite_config(hidden_size=48), "48"),
}


@pytest.mark.parametrize("name", BROKEN_DIRECTORIES)
def test_a_directory_that_cannot_be_served_is_one_line_and_exit_code_1(
    name: str, vit: pathlib.Path, tmp_path: pathlib.Path, start_server: StartServer
) -> None:
    break_it, text = BROKEN_DIRECTORIES[name]
    directory = tmp_path / "tiny-vit"
    shutil.copytree(vit, directory)
    break_it(directory)
    server = start_server(f"--model={directory}")
    assert server.wait() == 1
    words = last_words(server)
    assert text in words
    assert words.count(str(directory)) == 1


def last_words(server: Server) -> str:
    """The one line that is not a log record: why the server does not run."""
    lines = [line for line in server.log if not re.match(r"\d{4}-\d\d-\d\dT", line)]
    assert len(lines) == 1, server.log
    assert lines[0].startswith("pixembed-server: ")
    assert lines[0] == server.log[-1]
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--model=/nowhere", "--nonsense=1"], "nonsense"),
        (["--model=/nowhere", "--max_batch_size=-1"], "max_batch_size"),
        (["--model=/nowhere", "--max_image_bytes=many"], "max_image_bytes"),
        (["--model=/nowhere", "--device=abacus"], '--device names "abacus"; possible are auto'),
        (["--model=/nowhere", "--http_listen=8080"], "cannot listen on 8080: it is not host:port"),
        ([], "--model"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(
    flags: list[str], text: str, start_server: StartServer
) -> None:
    server = start_server(*flags)
    assert server.wait() == 2
    assert text in last_words(server)


def test_a_port_in_use_is_one_line_that_names_it(
    vit: pathlib.Path, start_server: StartServer
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = start_server(f"--model={vit}", listen=address)
        assert server.wait() == 1
    assert address in last_words(server)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_an_idle_server_ends_with_0(
    name: str, vit: pathlib.Path, start_server: StartServer
) -> None:
    server = start_server(f"--model={vit}")
    assert server.address
    os.kill(server.process.pid, signal.Signals[name])
    assert server.wait() == 0


def test_a_lost_reader_of_the_log_takes_no_image_with_it(
    vit: pathlib.Path, tmp_path: pathlib.Path, pictures: dict[str, bytes]
) -> None:
    """As `pixembed-server ... 2>&1 | tee log`, of which a terminal's Ctrl-C ends tee first."""
    tee = subprocess.Popen(
        ["tee", str(tmp_path / "log")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert tee.stdin is not None
    assert tee.stdout is not None
    with tee:
        command = [os.environ["PIXEMBED_SERVER"], f"--model={vit}", "--listen=127.0.0.1:0"]
        server = subprocess.Popen(command, stderr=tee.stdin)
        try:
            tee.stdin.close()
            line = next(line for line in tee.stdout if " serving on " in line)
            tee.kill()
            tee.wait()
            with Client(line.split()[-1]) as client:
                assert len(client.embed(pictures.values())) == len(pictures)
            server.send_signal(signal.SIGINT)
            assert server.wait(PATIENCE) == 0
        finally:
            server.kill()
            server.wait()


def test_memory_that_is_not_used_goes_back(vit: pathlib.Path, start_server: StartServer) -> None:
    """It is jemalloc's, and its own threads give it back: server/malloc.cc has been read."""
    server = start_server(f"--model={vit}")
    assert server.address
    process = pathlib.Path(f"/proc/{server.process.pid}")
    assert "libjemalloc.so" in (process / "maps").read_text()
    assert "jemalloc_bg_thd" in [task.read_text().strip() for task in process.glob("task/*/comm")]


def test_a_unix_socket_is_served(
    vit: pathlib.Path, tmp_path: pathlib.Path, start_server: StartServer
) -> None:
    server = start_server(f"--model={vit}", listen=f"unix:{tmp_path}/socket")
    with Client(server.address) as client:
        assert client.health()
    assert server.stop() == 0


class Caller(threading.Thread):
    """Sends batches until the server refuses; counts the vectors that came back."""

    def __init__(self, address: str, images: list[bytes], begun: threading.Barrier) -> None:
        super().__init__()
        self.vectors = 0
        self.refusal: ServiceError | None = None
        self._address = address
        self._images = images
        self._begun = begun

    def run(self) -> None:
        with Client(self._address, max_attempts=1) as client:
            first = True
            while True:
                try:
                    self.vectors += len(client.embed(self._images))
                except ServiceError as error:
                    self.refusal = error
                    return
                if first:
                    self._begun.wait()
                    first = False


def test_sigterm_under_load_loses_nothing(vit: pathlib.Path, start_server: StartServer) -> None:
    server = start_server(f"--model={vit}")
    images = [encode(picture(300, 200, i), "JPEG") for i in range(8)]
    begun = threading.Barrier(5)
    callers = [Caller(server.address, images, begun) for _ in range(4)]
    for caller in callers:
        caller.start()
    begun.wait()
    server.terminate()
    for caller in callers:
        caller.join()
    assert server.wait() == 0
    for caller in callers:
        assert caller.refusal is not None
        # CANCELLED: a call that reaches gRPC 1.51 between its shutdown and its GOAWAY is ended by
        # gRPC itself, before our handler could answer UNAVAILABLE.
        assert caller.refusal.code in {"UNAVAILABLE", "CANCELLED"}, caller.refusal
    # Every image that the server embedded reached the caller who sent it.
    embedded = next(m for line in server.log if (m := re.search(r"(\d+) images answered", line)))
    assert int(embedded[1]) == sum(caller.vectors for caller in callers)
    assert any("nothing was lost" in line for line in server.log)


def test_sigterm_during_a_stream_answers_what_was_accepted(
    vit: pathlib.Path, start_server: StartServer
) -> None:
    server = start_server(f"--model={vit}")
    image = encode(picture(300, 200, 1), "JPEG")

    def forever() -> Iterator[bytes]:
        while True:
            yield image

    vectors = 0

    def count(results: Iterator[Result]) -> None:
        nonlocal vectors
        for result in results:
            vectors += result.vector is not None
            if result.index == 9:
                server.terminate()

    with Client(server.address, max_attempts=1) as client, pytest.raises(ServiceError) as raised:
        count(client.embed_stream(forever(), ordered=True))
    assert raised.value.code == "UNAVAILABLE"
    assert server.wait() == 0
    embedded = next(m for line in server.log if (m := re.search(r"(\d+) images answered", line)))
    assert int(embedded[1]) == vectors
