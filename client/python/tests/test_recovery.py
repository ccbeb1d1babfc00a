"""A stream outlives its server, and so does a call."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from fake_services import Breaking, Fake, Refusing, answers, serving
from pixembed_fixtures import Server, StartServer, encode, picture

from pixembed import AsyncClient, Client, Result, ServiceError

COUNT = 400
Stream = Callable[..., Iterator[Result]]


def stream(
    address: Any, images: Any, options: dict[str, Any], **arguments: Any
) -> Iterator[Result]:
    with Client(address, **arguments) as client:
        yield from client.embed_stream(images, **options)


def stream_async(
    address: Any, images: Any, options: dict[str, Any], **arguments: Any
) -> Iterator[Result]:
    """The same by AsyncClient, one result at a time."""

    @asynccontextmanager
    async def results() -> AsyncIterator[AsyncIterator[Result]]:
        async with AsyncClient(address, **arguments) as client:
            yield client.embed_stream(images, **options)

    loop = asyncio.new_event_loop()
    context = results()
    opened = loop.run_until_complete(context.__aenter__())

    async def take() -> Result | None:
        return await anext(opened, None)

    try:
        while (result := loop.run_until_complete(take())) is not None:
            yield result
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


both = pytest.mark.parametrize("stream_by", [stream, stream_async])


@both
@pytest.mark.parametrize(("end", "ordered"), [(Server.kill, False), (Server.stop, True)])
def test_a_restart_in_mid_stream_loses_and_repeats_nothing(
    end: Callable[[Server], object],
    ordered: bool,
    stream_by: Stream,
    vit: pathlib.Path,
    start_server: StartServer,
) -> None:
    pictures = [encode(picture(300, 200, i), "JPEG") for i in range(10)]
    pictures[7] = b"broken"
    server = start_server(f"--model={vit}")
    address = server.address
    with Client(address) as client:
        expected = client.embed(pictures, errors="return")
    results = []
    images = (pictures[i % 10] for i in range(COUNT))
    for result in stream_by(address, images, {"ordered": ordered}, max_in_flight_images=50):
        results.append(result)
        if len(results) in (30, 200):  # on its way back to full speed it happens again
            end(server)
            server = start_server(f"--model={vit}", listen=address)
    indices = [result.index for result in results]
    assert (indices if ordered else sorted(indices)) == list(range(COUNT))
    for result in results:
        if result.index % 10 == 7:
            assert result.error is not None
            assert result.error.reason == "UNSUPPORTED_FORMAT"
        else:
            assert result.vector is not None
            np.testing.assert_allclose(
                result.vector, expected.vectors[result.index % 10], rtol=0, atol=1e-5
            )


def test_another_model_on_the_same_port_does_not_go_on_with_the_stream(
    vit: pathlib.Path, dinov2: pathlib.Path, start_server: StartServer
) -> None:
    server = start_server(f"--model={vit}")
    address = server.address
    image = encode(picture(300, 200, 1), "JPEG")
    vectors = []
    with pytest.raises(ServiceError) as raised:  # noqa: PT012  the restart is part of it
        for result in stream(address, (image for _ in range(COUNT)), {}):
            vectors.append(result.vector)
            if result.index == 10:
                server.kill()
                start_server(f"--model={dinov2}", listen=address)
    assert raised.value.reason == "FINGERPRINT_MISMATCH"
    assert {vector.shape for vector in vectors if vector is not None} == {(32,)}


@both
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_stream_goes_on_as_long_as_results_come(code: grpc.StatusCode, stream_by: Stream) -> None:
    service = Breaking(3, code)
    with serving(service) as port:
        results = list(stream_by(f"127.0.0.1:{port}", [b"x"] * 10, {}, max_attempts=2))
    assert [result.index for result in results] == list(range(10))
    # What follows a break must be of the space of what came before.
    fingerprints = [request.options.expected_fingerprint for request in service.first]
    assert fingerprints == ["", "f" * 64, "f" * 64, "f" * 64]


@both
def test_a_stream_that_breaks_after_its_last_result_is_whole(stream_by: Stream) -> None:
    service = Breaking(10)
    with serving(service) as port:
        results = list(stream_by(f"127.0.0.1:{port}", [b"x"] * 10, {}))
    assert [result.index for result in results] == list(range(10))
    assert service.calls == 1


def embed(client: Client, image: bytes) -> Any:
    with client:
        return client.embed([image])


def embed_async(client: AsyncClient, image: bytes) -> Any:
    async def ask() -> Any:
        async with client:
            return await client.embed([image])

    return asyncio.run(ask())


both_clients = pytest.mark.parametrize(
    ("kind", "embed_by"), [(Client, embed), (AsyncClient, embed_async)]
)


@both_clients
def test_an_embed_outlives_a_restart(
    kind: Any,
    embed_by: Callable[[Any, bytes], Any],
    vit: pathlib.Path,
    start_server: StartServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = encode(picture(300, 200, 1), "JPEG")
    server = start_server(f"--model={vit}")
    address = server.address
    expected = embed(Client(address), image)
    server.kill()
    client = kind(address)
    client._rotation.answered = True  # it had been there
    failures = 0
    failed = client._rotation.failed

    def restart_at_last(channel: int) -> None:
        nonlocal failures
        failures += 1
        if failures == 7:
            start_server(f"--model={vit}", listen=address).address  # noqa: B018  until it serves
        failed(channel)

    monkeypatch.setattr(client._rotation, "failed", restart_at_last)
    np.testing.assert_allclose(embed_by(client, image), expected, rtol=0, atol=1e-5)
    assert failures >= 7


@both_clients
@pytest.mark.parametrize("delay", [0, None])
def test_an_embed_that_is_refused_many_times_comes_through(
    kind: Any,
    embed_by: Callable[[Any, bytes], Any],
    delay: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pixembed._retry._LONGEST_BACKOFF", 0.01)
    service = Refusing(50, delay)
    with serving(service) as port:
        np.testing.assert_array_equal(embed_by(kind(f"127.0.0.1:{port}"), b"x"), [[4.5]])
    assert service.calls == 51


@both_clients
def test_a_server_that_was_never_there_is_given_up_soon_with_its_error(
    kind: Any, embed_by: Callable[[Any, bytes], Any]
) -> None:
    with pytest.raises(ServiceError) as raised:
        embed_by(kind("unix:/none/socket", timeout=3600), b"x")
    assert raised.value.code == "UNAVAILABLE"


def test_health_is_told_soon_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixembed._retry._LONGEST_BACKOFF", 0.01)
    with Client("unix:/none/socket", timeout=3600) as client:
        with pytest.raises(ServiceError) as raised:
            client.health()
        assert raised.value.code == "UNAVAILABLE"

    async def ask_async() -> None:
        async with AsyncClient("unix:/none/socket", timeout=3600) as client:
            await client.health()

    with pytest.raises(ServiceError, match="UNAVAILABLE"):
        asyncio.run(ask_async())


@both
def test_a_stream_of_no_images_gives_no_results(stream_by: Stream, server: Server) -> None:
    assert list(stream_by(server.address, [], {})) == []


@both
def test_a_stream_without_results_is_given_up(stream_by: Stream) -> None:
    service = Breaking(0)
    with serving(service) as port, pytest.raises(ServiceError, match="broken"):
        list(stream_by(f"127.0.0.1:{port}", [b"x"] * 10, {}, max_attempts=3))
    assert service.calls == 3


@both
def test_a_stream_that_was_refused_for_load_comes_back(stream_by: Stream) -> None:
    service = Refusing(2, 0)
    with serving(service) as port:
        results = list(stream_by(f"127.0.0.1:{port}", [b"x"] * 10, {}))
    assert [result.index for result in results] == list(range(10))
    assert service.calls == 3


@both
@pytest.mark.parametrize(("most", "calls"), [(2, 5), (1, 1)])
def test_a_drain_is_waited_for_more_often_than_there_are_attempts(
    most: int, calls: int, stream_by: Stream
) -> None:
    service = Refusing(4, None)
    with serving(service) as port:
        results = stream_by(f"127.0.0.1:{port}", [b"x"] * 10, {}, max_attempts=most)
        if most == 1:
            # grpc.aio, and only it, may hide the status where the only attempt was still sending.
            hidden = "|broke while images were sent" if stream_by is stream_async else ""
            with pytest.raises(ServiceError, match="shutting down" + hidden):
                next(results)
        else:
            assert [result.index for result in results] == list(range(10))
    assert service.calls == calls


@both
def test_what_is_no_fault_of_the_connection_ends_the_stream(stream_by: Stream) -> None:
    service = Breaking(3, grpc.StatusCode.INVALID_ARGUMENT)
    with serving(service) as port, pytest.raises(ServiceError, match="broken"):
        list(stream_by(f"127.0.0.1:{port}", [b"x"] * 10, {}))
    assert service.calls == 1


@both
@pytest.mark.parametrize(("of_the_client", "of_the_call"), [(0.5, {}), (None, {"timeout": 0.5})])
def test_a_server_that_never_comes_back_is_waited_for_until_the_timeout(
    of_the_client: float | None,
    of_the_call: dict[str, Any],
    stream_by: Stream,
    vit: pathlib.Path,
    start_server: StartServer,
) -> None:
    server = start_server(f"--model={vit}")
    image = encode(picture(30, 20, 1), "JPEG")
    images = (image for _ in range(COUNT))
    with pytest.raises(ServiceError) as raised:  # noqa: PT012  the end is part of it
        for result in stream_by(
            server.address, images, of_the_call, timeout=of_the_client, max_in_flight_images=9
        ):
            if result.index == 10:
                server.kill()
    assert raised.value.code == "UNAVAILABLE"


class Forgetful(Fake):
    def EmbedStream(self, requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        yield next(answers(requests))


class Twice(Fake):
    def EmbedStream(self, requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        for answer in answers(requests):
            yield answer
            yield answer


@both
@pytest.mark.parametrize(
    ("service", "text"), [(Forgetful(), "images unanswered"), (Twice(), "waits for no answer")]
)
def test_a_server_that_forgets_or_repeats_is_found_out(
    service: Fake, text: str, stream_by: Stream
) -> None:
    with serving(service) as port, pytest.raises(ServiceError, match=text) as raised:
        list(stream_by(f"127.0.0.1:{port}", [b"x"] * 10, {}))
    assert raised.value.code == "DATA_LOSS"
