"""Pixels in memory as images, and how far a batch is."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pixembed_fixtures import Server, encode, picture

from pixembed import AsyncClient, Client


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (33, 20), (151, 97)])
def test_an_array_gives_the_vector_of_its_png(
    mode: str, size: tuple[int, int], server: Server
) -> None:
    image = picture(*size, 1).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(size))
    array = np.asarray(image)
    # Neither the order in memory nor the right to write matters.
    strided = np.asfortranarray(np.repeat(array, 2, axis=0))[::2]
    strided.flags.writeable = False
    with Client(server.address) as client:
        explained = [
            client.explain(i).decoded_sha256 for i in (encode(image, "PNG"), array, strided)
        ]
        assert len(set(explained)) == 1
        options: dict[str, Any] = {"background": (200, 10, 60)}
        vectors = client.embed([encode(image, "PNG"), array, strided], **options)
    np.testing.assert_allclose(vectors, np.broadcast_to(vectors[0], (3, 32)), rtol=0, atol=1e-6)


def test_an_array_of_objects_is_several_images(server: Server) -> None:
    """Ray and pandas hand batches over like that."""
    one, other = encode(picture(20, 30, 1), "PNG"), encode(picture(30, 20, 2), "PNG")
    batch = np.array([one, other], dtype=object)
    with Client(server.address) as client:
        vectors = client.embed(batch)
        np.testing.assert_allclose(vectors, client.embed([one, other]), rtol=0, atol=1e-6)
        with pytest.raises(TypeError, match="put it into a list"):
            client.embed(batch.reshape(1, 2))


@pytest.mark.parametrize(
    ("array", "error", "text"),
    [
        (np.zeros((4, 5, 3), np.float32), TypeError, r"uint8, not .*float32 \[4, 5, 3\]"),
        (np.zeros((4, 5), np.uint16), TypeError, r"uint8, not .*uint16 \[4, 5\]"),
        (np.zeros((3, 4, 5), np.uint8), ValueError, r"not an array of uint8 \[3, 4, 5\]"),
        (np.zeros((4, 5, 1), np.uint8), ValueError, r"uint8 \[4, 5, 1\]"),
        (np.zeros((2, 4, 5, 3), np.uint8), ValueError, r"uint8 \[2, 4, 5, 3\]"),
        (np.zeros(5, np.uint8), ValueError, r"uint8 \[5\]"),
        (np.zeros((), np.uint8), ValueError, r"uint8 \[\]"),
        (np.zeros((0, 5, 3), np.uint8), ValueError, r"uint8 \[0, 5, 3\] holds no pixels"),
    ],
)
def test_an_array_that_is_no_image_says_what_it_is(
    array: Any, error: type[Exception], text: str, server: Server
) -> None:
    with Client(server.address) as client:
        with pytest.raises(error, match=text):
            client.embed([array])
        with pytest.raises(error, match=text):
            list(client.embed_stream([array]))


def test_progress_is_told_to_a_function(server: Server) -> None:
    image = encode(picture(30, 20, 1), "PNG")
    told: list[tuple[int, int | None]] = []

    def tell(done: int, total: int | None) -> None:
        told.append((done, total))

    with Client(server.address) as client:
        list(client.embed_stream([image] * 3, progress=tell))
        assert told == [(1, 3), (2, 3), (3, 3)]
        told.clear()
        list(client.embed_stream((image for _ in range(2)), progress=tell))
        assert told == [(1, None), (2, None)]
        told.clear()
        client.embed([image] * 4, progress=tell)
        assert told == [(4, 4)]

    async def stream() -> None:
        async with AsyncClient(server.address) as client:
            async for _ in client.embed_stream([image] * 2, progress=tell):
                pass

    told.clear()
    asyncio.run(stream())
    assert told == [(1, 2), (2, 2)]


def test_progress_is_true_or_a_function(server: Server) -> None:
    with Client(server.address) as client, pytest.raises(TypeError, match="progress is 'yes'"):
        client.embed([b"x"], progress="yes")  # type: ignore[call-overload]


def test_progress_is_shown_as_a_bar(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    image = encode(picture(30, 20, 1), "PNG")
    with Client(server.address) as client:
        list(client.embed_stream([image] * 3, progress=True))
    assert "3/3" in capsys.readouterr().err


def test_a_bar_without_tqdm_says_what_to_install(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with (
        Client(server.address) as client,
        pytest.raises(ImportError, match=r"pixembed\[progress\]"),
    ):
        client.embed([b"x"], progress=True)
