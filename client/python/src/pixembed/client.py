"""The client."""

from __future__ import annotations

import io
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, overload

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from pixembed.errors import EmbedError, ImageError, ServiceError, image_error, service_error
from pixembed.v1 import embedding_pb2, embedding_pb2_grpc

Vectors: TypeAlias = NDArray[np.float32]
Pooling: TypeAlias = Literal["mean", "cls", "max", "masked_mean"]
DataType: TypeAlias = Literal["float32", "float16", "bfloat16", "int8", "binary"]
ExifOrientation: TypeAlias = Literal["ignore", "apply"]
Lane: TypeAlias = Literal["", "online", "bulk"]
_T = TypeVar("_T")

_MESSAGE_OVERHEAD = 1024
"""Bytes of a message around one image, at most."""


class PilImage(Protocol):
    """As much of PIL.Image.Image as is needed."""

    def convert(self, mode: str) -> Any: ...


ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | PilImage"
"""A path, encoded bytes, or a PIL image."""


class Embeddings(NamedTuple):
    vectors: Vectors
    """[N, D]; NaN in the rows of images that failed."""
    errors: Mapping[int, ImageError]
    """By position in the batch."""
    fingerprint: str
    """The space that the vectors live in; vectors of two must not meet in one index."""


@dataclass(frozen=True)
class Result:
    """What became of one image of a stream: a vector or an error."""

    index: int
    vector: Vectors | None
    error: ImageError | None
    fingerprint: str


class Client:
    """A connection to a pixembed server. May be shared by threads.

    `address` is a gRPC target: "host:port", "unix:path", or "dns:///name:port" (every address
    behind the name, round robin). Connects at the first call. `timeout`: seconds that one call may
    take, its repetitions included; None is no limit; streams have none. `max_in_flight_images`:
    of one stream.
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        timeout: float | None = 60.0,
        max_message_bytes: int = 64 << 20,
        max_attempts: int = 5,
        max_in_flight_images: int = 256,
    ) -> None:
        if max_attempts < 1 or max_in_flight_images < 1:
            raise ValueError(
                f"max_attempts is {max_attempts} and max_in_flight_images {max_in_flight_images}; "
                "both must be at least 1"
            )
        self._timeout = timeout
        self._max_message_bytes = max_message_bytes
        self._max_attempts = max_attempts
        self._max_in_flight_images = max_in_flight_images
        self._closed = threading.Event()
        self._models: dict[str, embedding_pb2.Model] = {}
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.service_config", _service_config(max_attempts)),
                # A message is tried again only if it fits here; gRPC's default is 256 KiB.
                ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 5000),
            ],
        )
        self._embedding = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @overload
    def embed(
        self,
        images: Iterable[ImageLike],
        *,
        model: str = "",
        pooling: Pooling = "mean",
        layers: Sequence[int] = (),
        exif_orientation: ExifOrientation = "ignore",
        background: tuple[int, int, int] | None = None,
        normalize: bool = False,
        dimensions: int = 0,
        data_type: DataType = "float32",
        lane: Lane = "",
        expected_fingerprint: str = "",
        errors: Literal["raise"] = "raise",
    ) -> Vectors: ...

    @overload
    def embed(
        self,
        images: Iterable[ImageLike],
        *,
        model: str = "",
        pooling: Pooling = "mean",
        layers: Sequence[int] = (),
        exif_orientation: ExifOrientation = "ignore",
        background: tuple[int, int, int] | None = None,
        normalize: bool = False,
        dimensions: int = 0,
        data_type: DataType = "float32",
        lane: Lane = "",
        expected_fingerprint: str = "",
        errors: Literal["return"],
    ) -> Embeddings: ...

    def embed(
        self,
        images: Iterable[ImageLike],
        *,
        model: str = "",
        pooling: Pooling = "mean",
        layers: Sequence[int] = (),
        exif_orientation: ExifOrientation = "ignore",
        background: tuple[int, int, int] | None = None,
        normalize: bool = False,
        dimensions: int = 0,
        data_type: DataType = "float32",
        lane: Lane = "",
        expected_fingerprint: str = "",
        errors: Literal["raise", "return"] = "raise",
    ) -> Vectors | Embeddings:
        """Vectors of a batch, [N, D] float32, in the order of the images.

        `layers`: which hidden states are pooled, as transformers numbers output_hidden_states;
        several: their mean; none: last_hidden_state. `exif_orientation="apply"` turns images
        upright as their EXIF data say. `background`: red, green and blue that show through where an
        image is transparent; None drops alpha. Both work on files as they are: of a PIL image only
        its pixels as RGB travel, and the one colour that its file names as transparent.

        A batch too large for one request goes through a stream, in the lane "online" unless told
        otherwise. Raises EmbedError when an image failed (errors="return" returns Embeddings
        instead), ServiceError when the call did, OSError when a file cannot be read.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f'errors is "{errors}"; there is "raise" and "return"')
        data = [_encoded(image) for image in images]
        options = _options(
            pooling=pooling,
            layers=layers,
            exif_orientation=exif_orientation,
            background=background,
            normalize=normalize,
            dimensions=dimensions,
            data_type=data_type,
            lane=lane,
            expected_fingerprint=expected_fingerprint,
            ordered=False,
        )
        info = self._model(model)
        width = dimensions or info.dimension
        if not data:
            return _gather([], (0, width), errors)
        request = embedding_pb2.EmbedRequest(model=model, options=options)
        most = info.limits.max_request_images or sys.maxsize
        largest = min(info.limits.max_message_bytes or sys.maxsize, self._max_message_bytes)
        if len(data) > most or sum(map(len, data)) + len(data) * _MESSAGE_OVERHEAD > largest:
            options.lane = options.lane or embedding_pb2.LANE_ONLINE
            results = self._stream(data, model, options)
            return _gather(results, (len(data), width), errors)
        request.images.extend(embedding_pb2.Image(data=image) for image in data)
        response = self._unary(self._embedding.Embed, request)
        results = (_result(r, r.index, response.fingerprint) for r in response.results)
        return _gather(results, (len(data), width), errors)

    def embed_stream(
        self,
        images: Iterable[ImageLike],
        *,
        model: str = "",
        pooling: Pooling = "mean",
        layers: Sequence[int] = (),
        exif_orientation: ExifOrientation = "ignore",
        background: tuple[int, int, int] | None = None,
        normalize: bool = False,
        dimensions: int = 0,
        data_type: DataType = "float32",
        lane: Lane = "",
        expected_fingerprint: str = "",
        ordered: bool = False,
    ) -> Iterator[Result]:
        """A result for each image as soon as it exists, in bounded memory.

        `images` is read on another thread, a little ahead of the results. A file that cannot be
        read is an error of its image. Raises ServiceError when the stream as a whole fails, and
        what the iterable raises. Leaving the loop early cancels what is on its way.
        """
        return self._stream(
            images,
            model,
            _options(
                pooling=pooling,
                layers=layers,
                exif_orientation=exif_orientation,
                background=background,
                normalize=normalize,
                dimensions=dimensions,
                data_type=data_type,
                lane=lane,
                expected_fingerprint=expected_fingerprint,
                ordered=ordered,
            ),
        )

    def models(self) -> list[embedding_pb2.Model]:
        """The models that the server serves."""
        request = embedding_pb2.ListModelsRequest()
        return list(self._unary(self._embedding.ListModels, request).models)

    def explain(
        self,
        image: ImageLike,
        *,
        model: str = "",
        exif_orientation: ExifOrientation = "ignore",
        background: tuple[int, int, int] | None = None,
    ) -> embedding_pb2.ImageExplanation:
        """What the server does to an image before the model sees it.

        Raises ServiceError with the image's reason where it cannot be used.
        """
        options = _options(exif_orientation=exif_orientation, background=background)
        request = embedding_pb2.ExplainImageRequest(
            model=model, data=_encoded(image), options=options
        )
        explanation: embedding_pb2.ImageExplanation = self._unary(
            self._embedding.ExplainImage, request
        )
        return explanation

    def health(self, service: str = "") -> bool:
        """Whether the server (or a service, or a model, by its name) is SERVING."""
        request = health_pb2.HealthCheckRequest(service=service)
        response = self._unary(self._health.Check, request)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def wait_until_serving(self, timeout: float, service: str = "") -> None:
        """Returns once the service is SERVING, also when nobody listens yet. Raises TimeoutError.

        A push from the server ends the wait; nothing polls.
        """
        deadline = time.monotonic() + timeout
        request = health_pb2.HealthCheckRequest(service=service)
        while (left := deadline - time.monotonic()) > 0:
            watch = self._health.Watch(request, timeout=left, wait_for_ready=True)
            try:
                for response in watch:
                    if response.status == health_pb2.HealthCheckResponse.SERVING:
                        watch.cancel()
                        return
                    if response.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
                        watch.cancel()
                        raise ServiceError("NOT_FOUND", "", f'no service "{service}"', None)
            except grpc.RpcError as error:
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    raise service_error(error) from error
            # A server that takes connections and drops them is not asked without a pause.
            self._closed.wait(0.05)
        raise TimeoutError(f'service "{service}" was not SERVING within {timeout} s')

    def _model(self, name: str) -> embedding_pb2.Model:
        if name not in self._models:
            request = embedding_pb2.GetModelRequest(name=name)
            self._models[name] = self._unary(self._embedding.GetModel, request)
        return self._models[name]

    def _unary(self, method: Callable[..., _T], request: Any) -> _T:
        """The call, tried again where the server said when."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        for attempt in range(1, self._max_attempts + 1):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                return method(request, timeout=left)
            except grpc.RpcError as rpc_error:
                error = service_error(rpc_error)
                delay = _retry_delay(error)
                if (
                    delay is None
                    or attempt == self._max_attempts
                    or (deadline is not None and time.monotonic() + delay >= deadline)
                    or self._closed.wait(delay)
                ):
                    raise error from rpc_error
        raise AssertionError("every attempt returns or raises")

    def _stream(
        self, images: Iterable[ImageLike], model: str, options: embedding_pb2.EmbedOptions
    ) -> Iterator[Result]:
        source = _StreamSource(
            images, model, options, self._max_in_flight_images, self._max_message_bytes
        )
        call = self._embedding.EmbedStream(source.requests())
        try:
            for message in call:
                index = source.answered(message.index)
                yield from source.unsent(before=index)
                yield _result(message, index, message.fingerprint)
            source.raise_failure()
            source.check_all_answered()
            yield from source.unsent(before=None)
        except grpc.RpcError as error:
            source.raise_failure()
            raise service_error(error) from error
        finally:
            source.stop()
            call.cancel()


@dataclass
class _StreamSource:
    """The sending half of a stream: read by gRPC's thread, told of answers by the caller's."""

    images: Iterable[ImageLike]
    model: str
    options: embedding_pb2.EmbedOptions
    max_in_flight: int
    max_message_bytes: int
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False
    _failure: BaseException | None = None
    _index_of: dict[int, int] = field(default_factory=dict)
    """The server counts the images that were sent, the caller all of them."""
    _unsent: dict[int, ImageError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._room = threading.Semaphore(self.max_in_flight)

    def requests(self) -> Iterator[embedding_pb2.EmbedRequest]:
        sent = 0
        try:
            for index, image in enumerate(self.images):
                data = self._data_of(index, image)
                if data is None:
                    continue
                self._room.acquire()
                if self._stopped:
                    return
                with self._lock:
                    self._index_of[sent] = index
                request = embedding_pb2.EmbedRequest(images=[embedding_pb2.Image(data=data)])
                if sent == 0:
                    request.model = self.model
                    request.options.CopyFrom(self.options)
                sent += 1
                yield request
        except Exception as error:
            # gRPC would only log it; the caller shall have it.
            self._failure = error
            raise

    def _data_of(self, index: int, image: ImageLike) -> bytes | None:
        """The image's bytes, unless it fails here."""
        try:
            data = _encoded(image)
        except OSError as error:
            failure = ImageError("NOT_FOUND", "UNREADABLE_FILE", str(error))
        else:
            if len(data) + _MESSAGE_OVERHEAD <= self.max_message_bytes:
                return data
            failure = ImageError(
                "INVALID_ARGUMENT",
                "TOO_MANY_BYTES",
                f"the image has {len(data)} bytes; max_message_bytes of the client is "
                f"{self.max_message_bytes}",
            )
        with self._lock:
            self._unsent[index] = failure
        return None

    def answered(self, number: int) -> int:
        self._room.release()
        with self._lock:
            return self._index_of.pop(number)

    def unsent(self, before: int | None) -> Iterator[Result]:
        """The images that failed here, up to a position."""
        with self._lock:
            indices = sorted(i for i in self._unsent if before is None or i < before)
            failed = [(i, self._unsent.pop(i)) for i in indices]
        for index, error in failed:
            yield Result(index, None, error, "")

    def stop(self) -> None:
        self._stopped = True
        self._room.release()

    def check_all_answered(self) -> None:
        if self._index_of:
            raise ServiceError(
                "DATA_LOSS", "", f"the stream ended with {len(self._index_of)} unanswered", None
            )

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _gather(
    results: Iterable[Result], shape: tuple[int, int], errors: Literal["raise", "return"]
) -> Vectors | Embeddings:
    vectors = np.full(shape, np.nan, dtype=np.float32)
    failed: dict[int, ImageError] = {}
    fingerprint = ""
    for result in results:
        fingerprint = result.fingerprint or fingerprint
        if result.error is not None:
            failed[result.index] = result.error
        elif result.vector is not None:
            vectors[result.index] = result.vector
    embeddings = Embeddings(vectors, dict(sorted(failed.items())), fingerprint)
    if errors == "return":
        return embeddings
    if failed:
        raise EmbedError(embeddings.errors, embeddings)
    return vectors


def _service_config(max_attempts: int) -> str:
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if max_attempts > 1:
        service = "pixembed.v1.EmbeddingService"
        config["methodConfig"] = [
            {
                "name": [
                    {"service": service, "method": "Embed"},
                    {"service": service, "method": "EmbedStream"},  # until its first result
                    {"service": service, "method": "ListModels"},
                    {"service": service, "method": "GetModel"},
                    {"service": "grpc.health.v1.Health", "method": "Check"},
                ],
                "retryPolicy": {
                    "maxAttempts": min(max_attempts, 5),  # more than 5 gRPC refuses
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    return json.dumps(config)


def _retry_delay(error: ServiceError) -> float | None:
    """Seconds; up to half longer, at random, so that refused callers do not return together."""
    if error.code != "RESOURCE_EXHAUSTED" or error.retry_delay is None:
        return None
    return error.retry_delay.total_seconds() * random.uniform(1.0, 1.5)


def _encoded(image: ImageLike) -> bytes:
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        with open(image, "rb") as file:
            return file.read()
    if not hasattr(image, "convert"):
        raise TypeError(f"an image is a path, bytes or a PIL image, not {type(image).__name__}")
    rgb = image.convert("RGB")
    transparency = rgb.info.get("transparency")
    if isinstance(transparency, int):  # of modes 1 and I;16; Pillow takes it for a level of red
        transparency = (transparency, 0, 0)
    png = io.BytesIO()
    rgb.save(png, "PNG", compress_level=1, transparency=transparency)
    return png.getvalue()


def _enum(kind: Any, prefix: str, name: str, value: str) -> str:
    """The name of "cls" in the enum Pooling."""
    known = {key.removeprefix(prefix).lower(): key for key, number in kind.items() if number}
    if value not in known:
        raise ValueError(f'{name} is "{value}"; there is {", ".join(known)}')
    return str(known[value])


def _color(color: tuple[int, int, int] | None) -> embedding_pb2.Color | None:
    if color is None:
        return None
    red, green, blue = color
    return embedding_pb2.Color(red=red, green=green, blue=blue)


def _options(
    *,
    pooling: str = "mean",
    layers: Sequence[int] = (),
    exif_orientation: str = "ignore",
    background: tuple[int, int, int] | None = None,
    normalize: bool = False,
    dimensions: int = 0,
    data_type: str = "float32",
    lane: str = "",
    expected_fingerprint: str = "",
    ordered: bool = False,
) -> embedding_pb2.EmbedOptions:
    if dimensions < 0:
        raise ValueError(f"dimensions is {dimensions}; it must not be negative")
    if background is not None and not all(0 <= band <= 255 for band in background):
        raise ValueError(f"background is {background}; red, green and blue go from 0 to 255")
    return embedding_pb2.EmbedOptions(
        pooling=_enum(embedding_pb2.Pooling, "POOLING_", "pooling", pooling),
        layers=layers,
        exif_orientation=_enum(
            embedding_pb2.ExifOrientation,
            "EXIF_ORIENTATION_",
            "exif_orientation",
            exif_orientation,
        ),
        background=_color(background),
        normalize=normalize,
        dimensions=dimensions,
        data_type=_enum(embedding_pb2.DataType, "DATA_TYPE_", "data_type", data_type),
        packed=True,
        lane=_enum(embedding_pb2.Lane, "LANE_", "lane", lane) if lane else None,
        expected_fingerprint=expected_fingerprint,
        ordered=ordered,
    )


def _vector(embedding: embedding_pb2.Embedding) -> Vectors:
    data = embedding.data
    vector: NDArray[Any]
    if embedding.data_type == embedding_pb2.DATA_TYPE_FLOAT32:
        vector = np.frombuffer(data, "<f4") if data else np.array(embedding.values)
    elif embedding.data_type == embedding_pb2.DATA_TYPE_FLOAT16:
        vector = np.frombuffer(data, "<f2")
    elif embedding.data_type == embedding_pb2.DATA_TYPE_BFLOAT16:
        vector = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    elif embedding.data_type == embedding_pb2.DATA_TYPE_INT8:
        vector = np.frombuffer(data, "i1") * np.float32(embedding.scale)
    else:
        vector = np.unpackbits(np.frombuffer(data, "u1"), count=embedding.dimensions)
    return vector.astype(np.float32)


def _result(message: embedding_pb2.EmbedResult, index: int, fingerprint: str) -> Result:
    if message.HasField("embedding"):
        return Result(index, _vector(message.embedding), None, fingerprint)
    return Result(index, None, image_error(message.error), fingerprint)
