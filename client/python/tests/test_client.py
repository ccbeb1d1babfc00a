"""The package against the real server, and against one that refuses."""

from __future__ import annotations

import asyncio
import io
import pathlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from fake_services import Refusing, Silent, Timing, serving
from PIL import Image
from pixembed_fixtures import Server, StartServer, broken_images, encode, picture

from pixembed import AsyncClient, Client, EmbedError, ImageError, ServiceError


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected


def test_paths_bytes_and_pil_images_give_the_same_vector(
    client: Client, picture_directory: pathlib.Path
) -> None:
    path = picture_directory / "rgb.png"
    data = path.read_bytes()
    images: list[Any] = [path, str(path), data, bytearray(data), memoryview(data)]
    with Image.open(io.BytesIO(data)) as image:
        vectors = client.embed([*images, image])
    assert vectors.shape == (6, 32)
    np.testing.assert_allclose(vectors, np.broadcast_to(vectors[0], (6, 32)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "RGB", "P"])
def test_a_pil_image_travels_with_its_transparent_colour(client: Client, mode: str) -> None:
    image = Image.new(mode, (30, 20))  # all 0, which is transparent
    data = encode(image, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
    white = Image.new("RGB", image.size, (255, 255, 255))
    with Image.open(io.BytesIO(data)) as opened:
        vectors = client.embed([white, data, opened], model="dinov2")
    expected = np.broadcast_to(vectors[0], vectors.shape)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "error", "text"),
    [
        (7, TypeError, "image 1: an image is a path, .*, not int"),
        (None, TypeError, "image 1: .* not NoneType"),
        ("a\0b", ValueError, "image 1: a path has no NUL"),
        (
            np.zeros((3, 4, 5), np.uint8),
            ValueError,
            r"image 1: .* not an array of uint8 \[3, 4, 5\]",
        ),
        (Image.new("RGB", (0, 5)), ValueError, "image 1: a PIL image of 0 x 5 holds no pixels"),
    ],
)
def test_what_is_no_image_is_an_error_that_says_which(
    client: Client, image: Any, error: type[Exception], text: str
) -> None:
    good = encode(picture(9, 7, 1), "PNG")
    with pytest.raises(error, match=text):
        client.embed([good, image])
    with pytest.raises(error, match=text):
        list(client.embed_stream([good, image]))

    async def stream(server: str) -> None:
        async with AsyncClient(server) as asked:
            with pytest.raises(error, match=text):
                await asked.embed([good, image])
            with pytest.raises(error, match=text):
                async for _ in asked.embed_stream(iter([good, image])):
                    pass

    asyncio.run(stream(client._targets[0]))


def test_a_missing_file_is_an_os_error_or_that_of_its_image(client: Client) -> None:
    images: list[Any] = [encode(picture(9, 7, 1), "PNG"), "/none/a.png", b""]
    with pytest.raises(FileNotFoundError, match=r"/none/a\.png"):
        client.embed(images)
    embeddings = client.embed(images, errors="return")
    reasons = {i: error.reason for i, error in embeddings.errors.items()}
    assert reasons == {1: "UNREADABLE_FILE", 2: "EMPTY_IMAGE"}
    assert np.isnan(embeddings.vectors).all(axis=1).tolist() == [False, True, True]


def test_no_images_give_an_empty_array_of_the_right_width(client: Client) -> None:
    assert client.embed([]).shape == (0, 32)
    assert client.embed([], model="dinov2", dimensions=5).shape == (0, 5)


def test_failed_images_are_raised_as_one_group(client: Client) -> None:
    good = encode(picture(50, 40, 1), "PNG")
    with pytest.raises(EmbedError) as raised:
        client.embed([good, b"", b"no image"])
    errors = raised.value.errors
    assert {i: e.reason for i, e in errors.items()} == {1: "EMPTY_IMAGE", 2: "UNSUPPORTED_FORMAT"}
    assert errors[1].code == "INVALID_ARGUMENT"
    assert str(raised.value).startswith("2 images failed; image 1: EMPTY_IMAGE: ")
    assert str(errors[2]).startswith("UNSUPPORTED_FORMAT: ")


def test_failed_images_are_returned_on_request(client: Client) -> None:
    good = encode(picture(50, 40, 1), "PNG")
    embeddings = client.embed([b"", good], errors="return")
    assert list(embeddings.errors) == [0]
    assert np.isnan(embeddings.vectors[0]).all()
    np.testing.assert_array_equal(embeddings.vectors[1], client.embed([good])[0])
    assert len(embeddings.fingerprint) == 64


def test_a_batch_too_large_for_a_request_gives_the_same(
    client: Client, vit: pathlib.Path, start_server: StartServer
) -> None:
    images = [encode(picture(30 + i, 20, i), "PNG") for i in range(20)]
    images[7] = b"broken"
    expected = client.embed(images, errors="return")
    small = start_server(f"--model={vit}", "--max_request_images=4")
    with Client(small.address) as limited:
        embeddings = limited.embed(images, errors="return")
    assert list(embeddings.errors) == [7]
    np.testing.assert_allclose(embeddings.vectors, expected.vectors, rtol=0, atol=1e-5)
    assert embeddings.fingerprint == expected.fingerprint


def test_a_stream_answers_every_image_once(client: Client) -> None:
    images: list[Any] = [encode(picture(30 + i, 20, i), "PNG") for i in range(20)]
    images[3] = "/none/a.png"
    images[5] = b"broken"
    results = {result.index: result for result in client.embed_stream(images)}
    assert sorted(results) == list(range(20))
    assert results[3].error == ImageError("NOT_FOUND", "UNREADABLE_FILE", results[3].error.message)  # type: ignore[union-attr]
    assert results[5].error is not None
    assert results[5].error.reason == "UNSUPPORTED_FORMAT"
    vector = results[0].vector
    assert vector is not None
    np.testing.assert_allclose(vector, client.embed([images[0]])[0], rtol=0, atol=1e-5)


def test_an_ordered_stream_keeps_the_order(client: Client) -> None:
    images: list[Any] = [encode(picture(30 + i, 20, i), "PNG") for i in range(20)]
    images[0] = images[19] = images[9] = "/none/a.png"
    results = client.embed_stream(images, ordered=True)
    assert [result.index for result in results] == list(range(20))


def test_a_stream_takes_no_more_images_than_its_window(server: Server) -> None:
    image = encode(picture(30, 20, 1), "PNG")
    taken = answered = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(50):
            # Four on their way and the one that waits for room.
            assert taken - answered <= 5
            taken += 1
            yield image

    with Client(server.address, max_in_flight_images=4) as client:
        for _ in client.embed_stream(source()):
            answered += 1
    assert answered == 50


def test_what_the_iterable_raises_reaches_the_caller(client: Client) -> None:
    def source() -> Iterator[bytes]:
        yield encode(picture(30, 20, 1), "PNG")
        raise LookupError("the source is broken")

    with pytest.raises(LookupError, match="the source is broken"):
        list(client.embed_stream(source()))


def test_leaving_a_stream_early_ends_it(client: Client) -> None:
    image = encode(picture(30, 20, 1), "PNG")
    ended = threading.Event()

    def forever() -> Iterator[bytes]:
        try:
            while True:
                yield image
        finally:
            ended.set()

    stream = client.embed_stream(forever())
    assert next(iter(stream)).vector is not None
    stream.close()
    assert client.embed([image]).shape == (1, 32)


def test_orientation_and_background_give_the_vectors_of_the_finished_picture(
    client: Client,
) -> None:
    holed = picture(40, 30, 1).convert("RGBA")
    holed.putalpha(Image.linear_gradient("L").resize(holed.size))
    exif = holed.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    holed.save(file, "PNG", exif=exif)
    canvas = Image.new("RGBA", holed.size, (10, 200, 30, 255))
    finished = Image.alpha_composite(canvas, holed).transpose(Image.Transpose.ROTATE_270)
    expected = client.embed([encode(finished.convert("RGB"), "PNG")], errors="return")
    asked = client.embed(
        [file.getvalue()], exif_orientation="apply", background=(10, 200, 30), errors="return"
    )
    np.testing.assert_array_equal(asked.vectors, expected.vectors)
    assert asked.fingerprint != expected.fingerprint


def test_an_image_above_the_message_limit_fails_alone(server: Server) -> None:
    good = encode(picture(30, 20, 1), "PNG")
    with Client(server.address, max_message_bytes=1 << 20) as client:
        embeddings = client.embed([good, bytes(2 << 20)], errors="return")
    assert {i: e.reason for i, e in embeddings.errors.items()} == {1: "TOO_MANY_BYTES"}


def test_a_wrong_option_is_refused_before_anything_is_sent() -> None:
    with Client("localhost:1") as client:
        with pytest.raises(ValueError, match="mean, cls, max"):
            client.embed([], pooling="first")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="online, bulk"):
            client.embed([], lane="fast")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="-1"):
            client.embed([], dimensions=-1)
        with pytest.raises(ValueError, match="ignore, apply"):
            client.embed([], exif_orientation="auto")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="0 to 255"):
            client.embed([], background=(0, 256, 0))
        with pytest.raises(ValueError, match="three numbers"):
            client.embed([], background=(0, 255))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="dimensions is 1099511627776"):
            client.embed([], dimensions=2**40)
        with pytest.raises(ValueError, match="return"):
            client.embed([], errors="ignore")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="timeout is 0; it is more than 0"):
            client.embed([], timeout=0)
        with pytest.raises(ValueError, match="timeout is -1"):
            client.embed_stream([], timeout=-1)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("normalize", "yes", "True or False"),
        ("normalize", None, "True or False"),
        ("dimensions", 1.5, "a whole number"),
        ("dimensions", "64", "a whole number"),
        ("layers", -1, "several whole numbers"),
        ("layers", "-1", "several whole numbers"),
        ("layers", [1.5], "several whole numbers"),
        ("layers", [True], "several whole numbers"),
        ("background", "ffffff", "three numbers"),
        ("background", 255, "three numbers"),
        ("background", (0, 0.5, 1), "three numbers"),
        ("pooling", None, "mean, cls, max"),
        ("data_type", np.float32, "float32, float16"),
        ("model", pathlib.Path("vit"), "a str"),
        ("expected_fingerprint", b"ab", "a str"),
        ("timeout", "5", "seconds, or None"),
    ],
)
def test_an_option_of_another_type_is_named(name: str, value: Any, expected: str) -> None:
    with Client("localhost:1") as client, pytest.raises(TypeError, match=expected) as raised:
        client.embed([], **{name: value})
    assert str(raised.value).startswith(f"{name} is ")


def test_numbers_of_numpy_are_numbers(server: Server) -> None:
    with Client(server.address) as client:
        vectors = client.embed(
            [encode(picture(8, 8, 1), "PNG")],
            normalize=np.True_,  # type: ignore[call-overload]
            dimensions=np.int64(4),
            layers=np.array([-1]),
            background=np.array([1, 2, 3], np.uint8),
        )
    assert vectors.shape == (1, 4)


@pytest.mark.parametrize(
    "image",
    [
        *("a.png", pathlib.Path("a.png"), b"png", Image.new("L", (1, 1)), io.BytesIO(b"png")),
        *(np.zeros((8, 6, 3), np.uint8), np.zeros((8, 6), np.uint8)),
    ],
)
def test_one_image_in_the_place_of_many_is_a_type_error(image: Any) -> None:
    async def ask(asked: AsyncClient) -> None:
        with pytest.raises(TypeError, match="put it into a list"):
            await asked.embed(image)
        with pytest.raises(TypeError, match="put it into a list"):
            asked.embed_stream(image)
        await asked.close()

    with Client("localhost:1") as client:
        with pytest.raises(TypeError, match="put it into a list"):
            client.embed(image)
        with pytest.raises(TypeError, match="put it into a list"):
            client.embed_stream(image)
    asyncio.run(ask(AsyncClient("localhost:1")))


@pytest.mark.parametrize("images", [None, 7, {"a": b"png"}])
def test_what_are_no_images_is_a_type_error(images: Any) -> None:
    with Client("localhost:1") as client:
        for embed in (client.embed, client.embed_stream):
            with pytest.raises(TypeError, match="images is a list or an iterable"):
                embed(images)


def test_an_asynchronous_iterable_is_for_the_other_client() -> None:
    async def images() -> AsyncIterator[bytes]:
        yield b""

    with Client("localhost:1") as client, pytest.raises(TypeError, match="only AsyncClient"):
        client.embed(images())  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("explain", "timeout"),
        ("embed", "ordered"),
        ("embed_stream", "errors"),
        ("explain", "pooling"),
    ],
)
def test_an_option_that_a_method_does_not_have_is_named(method: str, option: str) -> None:
    async def ask() -> None:
        async with AsyncClient("localhost:1") as asked:
            with pytest.raises(TypeError, match=f'{method} has no option "{option}"; there are '):
                await getattr(asked, method)([b""], **{option: 1})

    with (
        Client("localhost:1") as client,
        pytest.raises(TypeError, match=f'{method} has no option "{option}"; ') as raised,
    ):
        getattr(client, method)([b""], **{option: 1})
    there_are = str(raised.value).partition("there are ")[2].split(", ")
    assert there_are[:3] == ["model", "exif_orientation", "background"]
    assert len(set(there_are)) == len(there_are)
    asyncio.run(ask())


def test_a_closed_client_says_so(server: Server) -> None:
    image = encode(picture(9, 7, 1), "PNG")
    client = Client(server.address)
    stream = client.embed_stream(image for _ in range(10_000))
    next(stream)
    client.close()
    client.close()
    calls: list[Callable[[], object]] = [
        lambda: list(stream),
        lambda: client.embed([image]),
        lambda: list(client.embed_stream([image])),
        client.models,
        client.health,
        lambda: client.wait_until_serving(1),
    ]
    for call in calls:
        with pytest.raises(ServiceError, match="CANCELLED: the client is closed"):
            call()


def test_a_time_that_is_over_is_told_with_the_clients_own(server: Server) -> None:
    # Nobody listens, and nobody is told: the call waits for its time.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(address, timeout=0.05, max_attempts=1) as client,
            pytest.raises(ServiceError, match=r"timeout of the client is 0\.05 s"),
        ):
            client.models()
    with (
        Client(server.address, max_message_bytes=10) as client,
        pytest.raises(ServiceError, match="max_message_bytes of the client is 10"),
    ):
        client.models()


@pytest.mark.parametrize("largest", [64 << 20, 2000])
def test_a_call_ends_with_the_time_of_its_own(largest: int) -> None:
    # The client's own time, an hour, would be longer than a test may take.
    arguments: dict[str, Any] = {"timeout": 3600, "max_message_bytes": largest}
    images = [b"x" * 800] * 3  # above 2000 bytes they go through a stream

    async def embed(address: str) -> None:
        async with AsyncClient(address, **arguments) as client:
            await client.embed(images, timeout=0.5)

    with serving(Silent()) as port:
        with Client(f"127.0.0.1:{port}", **arguments) as client:
            with pytest.raises(ServiceError, match=r"timeout of the call is 0\.5 s") as raised:
                client.embed(images, timeout=0.5)
            assert raised.value.code == "DEADLINE_EXCEEDED"
        with pytest.raises(ServiceError, match=r"timeout of the call is 0\.5 s"):
            asyncio.run(embed(f"127.0.0.1:{port}"))


def test_a_call_without_a_time_of_its_own_has_the_clients() -> None:
    service = Timing()
    given: list[dict[str, Any]] = [{}, {"timeout": 5000}, {"timeout": None}]

    async def embed(address: str) -> None:
        for options in given:
            async with AsyncClient(address, timeout=500) as client:
                await client.embed([b"x"], **options)

    with serving(service) as port:
        for options in given:
            with Client(f"127.0.0.1:{port}", timeout=500) as client:
                client.embed([b"x"], **options)
        asyncio.run(embed(f"127.0.0.1:{port}"))
    assert [name for name, _ in service.left] == ["GetModel", "Embed"] * 6
    for call in (0, 3):
        for model, most in ((0, 500), (1, 5000)):
            for _, left in service.left[2 * (call + model) :][:2]:
                assert most / 10 < left < most * 2
        assert all(left > 10**9 for _, left in service.left[2 * call + 4 :][:2])  # no limit


def test_all_requests_of_a_call_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed)
    monkeypatch.setattr("pixembed._retry.time", clock)

    class Slow(Timing):
        def GetModel(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
            nonlocal passed
            passed += 400
            return super().GetModel(request, context)

    service = Slow()
    with serving(service) as port, Client(f"127.0.0.1:{port}", timeout=500) as client:
        client.embed([b"x"])
    assert [name for name, left in service.left if left < 200] == ["Embed"]


def test_an_unreachable_server_is_unavailable() -> None:
    with Client("unix:/none/socket", max_attempts=1) as client:
        with pytest.raises(ServiceError) as raised:
            client.embed([b"x"])
        assert raised.value.code == "UNAVAILABLE"
        with pytest.raises(TimeoutError, match='service "" at unix:/none/socket was not SERVING'):
            client.wait_until_serving(0.01)
        with pytest.raises(TypeError, match="timeout is None"):
            client.wait_until_serving(None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="service is 3"):
            client.health(3)  # type: ignore[arg-type]


def test_a_call_that_fails_names_its_reason(client: Client) -> None:
    with pytest.raises(ServiceError) as raised:
        client.embed([b"x"], model="other")
    assert (raised.value.code, raised.value.reason) == ("NOT_FOUND", "UNKNOWN_MODEL")
    assert "other" in raised.value.message
    with pytest.raises(ServiceError):
        list(client.embed_stream([b"x"], model="other"))


def test_health_and_models(client: Client) -> None:
    client.wait_until_serving(60)
    assert client.health()
    assert client.health("vit")
    with pytest.raises(ServiceError) as raised:
        client.health("other")
    assert raised.value.code == "NOT_FOUND"
    with pytest.raises(ServiceError):
        client.wait_until_serving(60, "other")
    assert [model.name for model in client.models()] == ["vit", "dinov2"]


def test_every_kind_of_broken_image_has_its_reason(client: Client) -> None:
    broken = broken_images()
    embeddings = client.embed([data for data, _ in broken.values()], errors="return")
    reasons = [error.reason for error in embeddings.errors.values()]
    assert reasons == [reason for _, reason in broken.values()]


@pytest.fixture
def refusing(request: pytest.FixtureRequest) -> Iterator[tuple[Refusing, str]]:
    service = Refusing(*request.param)
    with serving(service) as port:
        yield service, f"127.0.0.1:{port}"


@pytest.mark.parametrize("refusing", [(2, 0)], indirect=True)
def test_an_overloaded_server_is_tried_again(refusing: tuple[Refusing, str]) -> None:
    service, address = refusing
    with Client(address) as client:
        np.testing.assert_array_equal(client.embed([b"x"]), [[4.5]])
        assert [result.index for result in client.embed_stream([b"x"])] == [0]
    assert service.calls == 4


@pytest.mark.parametrize(
    ("refusing", "attempts", "calls"), [((9, 0), 3, 3), ((9, 3600), 5, 1)], indirect=["refusing"]
)
def test_overload_that_lasts_is_raised(
    refusing: tuple[Refusing, str], attempts: int, calls: int
) -> None:
    service, address = refusing
    with Client(address, max_attempts=attempts) as client, pytest.raises(ServiceError) as raised:
        client.embed([b"x"])
    assert raised.value.reason == "OVERLOADED"
    assert service.calls == calls
