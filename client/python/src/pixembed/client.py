"""The client for threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

import grpc
from grpc_health.v1 import health_pb2
from typing_extensions import Self, Unpack

from pixembed._connection import (
    Connection,
    Link,
    check_service,
    check_wait,
    closed_error,
    is_serving,
    never_served,
    raise_unless_away,
)
from pixembed._images import ImageLike, check_batch, encoded, encoded_batch
from pixembed._options import (
    EmbedOptions,
    ExplainOptions,
    StreamOptions,
    check_names,
    encode_options,
)
from pixembed._progress import progress_of
from pixembed._results import (
    Embeddings,
    Errors,
    Gathering,
    Result,
    Vectors,
    check_errors,
    result_of,
)
from pixembed._retry import PROBES, Limit
from pixembed._stream import Flight
from pixembed.errors import service_error
from pixembed.v1 import embedding_pb2

_T = TypeVar("_T")


class Client(Connection):
    """A connection to pixembed servers. May be shared by threads."""

    def _start(self) -> None:
        self._links = self._open(grpc)
        self._closed = threading.Event()

    def close(self) -> None:
        """Ends the connections and every call on them."""
        self._closed.set()
        for link in self._links:
            link.channel.close()

    def __enter__(self) -> Self:
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
        errors: Literal["raise"] = "raise",
        **options: Unpack[EmbedOptions],
    ) -> Vectors: ...

    @overload
    def embed(
        self,
        images: Iterable[ImageLike],
        *,
        errors: Literal["return"],
        **options: Unpack[EmbedOptions],
    ) -> Embeddings: ...

    def embed(
        self,
        images: Iterable[ImageLike],
        *,
        errors: Errors = "raise",
        **options: Unpack[EmbedOptions],
    ) -> Vectors | Embeddings:
        """Vectors of a batch, [N, D] float32, in the order of the images. Options: EmbedOptions.

        `exif_orientation` and `background` work on files as they are: of a PIL image only its
        pixels as RGB travel, and the one colour that its file names as transparent.

        A batch too large for one request goes through a stream, in the lane "online" unless told
        otherwise. Raises EmbedError when an image failed (errors="return" returns Embeddings
        instead), ServiceError when the call did, OSError when a file cannot be read (it is an
        error of its image with errors="return").
        """
        check_errors(errors)
        check_batch(images)
        check_names("embed", options, EmbedOptions)
        encoded_options = encode_options(**options)
        data, unreadable = encoded_batch(images, errors)
        model = options.get("model", "")
        limit = Limit(self._timeout_of(options))
        info = self._model(model, limit)
        width = encoded_options.dimensions or info.dimension
        gathering = Gathering(len(data), width, errors, unreadable)
        request = self._one_request(data, info, model, encoded_options)
        with progress_of(data, options.get("progress", False)) as advance:
            if not data:
                pass
            elif request is not None:
                response = self._unary(lambda link: link.embedding.Embed, request, limit)
                for result in response.results:
                    gathering.add(result_of(result, result.index, response.fingerprint))
                advance(len(data))
            else:
                encoded_options.lane = encoded_options.lane or embedding_pb2.LANE_ONLINE
                flight = self._flight(info, model, encoded_options)
                whole = limit if "timeout" in options else Limit(None)
                for streamed in self._stream(data, flight, whole, limit.seconds):
                    gathering.add(streamed)
                    advance(1)
        return gathering.finish()

    def embed_stream(
        self, images: Iterable[ImageLike], **options: Unpack[StreamOptions]
    ) -> Generator[Result, None, None]:
        """A result for each image as soon as it exists, in bounded memory. Options: StreamOptions.

        `images` is read on another thread, a little ahead of the results. A file that cannot be
        read is an error of its image. When the server goes away, what it has not answered is sent
        again, to the same server once it is back, or to another.

        Raises ServiceError when the stream as a whole fails, and what the iterable raises, once
        what it gave before is answered. Leaving the loop early cancels what is on its way.
        """
        check_batch(images)
        check_names("embed_stream", options, StreamOptions)
        encoded_options = encode_options(**options)
        model = options.get("model", "")
        progress = options.get("progress", False)
        patience = self._timeout_of(options)

        def results() -> Generator[Result, None, None]:
            info = self._model(model, Limit(patience))
            with progress_of(images, progress) as advance:
                flight = self._flight(info, model, encoded_options)
                for result in self._stream(images, flight, Limit(None), patience):
                    advance(1)
                    yield result

        return results()

    def models(self) -> list[embedding_pb2.Model]:
        """The models that the server serves."""
        request = embedding_pb2.ListModelsRequest()
        return list(self._unary(lambda link: link.embedding.ListModels, request).models)

    def explain(
        self, image: ImageLike, **options: Unpack[ExplainOptions]
    ) -> embedding_pb2.ImageExplanation:
        """What the server does to an image before the model sees it. Options: ExplainOptions.

        Raises ServiceError with the image's reason where it cannot be used.
        """
        check_names("explain", options, ExplainOptions)
        request = embedding_pb2.ExplainImageRequest(
            model=options.get("model", ""),
            options=encode_options(**options),
            data=encoded(image),
        )
        explanation: embedding_pb2.ImageExplanation = self._unary(
            lambda link: link.embedding.ExplainImage, request
        )
        return explanation

    def health(self, service: str = "") -> bool:
        """Whether the server (or a service, or a model, by its name) is SERVING.

        Raises ServiceError where nobody listens: after a few tries, it does not wait for them.
        """
        check_service(service)
        request = health_pb2.HealthCheckRequest(service=service)
        response = self._unary(lambda link: link.health.Check, request, most=PROBES)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def wait_until_serving(self, timeout: float, service: str = "") -> None:
        """Returns once the service is SERVING at every address, also when nobody listens yet.
        Raises TimeoutError.

        A push from the server ends the wait; nothing polls.
        """
        check_wait(timeout, service)
        deadline = time.monotonic() + timeout
        for target, link in zip(self._targets[: self._address_count], self._links, strict=False):
            while not self._watch(link, service, deadline - time.monotonic()):
                # A server that takes connections and drops them is not asked without a pause.
                if self._closed.wait(0.05):
                    raise closed_error()
                if time.monotonic() >= deadline:
                    raise TimeoutError(never_served(service, target, timeout))

    def _watch(self, link: Link, service: str, timeout: float) -> bool:
        """Until the service is SERVING, the watch breaks or the time is over."""
        self._check_open()
        request = health_pb2.HealthCheckRequest(service=service)
        watch = link.health.Watch(
            request, timeout=timeout, wait_for_ready=True, metadata=self._metadata()
        )
        try:
            return any(is_serving(response, service) for response in watch)
        except grpc.RpcError as error:
            raise_unless_away(error)
            return False
        finally:
            watch.cancel()

    def _model(self, name: str, limit: Limit) -> embedding_pb2.Model:
        if name not in self._models:
            request = embedding_pb2.GetModelRequest(name=name)
            self._models[name] = self._unary(lambda link: link.embedding.GetModel, request, limit)
        return self._models[name]

    def _unary(
        self,
        method: Callable[[Link], Callable[..., _T]],
        request: Any,
        limit: Limit | None = None,
        most: int | None = None,
    ) -> _T:
        """`limit`: None is the client's timeout from now on. `most`: see `_attempts`."""
        limit = limit or Limit(self._timeout)
        attempts = self._attempts(limit, most)
        while True:
            self._check_open()
            channel = self._rotation.take()
            call = method(self._links[channel])
            try:
                response = call(request, timeout=limit.left(), metadata=self._metadata())
            except grpc.RpcError as rpc_error:
                error = service_error(rpc_error)
                pause = self._pause(channel, error, attempts)
                if self._closed.wait(pause or 0):
                    raise closed_error() from rpc_error
                if pause is None:
                    raise self._explained(error, limit) from rpc_error
            else:
                self._rotation.worked(channel)
                return response

    def _stream(
        self,
        images: Iterable[ImageLike],
        flight: Flight,
        limit: Limit,
        patience: float | None,
    ) -> Iterator[Result]:
        """`limit`: of the whole; `patience`: for a server that went away."""
        attempts = self._stream_attempts(limit, patience)
        answered = False
        with _Sender(images, flight) as sender:
            while True:
                self._check_open()
                channel = self._rotation.take()
                call = self._links[channel].embedding.EmbedStream(
                    sender.requests(), timeout=limit.left(), metadata=self._metadata()
                )
                try:
                    for message in call:
                        result = sender.answer(message)
                        attempts.begin_anew()
                        if not answered:
                            self._rotation.worked(channel)
                        answered = True
                        yield result
                    sender.finish()
                    return
                except grpc.RpcError as rpc_error:
                    error = service_error(rpc_error)
                    pause = self._pause(channel, error, attempts)
                    if self._closed.wait(pause or 0):
                        raise closed_error() from rpc_error
                    if pause is None:
                        raise self._explained(error, limit) from rpc_error
                finally:
                    call.cancel()
                if sender.is_finished:
                    sender.finish()
                    return
                if answered and not self._rotation.has_good():
                    self._wait_until_connected(attempts.left())
                sender.restart()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise closed_error()

    def _wait_until_connected(self, timeout: float | None) -> None:
        """Until a server answers, the time is over, or `close`."""
        ended = threading.Event()
        calls = [
            link.embedding.GetModel.future(
                embedding_pb2.GetModelRequest(),
                timeout=timeout,
                wait_for_ready=True,
                metadata=self._metadata(),
            )
            for link in self._links
        ]
        for call in calls:
            call.add_done_callback(lambda call: ended.set())
        ended.wait()
        for channel, call in enumerate(calls):
            if call.done() and call.code() is grpc.StatusCode.OK:
                self._rotation.worked(channel)
            call.cancel()


class _Sender:
    """A flight between threads: one reads the caller's iterable, gRPC's sends, the caller's own
    takes the results."""

    def __init__(self, images: Iterable[ImageLike], flight: Flight) -> None:
        self._flight = flight
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._ready = threading.Condition(lock)
        self._call = 0
        self._stopped = False
        self._failure: BaseException | None = None
        # A daemon: an iterable that never gives its next image holds up nobody.
        self._reader = threading.Thread(target=self._read, args=(images,), daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._room:
            self._stopped = True
            self._room.notify_all()
            self._ready.notify_all()

    def requests(self) -> Iterator[embedding_pb2.EmbedRequest]:
        """For the call that begins; it ends with the next `restart`."""
        return self._requests(self._call)

    def answer(self, message: embedding_pb2.EmbedResult) -> Result:
        with self._room:
            result = self._flight.answer(message)
            self._room.notify()
        return result

    def restart(self) -> None:
        with self._ready:
            self._call += 1
            self._flight.restart()
            self._ready.notify_all()

    @property
    def is_finished(self) -> bool:
        return self._flight.is_finished

    def finish(self) -> None:
        self._flight.check_all_answered()
        if self._failure is not None:
            raise self._failure

    def _read(self, images: Iterable[ImageLike]) -> None:
        try:
            for index, image in enumerate(images):
                data = self._flight.encode(index, image)
                with self._room:
                    self._room.wait_for(lambda: self._stopped or self._flight.has_room(data))  # noqa: B023
                    if self._stopped:
                        return
                    self._flight.add(data)
                    self._ready.notify_all()
        except BaseException as error:
            self._failure = error
        with self._ready:
            self._flight.complete = True
            self._ready.notify_all()

    def _requests(self, call: int) -> Iterator[embedding_pb2.EmbedRequest]:
        while True:
            with self._ready:
                self._ready.wait_for(
                    lambda: self._is_over(call) or self._flight.has_request or self._flight.complete
                )
                if self._is_over(call) or not self._flight.has_request:
                    return
                request = self._flight.next_request()
            yield request

    def _is_over(self, call: int) -> bool:
        return self._stopped or call != self._call
