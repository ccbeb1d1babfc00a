"""Servers that do what the real one does only in its worst hour, and one that speaks TLS for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from pixembed.v1 import embedding_pb2, embedding_pb2_grpc

VECTOR = embedding_pb2.Embedding(
    values=[4.5], dimensions=1, data_type=embedding_pb2.DATA_TYPE_FLOAT32
)


@contextmanager
def serving(
    service: embedding_pb2_grpc.EmbeddingServiceServicer,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[str]:
    """Its port on loopback."""
    server = grpc.server(ThreadPoolExecutor(8))
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(service, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield str(port)
    finally:
        server.stop(None).wait()


class Fake(embedding_pb2_grpc.EmbeddingServiceServicer):
    """One model of one dimension."""

    def GetModel(self, request: Any, context: grpc.ServicerContext) -> embedding_pb2.Model:  # noqa: N802
        return embedding_pb2.Model(name="fake", dimension=1)

    def Embed(self, request: Any, context: grpc.ServicerContext) -> embedding_pb2.EmbedResponse:  # noqa: N802
        results = [
            embedding_pb2.EmbedResult(index=i, embedding=VECTOR) for i in range(len(request.images))
        ]
        return embedding_pb2.EmbedResponse(results=results)


class Silent(Fake):
    """Says which models there are, and nothing else until its caller has gone."""

    def Embed(self, request: Any, context: grpc.ServicerContext) -> embedding_pb2.EmbedResponse:  # noqa: N802
        wait_for_end(context)
        return super().Embed(request, context)

    def EmbedStream(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[embedding_pb2.EmbedResult]:
        wait_for_end(context)
        yield from ()


def wait_for_end(context: grpc.ServicerContext) -> None:
    ended = threading.Event()
    if context.add_callback(ended.set):  # else it has ended
        ended.wait()


class Timing(Fake):
    """Notes the seconds that each call has left."""

    def __init__(self) -> None:
        self.left: list[tuple[str, Any]] = []

    def GetModel(self, request: Any, context: grpc.ServicerContext) -> embedding_pb2.Model:  # noqa: N802
        self.left.append(("GetModel", context.time_remaining()))
        return super().GetModel(request, context)

    def Embed(self, request: Any, context: grpc.ServicerContext) -> embedding_pb2.EmbedResponse:  # noqa: N802
        self.left.append(("Embed", context.time_remaining()))
        return super().Embed(request, context)


class Refusing(Fake):
    """Refuses a number of calls: overloaded, saying when to come back; without a time, draining."""

    def __init__(self, refusals: int, delay_seconds: int | None) -> None:
        self.calls = 0
        self._refusals = refusals
        if delay_seconds is None:
            self._code = grpc.StatusCode.UNAVAILABLE
            self._status = status_pb2.Status(code=14, message="the server is shutting down")
            self._status.details.add().Pack(error_details_pb2.ErrorInfo(reason="DRAINING"))
        else:
            delay = Duration(seconds=delay_seconds, nanos=1_000_000)
            self._code = grpc.StatusCode.RESOURCE_EXHAUSTED
            self._status = status_pb2.Status(code=8, message="the queue is full")
            self._status.details.add().Pack(error_details_pb2.ErrorInfo(reason="OVERLOADED"))
            self._status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))

    def _refuse(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.calls <= self._refusals:
            context.set_trailing_metadata(
                (("grpc-status-details-bin", self._status.SerializeToString()),)
            )
            context.abort(self._code, self._status.message)

    def Embed(self, request: Any, context: grpc.ServicerContext) -> embedding_pb2.EmbedResponse:  # noqa: N802
        self._refuse(context)
        return super().Embed(request, context)

    def EmbedStream(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[embedding_pb2.EmbedResult]:
        self._refuse(context)
        yield from answers(requests)


class Breaking(Fake):
    """Answers a number of images of each stream, then breaks it."""

    def __init__(self, answered: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.calls = 0
        self.first: list[embedding_pb2.EmbedRequest] = []
        """The first request of each stream."""
        self._answered = answered
        self._code = code

    def EmbedStream(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[embedding_pb2.EmbedResult]:
        self.calls += 1
        count = 0
        for answer in answers(requests, self.first.append):
            if count == self._answered:
                break
            yield answer
            count = int(answer.index) + 1
        if count == self._answered:
            context.abort(self._code, "broken")


def answers(
    requests: Iterator[Any], on_first: Callable[[Any], object] = lambda request: None
) -> Iterator[embedding_pb2.EmbedResult]:
    count = 0
    for request in requests:
        if count == 0:
            on_first(request)
        for _ in request.images:
            yield embedding_pb2.EmbedResult(index=count, embedding=VECTOR, fingerprint="f" * 64)
            count += 1
