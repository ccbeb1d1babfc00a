"""The client for asyncio."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, overload

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
from pixembed._images import ImageLike, check_batch, check_images, encoded, encoded_batch
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
from pixembed.errors import ImageError, ServiceError, service_error
from pixembed.v1 import embedding_pb2

_END = object()


class AsyncClient(Connection):
    """A connection to pixembed servers, for the tasks of one event loop: that of its first call.

    Methods, arguments and what they raise are those of Client. Files are read, and pixels encoded,
    on other threads.
    """

    def _start(self) -> None:
        self._closed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @cached_property
    def _links(self) -> list[Link]:
        # A channel of grpc.aio belongs to the loop that runs when it is made.
        return self._open(grpc.aio)

    async def close(self) -> None:
        """Ends the connections and every call on them."""
        self._closed.set()
        if "_links" in self.__dict__:
            await asyncio.gather(*(link.channel.close() for link in self._links))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @overload
    async def embed(
        self,
        images: Iterable[ImageLike],
        *,
        errors: Literal["raise"] = "raise",
        **options: Unpack[EmbedOptions],
    ) -> Vectors: ...

    @overload
    async def embed(
        self,
        images: Iterable[ImageLike],
        *,
        errors: Literal["return"],
        **options: Unpack[EmbedOptions],
    ) -> Embeddings: ...

    async def embed(
        self,
        images: Iterable[ImageLike],
        *,
        errors: Errors = "raise",
        **options: Unpack[EmbedOptions],
    ) -> Vectors | Embeddings:
        """As Client.embed."""
        check_errors(errors)
        check_batch(images)
        check_names("embed", options, EmbedOptions)
        encoded_options = encode_options(**options)
        data, unreadable = await asyncio.to_thread(encoded_batch, images, errors)
        model = options.get("model", "")
        limit = Limit(self._timeout_of(options))
        info = await self._model(model, limit)
        width = encoded_options.dimensions or info.dimension
        gathering = Gathering(len(data), width, errors, unreadable)
        request = self._one_request(data, info, model, encoded_options)
        with progress_of(data, options.get("progress", False)) as advance:
            if not data:
                pass
            elif request is not None:
                response = await self._unary(lambda link: link.embedding.Embed, request, limit)
                for result in response.results:
                    gathering.add(result_of(result, result.index, response.fingerprint))
                advance(len(data))
            else:
                encoded_options.lane = encoded_options.lane or embedding_pb2.LANE_ONLINE
                flight = self._flight(info, model, encoded_options)
                whole = limit if "timeout" in options else Limit(None)
                async for streamed in self._stream(data, flight, whole, limit.seconds):
                    gathering.add(streamed)
                    advance(1)
        return gathering.finish()

    def embed_stream(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[Result, None]:
        """As Client.embed_stream. `images` may be an asynchronous iterable; one that is not, nor a
        sequence, is read on another thread. Who leaves the loop early closes what is returned
        (contextlib.aclosing), or it ends when it is collected.
        """
        check_images(images)
        check_names("embed_stream", options, StreamOptions)
        encoded_options = encode_options(**options)
        model = options.get("model", "")
        progress = options.get("progress", False)
        patience = self._timeout_of(options)

        async def results() -> AsyncGenerator[Result, None]:
            info = await self._model(model, Limit(patience))
            flight = self._flight(info, model, encoded_options)
            stream = self._stream(images, flight, Limit(None), patience)
            try:
                with progress_of(images, progress) as advance:
                    async for result in stream:
                        advance(1)
                        yield result
            finally:
                await stream.aclose()

        return results()

    async def models(self) -> list[embedding_pb2.Model]:
        """As Client.models."""
        request = embedding_pb2.ListModelsRequest()
        return list((await self._unary(lambda link: link.embedding.ListModels, request)).models)

    async def explain(
        self, image: ImageLike, **options: Unpack[ExplainOptions]
    ) -> embedding_pb2.ImageExplanation:
        """As Client.explain."""
        check_names("explain", options, ExplainOptions)
        request = embedding_pb2.ExplainImageRequest(
            model=options.get("model", ""),
            options=encode_options(**options),
            data=await asyncio.to_thread(encoded, image),
        )
        explanation: embedding_pb2.ImageExplanation = await self._unary(
            lambda link: link.embedding.ExplainImage, request
        )
        return explanation

    async def health(self, service: str = "") -> bool:
        """As Client.health."""
        check_service(service)
        request = health_pb2.HealthCheckRequest(service=service)
        response = await self._unary(lambda link: link.health.Check, request, most=PROBES)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    async def wait_until_serving(self, timeout: float, service: str = "") -> None:
        """As Client.wait_until_serving."""
        check_wait(timeout, service)
        self._check_open()
        deadline = time.monotonic() + timeout
        for target, link in zip(self._targets[: self._address_count], self._links, strict=False):
            while not await self._watch(link, service, deadline - time.monotonic()):
                # A server that takes connections and drops them is not asked without a pause.
                if await self._closed_within(0.05):
                    raise closed_error()
                if time.monotonic() >= deadline:
                    raise TimeoutError(never_served(service, target, timeout))

    async def _watch(self, link: Link, service: str, timeout: float) -> bool:
        """Until the service is SERVING, the watch breaks or the time is over."""
        self._check_open()
        request = health_pb2.HealthCheckRequest(service=service)
        watch = link.health.Watch(
            request, timeout=timeout, wait_for_ready=True, metadata=self._metadata()
        )
        try:
            async for response in watch:
                if is_serving(response, service):
                    return True
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise
        except grpc.RpcError as error:
            raise_unless_away(error)
        finally:
            watch.cancel()
        return False

    async def _model(self, name: str, limit: Limit) -> embedding_pb2.Model:
        if name not in self._models:
            request = embedding_pb2.GetModelRequest(name=name)
            self._models[name] = await self._unary(
                lambda link: link.embedding.GetModel, request, limit
            )
        return self._models[name]

    async def _unary(
        self,
        method: Callable[[Link], Callable[..., Any]],
        request: Any,
        limit: Limit | None = None,
        most: int | None = None,
    ) -> Any:
        """`limit`: None is the client's timeout from now on. `most`: see `_attempts`."""
        limit = limit or Limit(self._timeout)
        attempts = self._attempts(limit, most)
        while True:
            self._check_open()
            channel = self._rotation.take()
            call = method(self._links[channel])
            try:
                response = await call(request, timeout=limit.left(), metadata=self._metadata())
            except asyncio.CancelledError:
                self._raise_if_closed()
                raise
            except grpc.RpcError as rpc_error:
                error = service_error(rpc_error)
                pause = self._pause(channel, error, attempts)
                if await self._closed_within(pause or 0):
                    raise closed_error() from rpc_error
                if pause is None:
                    raise self._explained(error, limit) from rpc_error
            else:
                self._rotation.worked(channel)
                return response

    async def _stream(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        flight: Flight,
        limit: Limit,
        patience: float | None,
    ) -> AsyncGenerator[Result, None]:
        """`limit`: of the whole; `patience`: for a server that went away."""
        attempts = self._stream_attempts(limit, patience)
        answered = False
        async with _Sender(images, flight) as sender:
            while True:
                self._check_open()
                channel = self._rotation.take()
                call = self._links[channel].embedding.EmbedStream(
                    sender.requests(), timeout=limit.left(), metadata=self._metadata()
                )
                try:
                    async for message in call:
                        result = sender.answer(message)
                        attempts.begin_anew()
                        if not answered:
                            self._rotation.worked(channel)
                        answered = True
                        yield result
                    sender.finish()
                    return
                except asyncio.CancelledError:
                    self._raise_if_closed()
                    raise
                except grpc.RpcError as rpc_error:
                    error = _stream_error(rpc_error)
                    pause = self._pause(channel, error, attempts)
                    if await self._closed_within(pause or 0):
                        raise closed_error() from rpc_error
                    if pause is None:
                        raise self._explained(error, limit) from rpc_error
                finally:
                    call.cancel()
                if sender.is_finished:
                    sender.finish()
                    return
                if answered and not self._rotation.has_good():
                    await self._wait_until_connected(attempts.left())
                sender.restart()

    async def _wait_until_connected(self, timeout: float | None) -> None:
        """Until a server answers, the time is over, or `close`."""

        async def ask(channel: int) -> None:
            await self._links[channel].embedding.GetModel(
                embedding_pb2.GetModelRequest(),
                timeout=timeout,
                wait_for_ready=True,
                metadata=self._metadata(),
            )
            self._rotation.worked(channel)

        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(ask(i)) for i in range(len(self._links))
        ]
        waiting.append(asyncio.create_task(self._closed_within(timeout)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(*waiting)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise closed_error()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(
                "this AsyncClient belongs to the event loop of its first call; make one for each"
            )

    def _raise_if_closed(self) -> None:
        """For what `close` cancelled: to the caller's task it must not look like its own end."""
        task = asyncio.current_task()
        # Python 3.10 does not tell whether the task itself was cancelled.
        cancelling = getattr(task, "cancelling", lambda: 0)()
        if self._closed.is_set() and not cancelling:
            raise closed_error()

    async def _closed_within(self, seconds: float | None) -> bool:
        if self._closed.is_set():
            return True
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True


def _stream_error(error: grpc.RpcError) -> ServiceError:
    """The error of a stream. A message that could not be sent hides the status that the server
    gave, or the broken connection, behind one of grpc.aio's own making; what was hidden comes out
    in the next try, in which nothing is sent ahead of the first answer."""
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core":
        return ServiceError("UNAVAILABLE", "", "the stream broke while images were sent", None)
    return service_error(error)


class _Sender:
    """A flight between tasks: one reads the caller's iterable, gRPC's sends, the caller's own
    takes the results."""

    def __init__(
        self, images: Iterable[ImageLike] | AsyncIterable[ImageLike], flight: Flight
    ) -> None:
        self._images = images
        self._flight = flight
        self._room = asyncio.Event()
        self._ready = asyncio.Event()
        self._call = 0
        self._holding = False
        """Only one message is sent until an answer comes: after a failure."""
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        # Apart from the calls: an iterable must not feel that one of them broke.
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.restart()
        await _end(self._reader)

    def requests(self) -> AsyncIterator[embedding_pb2.EmbedRequest]:
        """For the call that begins; it ends with the next `restart`."""
        return self._requests(self._call)

    def answer(self, message: embedding_pb2.EmbedResult) -> Result:
        result = self._flight.answer(message)
        self._room.set()
        if self._holding:
            self._holding = False
            self._ready.set()
        return result

    def restart(self) -> None:
        self._call += 1
        self._holding = True
        self._flight.restart()
        self._ready.set()

    @property
    def is_finished(self) -> bool:
        return self._flight.is_finished

    def finish(self) -> None:
        self._flight.check_all_answered()
        if self._failure is not None:
            raise self._failure

    async def _read(self) -> None:
        try:
            async for data in _encoded_images(self._images, self._flight.encode):
                while not self._flight.has_room(data):
                    self._room.clear()
                    await self._room.wait()
                self._flight.add(data)
                self._ready.set()
        except Exception as error:
            self._failure = error
        self._flight.complete = True
        self._ready.set()

    async def _requests(self, call: int) -> AsyncIterator[embedding_pb2.EmbedRequest]:
        sent = False
        while call == self._call:
            if self._flight.has_request and not (sent and self._holding):
                sent = True
                yield self._flight.next_request()
            elif self._flight.complete and not self._flight.has_request:
                return
            else:
                self._ready.clear()
                await self._ready.wait()


async def _encoded_images(
    images: Iterable[ImageLike] | AsyncIterable[ImageLike],
    encode: Callable[[int, ImageLike], bytes | ImageError],
) -> AsyncIterator[bytes | ImageError]:
    count = itertools.count()

    async def encode_aside(image: ImageLike) -> bytes | ImageError:
        index = next(count)
        if isinstance(image, bytes):
            return encode(index, image)
        return await asyncio.to_thread(encode, index, image)

    if isinstance(images, AsyncIterable):
        async for image in images:
            yield await encode_aside(image)
    elif isinstance(images, Sequence):
        for image in images:
            yield await encode_aside(image)
    else:
        iterator = iter(images)

        def take() -> Any:
            image: Any = next(iterator, _END)
            return image if image is _END else encode(next(count), image)

        while (data := await asyncio.to_thread(take)) is not _END:
            yield data


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
