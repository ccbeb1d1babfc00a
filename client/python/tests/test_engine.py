"""The engine in this process, by the real library: the same vectors and reasons as the server's.

This process has torch loaded, of the version that the engine was built with.
"""

from __future__ import annotations

import logging
import pathlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pixembed_fixtures import PATIENCE, Server, broken_images, encode, picture

from pixembed import Client, EmbedError, Engine, ServiceError


@pytest.fixture(scope="module")
def engine(vit: pathlib.Path, dinov2: pathlib.Path) -> Iterator[Engine]:
    with Engine({"vit": vit, "dinov2": dinov2}) as opened:
        yield opened


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected


@pytest.mark.parametrize("model", ["vit", "dinov2"])
def test_vectors_and_fingerprints_are_the_servers(
    engine: Engine, client: Client, pictures: dict[str, bytes], model: str
) -> None:
    images = list(pictures.values())
    mine = engine.embed(images, errors="return", model=model, normalize=True)
    theirs = client.embed(images, errors="return", model=model, normalize=True)
    np.testing.assert_allclose(mine.vectors, theirs.vectors, rtol=0, atol=1e-5)
    assert mine.fingerprint == theirs.fingerprint
    assert {m.name: dict(m.fingerprints) for m in engine.models()} == {
        m.name: dict(m.fingerprints) for m in client.models()
    }


def test_deterministic_vectors_are_the_servers_bit_for_bit(
    vit: pathlib.Path, pictures: dict[str, bytes]
) -> None:
    images = list(pictures.values())
    server = Server("--listen=127.0.0.1:0", f"--model={vit}", "--deterministic")
    try:
        with Client(server.address) as client, Engine(vit, deterministic=True) as engine:
            np.testing.assert_array_equal(engine.embed(images), client.embed(images))
    finally:
        server.kill()


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "cls", "dimensions": 8},
        {"layers": [-2, -1], "data_type": "int8"},
        {"data_type": "binary", "exif_orientation": "apply", "background": (255, 0, 0)},
    ],
)
def test_options_mean_what_they_mean_to_the_server(
    engine: Engine, client: Client, pictures: dict[str, bytes], options: dict[str, object]
) -> None:
    images = list(pictures.values())
    mine = engine.embed(images, errors="return", **options)  # type: ignore[call-overload]
    theirs = client.embed(images, errors="return", **options)  # type: ignore[call-overload]
    np.testing.assert_allclose(mine.vectors, theirs.vectors, rtol=0, atol=0.05)
    assert mine.fingerprint == theirs.fingerprint


def test_a_broken_image_fails_alone_with_the_servers_reason(engine: Engine) -> None:
    broken = broken_images()
    good = encode(picture(50, 40, 3), "PNG")
    with pytest.raises(EmbedError) as caught:
        engine.embed([good, *(data for data, _ in broken.values())])
    reasons = [error.reason for error in caught.value.errors.values()]
    assert reasons == [reason for _, reason in broken.values()]
    assert sorted(caught.value.errors) == list(range(1, len(broken) + 1))


def test_one_image_in_the_place_of_many_is_a_type_error(engine: Engine) -> None:
    image: Any = "cat.jpg"
    with pytest.raises(TypeError, match="put it into a list"):
        engine.embed(image)
    with pytest.raises(TypeError, match="put it into a list"):
        engine.embed_stream(image)


def test_a_stream_is_longer_than_its_window_and_in_order_if_asked(engine: Engine) -> None:
    images = [encode(picture(30, 20, seed % 5), "PNG") for seed in range(300)]
    images[7] = b"broken"
    results = list(engine.embed_stream(iter(images), ordered=True))
    assert [result.index for result in results] == list(range(300))
    assert [result.index for result in results if result.error is not None] == [7]
    assert sorted(result.index for result in engine.embed_stream(images)) == list(range(300))


def test_a_file_that_cannot_be_read_is_an_error_of_its_image(
    engine: Engine, tmp_path: pathlib.Path
) -> None:
    results = list(engine.embed_stream([tmp_path / "none.jpg", encode(picture(9, 9, 1), "PNG")]))
    errors = {result.index: result.error for result in results}
    assert errors[0] is not None
    assert errors[0].reason == "UNREADABLE_FILE"
    assert errors[1] is None


def test_what_the_iterable_raises_comes_after_the_results(engine: Engine) -> None:
    def images() -> Iterator[bytes]:
        yield encode(picture(9, 9, 1), "PNG")
        raise RuntimeError("no more")

    results = engine.embed_stream(images())
    assert next(results).vector is not None
    with pytest.raises(RuntimeError, match="no more"):
        next(results)


def test_leaving_a_stream_early_harms_nobody(engine: Engine) -> None:
    image = encode(picture(30, 20, 1), "PNG")

    def endless() -> Iterator[bytes]:
        while True:
            yield image

    for result in engine.embed_stream(endless()):
        assert result.vector is not None
        break
    assert engine.embed([image]).shape == (1, 32)


def test_threads_share_an_engine(engine: Engine) -> None:
    images = [encode(picture(30 + i, 20, i), "PNG") for i in range(20)]
    expected = engine.embed(images)
    found: dict[int, NDArray[np.float32]] = {}

    def embed(thread: int) -> None:
        found[thread] = engine.embed(images)

    threads = [threading.Thread(target=embed, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-5)


def test_an_image_is_explained(engine: Engine, client: Client, pictures: dict[str, bytes]) -> None:
    mine, theirs = (who.explain(pictures["cmyk.jpg"]) for who in (engine, client))
    mine.ClearField("timings")
    theirs.ClearField("timings")
    assert mine == theirs
    with pytest.raises(ServiceError, match="UNSUPPORTED_FORMAT"):
        engine.explain(b"no")


def test_what_cannot_be_served_is_said_when_it_is_opened(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ServiceError, match="CHECKPOINT_MISSING"):
        Engine(tmp_path)
    with pytest.raises(ServiceError, match="INVALID_OPTION: --device"):
        Engine(tmp_path, device="abacus")
    with pytest.raises(OSError, match="cannot be loaded"):
        Engine(tmp_path, library=tmp_path / "none.so")


def test_an_argument_that_cannot_be_meant_is_refused_before_anything_is_loaded() -> None:
    # Nor is the library looked for.
    with pytest.raises(TypeError, match='Engine has no option "listen"; there are device, backend'):
        Engine("/none", library="/none", listen="x")  # type: ignore[call-arg]
    refused: list[tuple[Any, str]] = [
        ("", "the model directory is empty"),
        ({}, "model is empty"),
        ({"vit": ""}, "the model directory is empty"),
        ({"": "/none"}, "a model is named ''; it has letters"),
        ({"a/b": "/none"}, "a model is named 'a/b'; it has letters"),
        ("a,b", "has a comma or NUL"),
    ]
    for model, text in refused:
        with pytest.raises(ValueError, match=text):
            Engine(model, library="/none")


def test_refusals_are_the_servers(engine: Engine, vit: pathlib.Path) -> None:
    image = encode(picture(9, 9, 1), "PNG")
    with pytest.raises(ServiceError, match="UNKNOWN_MODEL"):
        engine.embed([image], model="none")
    with pytest.raises(ServiceError, match="FINGERPRINT_MISMATCH"):
        engine.embed([image], expected_fingerprint="0" * 64)
    closed = Engine(vit)
    closed.close()
    closed.close()
    with pytest.raises(ServiceError, match="closed"):
        closed.embed([image])


def test_images_have_as_long_as_the_engine_says(vit: pathlib.Path) -> None:
    images = [encode(picture(9, 9, 1), "PNG")]
    with Engine(vit, timeout=1e-4) as engine:
        embeddings = engine.embed(images, errors="return")
        assert engine.embed(images, timeout=None).shape == (1, 32)
        assert next(engine.embed_stream(images, timeout=1e-4)).vector is not None
    assert embeddings.errors[0].reason == "DEADLINE_EXCEEDED"


def test_images_have_as_long_as_the_call_says(engine: Engine) -> None:
    images = [encode(picture(9, 9, 1), "PNG")]
    embeddings = engine.embed(images, errors="return", timeout=1e-4)
    assert embeddings.errors[0].reason == "DEADLINE_EXCEEDED"
    with pytest.raises(ValueError, match="timeout is 0"):
        engine.embed(images, timeout=0)


def test_a_pickled_engine_loads_its_model_again(
    vit: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = encode(picture(9, 9, 1), "PNG")
    with Engine(vit) as engine:
        pickled = pickle.dumps(engine)
        expected = engine.embed([image])
    with caplog.at_level(logging.INFO, "pixembed"), pickle.loads(pickled) as again:
        np.testing.assert_array_equal(again.embed([image]), expected)
    assert "fingerprint of mean pooling" in caplog.text


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A process of its own, which has not loaded torch."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_it_works_without_torch_and_beside_arrow(vit: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(picture(9, 9, 1), "PNG"))
    program = """
import sys, pyarrow, grpc, pixembed
engine = pixembed.Engine(sys.argv[1])
print(engine.embed([sys.argv[2]]).shape, "torch" in sys.modules)
"""  # the engine is left to the end of the program
    ran = run(program, vit, tmp_path / "a.png")
    assert (ran.stdout, ran.returncode) == ("(1, 32) False\n", 0), ran.stderr


def test_a_fork_is_refused_with_a_reason(vit: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(picture(9, 9, 1), "PNG"))
    program = """
import os, sys, pixembed
engine = pixembed.Engine(sys.argv[1])
if os.fork() == 0:
    for attempt in (lambda: engine.embed([sys.argv[2]]), lambda: pixembed.Engine(sys.argv[1])):
        try:
            attempt()
        except pixembed.ServiceError as error:
            print(error.reason, flush=True)
    os._exit(0)
os.wait()
print(engine.embed([sys.argv[2]]).shape)
"""
    ran = run(program, vit, tmp_path / "a.png")
    assert ran.stdout == "UNUSABLE_PROCESS\nUNUSABLE_PROCESS\n(1, 32)\n", ran.stderr


def test_another_libtorch_that_is_loaded_before_is_refused(
    vit: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    # As `import torch` of another version leaves it: loaded under this name, with other symbols.
    other = tmp_path / "libtorch_cpu.so"
    subprocess.run(
        [
            "gcc",
            "-shared",
            "-nostdlib",
            "-Wl,-soname,libtorch_cpu.so",
            "-o",
            other,
            "-xc",
            "/dev/null",
        ],
        check=True,
    )
    program = """
import ctypes, sys, types, pixembed
ctypes.CDLL(sys.argv[2])
sys.modules["torch"] = types.SimpleNamespace(__version__="1.13.0")
try:
    pixembed.Engine(sys.argv[1])
except OSError as error:
    print(error)
"""
    ran = run(program, vit, other)
    assert ran.returncode == 0, ran.stderr
    assert "cannot be loaded: " in ran.stdout
    assert "torch 1.13.0 loaded" in ran.stdout
