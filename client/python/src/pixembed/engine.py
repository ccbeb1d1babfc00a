"""The engine in this process: no server, no network."""

from __future__ import annotations

import logging
import os
import re
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypedDict, overload

from typing_extensions import Self, Unpack

from pixembed._images import ImageLike, check_batch, encoded, encoded_batch, unreadable_file
from pixembed._library import Library
from pixembed._options import (
    EmbedOptions,
    ExplainOptions,
    StreamOptions,
    check_names,
    check_timeout,
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
from pixembed.errors import ImageError, ServiceError
from pixembed.v1 import embedding_pb2

Directory: TypeAlias = "str | os.PathLike[str]"

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LOGGER = logging.getLogger("pixembed")
_HEARD = 200
"""Milliseconds after which a waiting call looks for Ctrl-C."""


class EngineOptions(TypedDict, total=False):
    """Flags of pixembed-server, under their names and with their defaults: see the README."""

    device: str
    backend: Literal["torchvision", "pil"]
    verify: Literal["enforce", "warn", "off"]
    deterministic: bool
    format: Literal["auto", "safetensors", "torchscript", "aotinductor"]
    trust_model_code: bool
    precision: Literal["float32", "bfloat16", "int16", "int8", "auto"]
    precision_min_cosine: float
    cuda_graphs: bool
    fused_kernels: bool
    cores: int
    decode_threads: int
    workers_per_device: int
    max_batch_size: int
    max_queue_delay: str
    max_queued_images: int
    max_queued_bytes: int | str
    max_decoded_bytes: int | str
    max_image_bytes: int | str
    max_image_pixels: int
    max_image_side: int
    stream_window: int


class Engine:
    """pixembed's engine, loaded into this process. May be shared by threads.

    `model`: a model directory in Hugging Face's layout, or several by their names, of which the
    first is the default. `library`: where libpixembed_engine.so is; None looks for it.
    `timeout`: seconds for which the images of one `embed` may wait and be worked on, where it says
    nothing else; later ones fail with DEADLINE_EXCEEDED. Options: EngineOptions. What is loaded is
    told to the logger "pixembed".

    Raises TypeError for an option that is none, OSError where the library cannot be loaded,
    ServiceError where the model cannot be served, with the server's reason. It belongs to the
    process that made it: a fork of that cannot use it, nor make another. Unpickled in another
    process it loads the model there.
    """

    def __init__(
        self,
        model: Directory | Mapping[str, Directory],
        *,
        library: Directory | None = None,
        timeout: float | None = None,
        **options: Unpack[EngineOptions],
    ) -> None:
        self._arguments = {"model": model, "library": library, "timeout": timeout, **options}
        check_names("Engine", options, EngineOptions)
        check_timeout(timeout)
        self._timeout = timeout
        flags = _flags(model, options)
        self._library = Library(library)
        handle = self._library.open(flags, _log)
        # At the end of the program, too, and before Python's own threads are gone.
        self._close = weakref.finalize(self, self._library.close, handle)
        self._handle = handle
        self._lock = threading.Lock()
        self._models = embedding_pb2.ListModelsResponse.FromString(self._library.models(handle))

    def __reduce__(self) -> tuple[Any, ...]:
        return _engine, (type(self), self._arguments)

    def close(self) -> None:
        """Cancels what is on its way and gives the memory back."""
        with self._lock:
            self._close()

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
        """As `Client.embed`; `timeout` as of the Engine."""
        check_errors(errors)
        check_batch(images)
        check_names("embed", options, EmbedOptions)
        encoded_options = encode_options(**options)
        encoded_options.lane = encoded_options.lane or embedding_pb2.LANE_ONLINE
        data, unreadable = encoded_batch(images, errors)
        model = options.get("model", "")
        stream = self._open(model, encoded_options)
        width = encoded_options.dimensions or self._model(model).dimension
        gathering = Gathering(len(data), width, errors, unreadable)
        with progress_of(data, options.get("progress", False)) as advance:
            for result in stream.results(data, options.get("timeout", self._timeout)):
                gathering.add(result)
                advance(1)
        return gathering.finish()

    def embed_stream(
        self, images: Iterable[ImageLike], **options: Unpack[StreamOptions]
    ) -> Generator[Result, None, None]:
        """As `Client.embed_stream`; `timeout` has no effect, as no server can go away."""
        check_batch(images)
        check_names("embed_stream", options, StreamOptions)
        encoded_options = encode_options(**options)
        model = options.get("model", "")
        progress = options.get("progress", False)

        def results() -> Generator[Result, None, None]:
            stream = self._open(model, encoded_options)
            with progress_of(images, progress) as advance:
                for result in stream.results(images, None):
                    advance(1)
                    yield result

        return results()

    def models(self) -> list[embedding_pb2.Model]:
        """The models that were loaded, with their fingerprints."""
        return list(self._models.models)

    def explain(
        self, image: ImageLike, **options: Unpack[ExplainOptions]
    ) -> embedding_pb2.ImageExplanation:
        """As `Client.explain`."""
        check_names("explain", options, ExplainOptions)
        request = embedding_pb2.ExplainImageRequest(
            model=options.get("model", ""), options=encode_options(**options), data=encoded(image)
        )
        with self._lock:
            response = self._library.explain(self._alive(), request.SerializeToString())
        explanation = embedding_pb2.ImageExplanation()
        explanation.ParseFromString(response)
        return explanation

    def _open(self, model: str, options: embedding_pb2.EmbedOptions) -> _Stream:
        request = embedding_pb2.EmbedRequest(model=model, options=options)
        with self._lock:
            handle = self._library.open_stream(self._alive(), request.SerializeToString())
        return _Stream(self._library, handle)

    def _alive(self) -> int:
        if not self._close.alive:
            raise ServiceError("CANCELLED", "CANCELLED", "the engine is closed", None)
        return self._handle

    def _model(self, name: str) -> embedding_pb2.Model:
        """REQUIRES: a stream of that model was opened."""
        return next(model for model in self.models() if name in ("", model.name))


class _Stream:
    """A stream of the library. Its handle lives for as long as a thread knows this object."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library = library
        self._handle = handle
        self._unreadable: dict[int, ImageError] = {}
        self._failure: BaseException | None = None
        # Not at the end of the program, when another thread may still be in a call.
        weakref.finalize(self, library.close_stream, handle).atexit = False

    def results(self, images: Iterable[ImageLike], timeout: float | None) -> Iterator[Result]:
        """A result for each image; raises what `images` raises once what it gave is answered."""
        timeout_ms = -1 if timeout is None else max(0, round(timeout * 1000))
        # A daemon: an iterable that never gives its next image holds up nobody.
        reader = threading.Thread(target=self._read, args=(images, timeout_ms), daemon=True)
        reader.start()
        try:
            while True:
                taken = self._library.take(self._handle, _HEARD)
                if taken is None:
                    break
                response = embedding_pb2.EmbedResponse.FromString(taken)
                for message in response.results:
                    yield self._result(message, response.fingerprint)
        finally:
            self._library.cancel(self._handle)
        if self._failure is not None:
            raise self._failure

    def _result(self, message: embedding_pb2.EmbedResult, fingerprint: str) -> Result:
        error = self._unreadable.pop(message.index, None)
        if error is not None:
            return Result(message.index, None, error, "")
        known = fingerprint if message.HasField("embedding") else ""
        return result_of(message, message.index, known)

    def _read(self, images: Iterable[ImageLike], timeout_ms: int) -> None:
        try:
            for index, image in enumerate(images):
                try:
                    data = encoded(image, index)
                except OSError as error:
                    # An empty image keeps its place; its error is replaced by this.
                    self._unreadable[index] = unreadable_file(error)
                    data = b""
                self._library.submit(self._handle, data, timeout_ms)
        except BaseException as error:
            self._failure = error
        self._library.end(self._handle)


def _engine(kind: type[Engine], arguments: dict[str, Any]) -> Engine:
    return kind(**arguments)


def _flags(model: Directory | Mapping[str, Directory], options: Mapping[str, object]) -> list[str]:
    models = model if isinstance(model, Mapping) else {"default": model}
    if not models:
        raise ValueError("model is empty; it is a model directory, or several by their names")
    flags = []
    for name, directory in models.items():
        path = os.fspath(directory)
        if not path:
            raise ValueError("the model directory is empty; it is one in Hugging Face's layout")
        if "," in path or "\0" in path:
            raise ValueError(f"the model directory {path!r} has a comma or NUL in its name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"a model is named {name!r}; it has letters, digits, '.', '_' and '-'")
        flags.append(f"--model={name}={path}")
    for name, value in options.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        flags.append(f"--{name}={text}")
    return flags


def _log(warning: bool, line: str) -> None:
    _LOGGER.log(logging.WARNING if warning else logging.INFO, "%s", line)
