"""AsyncClient against the real server: what Client does, for tasks."""

from __future__ import annotations

import asyncio
import pathlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

import numpy as np
import pytest
from fake_services import Refusing, serving
from PIL import Image
from pixembed_fixtures import Server, StartServer, encode, picture

from pixembed import AsyncClient, Client, EmbedError, ServiceError

_T = TypeVar("_T")
Run = Callable[[Callable[[AsyncClient], Coroutine[Any, Any, _T]]], _T]


@pytest.fixture
def run(server: Server) -> Run[Any]:
    """Runs a coroutine function with a client."""

    def run_with_client(use: Callable[[AsyncClient], Coroutine[Any, Any, _T]]) -> _T:
        async def main() -> _T:
            async with AsyncClient(server.address) as client:
                return await use(client)

        return asyncio.run(main())

    return run_with_client


def test_a_closed_client_says_so_and_cancels_nobody(server: Server) -> None:
    async def main() -> None:
        (image,) = images_of(1)
        client = AsyncClient(server.address)
        stream = client.embed_stream(image for _ in range(10_000))
        await stream.__anext__()
        await client.close()
        calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            stream.__anext__,
            lambda: client.embed([image]),
            client.embed_stream([image]).__anext__,
            client.models,
            client.health,
            lambda: client.wait_until_serving(1),
        ]
        for call in calls:
            with pytest.raises(ServiceError, match="CANCELLED: the client is closed"):
                await call()

    asyncio.run(main())


def test_what_was_cancelled_from_outside_stays_so(server: Server) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(client.embed(images_of(1) * 5_000))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_another_event_loop_is_told(server: Server) -> None:
    client = AsyncClient(server.address)
    assert len(asyncio.run(client.models())) > 0
    with pytest.raises(RuntimeError, match="the event loop of its first call"):
        asyncio.run(client.models())


def images_of(count: int) -> list[Any]:
    return [encode(picture(30 + i, 20, i), "PNG") for i in range(count)]


def test_embed_gives_what_the_other_client_gives(
    run: Run[Any], server: Server, picture_directory: pathlib.Path
) -> None:
    path = picture_directory / "rgb.png"
    images: list[Any] = [path, path.read_bytes(), Image.open(path), np.asarray(Image.open(path))]
    with Client(server.address) as client:
        expected = client.embed(images, normalize=True, errors="return")
    embeddings = run(lambda client: client.embed(images, normalize=True, errors="return"))
    np.testing.assert_allclose(embeddings.vectors, expected.vectors, rtol=0, atol=1e-6)
    assert embeddings.fingerprint == expected.fingerprint


def test_no_images_and_broken_images(run: Run[Any]) -> None:
    assert run(lambda client: client.embed([])).shape == (0, 32)
    with pytest.raises(EmbedError) as raised:
        run(lambda client: client.embed([b"", *images_of(1)]))
    assert list(raised.value.errors) == [0]
    with pytest.raises(FileNotFoundError):
        run(lambda client: client.embed(["/none/a.png"]))


def test_a_batch_too_large_for_a_request_gives_the_same(
    run: Run[Any], vit: pathlib.Path, start_server: StartServer
) -> None:
    images = images_of(20)
    expected = run(lambda client: client.embed(images))
    small = start_server(f"--model={vit}", "--max_request_images=4")

    async def embed() -> Any:
        async with AsyncClient(small.address) as client:
            return await client.embed(images)

    np.testing.assert_allclose(asyncio.run(embed()), expected, rtol=0, atol=1e-5)


def as_list(images: list[Any]) -> Any:
    return images


def as_generator(images: list[Any]) -> Iterator[Any]:
    yield from images


async def as_async_generator(images: list[Any]) -> AsyncIterator[Any]:
    for image in images:
        await asyncio.sleep(0)
        yield image


@pytest.mark.parametrize("form", [as_list, as_generator, as_async_generator])
def test_a_stream_answers_every_image_once_in_order_if_asked(
    form: Callable[[list[Any]], Any], run: Run[Any]
) -> None:
    images = images_of(20)
    images[3] = "/none/a.png"
    images[5] = b"broken"

    async def stream(client: AsyncClient) -> list[Any]:
        return [result async for result in client.embed_stream(form(images), ordered=True)]

    results = run(stream)
    assert [result.index for result in results] == list(range(20))
    failed = {result.index: result.error.reason for result in results if result.error}
    assert failed == {3: "UNREADABLE_FILE", 5: "UNSUPPORTED_FORMAT"}
    expected = run(lambda client: client.embed([images[0], images[19]]))
    np.testing.assert_allclose(results[0].vector, expected[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(results[19].vector, expected[1], rtol=0, atol=1e-5)


def test_a_stream_takes_no_more_images_than_its_window(server: Server) -> None:
    image = images_of(1)[0]
    taken = answered = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(50):
            assert taken - answered <= 5
            taken += 1
            yield image

    async def main() -> None:
        nonlocal answered
        async with AsyncClient(server.address, max_in_flight_images=4) as client:
            async for _ in client.embed_stream(source()):
                answered += 1

    asyncio.run(main())
    assert answered == 50


def test_what_the_iterable_raises_reaches_the_caller_after_the_results(run: Run[Any]) -> None:
    results: list[Any] = []

    async def source() -> AsyncIterator[bytes]:
        yield images_of(1)[0]
        raise LookupError("the source is broken")

    async def stream(client: AsyncClient) -> None:
        async for result in client.embed_stream(source()):
            results.append(result)

    with pytest.raises(LookupError, match="the source is broken"):
        run(stream)
    assert len(results) == 1


def test_leaving_a_stream_early_ends_it(run: Run[Any]) -> None:
    ended = threading.Event()

    async def forever() -> AsyncIterator[bytes]:
        image = images_of(1)[0]
        try:
            while True:
                yield image
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def leave(client: AsyncClient) -> Any:
        source = forever()
        async with aclosing(client.embed_stream(source)) as stream:
            async for result in stream:
                assert result.vector is not None
                break
        await source.aclose()  # type: ignore[attr-defined]
        return await client.embed(images_of(1))

    assert run(leave).shape == (1, 32)
    assert ended.is_set()


def test_many_calls_at_once(run: Run[Any]) -> None:
    images = images_of(8)

    async def embed(client: AsyncClient) -> list[Any]:
        return await asyncio.gather(*(client.embed([image]) for image in images))

    together = run(lambda client: client.embed(images))
    np.testing.assert_allclose(np.concatenate(run(embed)), together, rtol=0, atol=1e-5)


def test_health_models_and_explanation(run: Run[Any]) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.wait_until_serving(60)
        assert await client.health()
        assert await client.health("vit")
        with pytest.raises(ServiceError):
            await client.wait_until_serving(60, "other")
        assert [model.name for model in await client.models()] == ["vit", "dinov2"]
        explanation = await client.explain(images_of(1)[0], model="dinov2")
        assert (explanation.format, explanation.model) == ("PNG", "dinov2")
        with pytest.raises(ServiceError, match="UNKNOWN_MODEL"):
            await client.embed([b"x"], model="other")

    run(ask)


def test_nobody_listens() -> None:
    async def ask() -> None:
        async with AsyncClient("unix:/none/socket", max_attempts=2) as client:
            with pytest.raises(ServiceError, match="UNAVAILABLE"):
                await client.embed([b"x"])
            with pytest.raises(TimeoutError):
                await client.wait_until_serving(0.01)

    asyncio.run(ask())


def test_an_overloaded_server_is_tried_again() -> None:
    service = Refusing(2, 0)

    async def embed(address: str) -> Any:
        async with AsyncClient(address) as client:
            return await client.embed([b"x"])

    with serving(service) as port:
        np.testing.assert_array_equal(asyncio.run(embed(f"127.0.0.1:{port}")), [[4.5]])
    assert service.calls == 3
