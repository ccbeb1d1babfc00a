"""The bookkeeping of one stream: what was taken from the caller and is not answered yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pixembed._images import ImageLike, encoded, unreadable_file
from pixembed._results import Result, result_of
from pixembed.errors import ImageError, ServiceError
from pixembed.v1 import embedding_pb2

MESSAGE_OVERHEAD = 1024
"""Bytes of a message around one image, at most."""

_GATHERED_BYTES = 1 << 20
_GATHERED_IMAGES = 16
"""What is ready travels in one message, up to so much: a message costs more than its bytes."""


@dataclass(frozen=True)
class Item:
    """One image on its way."""

    index: int
    """By the caller's count."""
    data: bytes
    error: ImageError | None
    """Why it could not be sent. An empty image travels in its place, so that it keeps its place in
    the order and in the window; the server's answer is replaced by this."""


class Flight:
    """The images of one stream between the caller's iterable and their results.

    Survives the call that carries them: `restart` makes everything unanswered ready to be sent
    again. Does no IO and is not thread-safe: its client sees to that.
    """

    def __init__(
        self,
        model: str,
        options: embedding_pb2.EmbedOptions,
        *,
        max_images: int,
        max_bytes: int,
        max_message_bytes: int,
        message_images: int,
        message_bytes: int,
    ) -> None:
        self._model = model
        self._options = options
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._max_message_bytes = max_message_bytes
        self._message_images = min(message_images, _GATHERED_IMAGES)
        self._message_bytes = min(message_bytes, _GATHERED_BYTES)
        self._taken = 0
        self._bytes = 0
        self._unanswered: dict[int, Item] = {}
        self._ready: deque[Item] = deque()
        self._sent: dict[int, Item] = {}
        """By the server's count, which begins anew with each call."""
        self._sent_count = 0
        self.complete = False
        """Nothing more will be added."""

    def encode(self, index: int, image: ImageLike) -> bytes | ImageError:
        """May read a file; touches no state."""
        try:
            data = encoded(image, index)
        except OSError as error:
            return unreadable_file(error)
        if len(data) + MESSAGE_OVERHEAD <= self._max_message_bytes:
            return data
        return ImageError(
            "INVALID_ARGUMENT",
            "TOO_MANY_BYTES",
            f"the image has {len(data)} bytes; max_message_bytes of the client is "
            f"{self._max_message_bytes}",
        )

    def has_room(self, image: bytes | ImageError) -> bool:
        size = len(image) if isinstance(image, bytes) else 0
        return not self._unanswered or (
            len(self._unanswered) < self._max_images and self._bytes + size <= self._max_bytes
        )

    def add(self, image: bytes | ImageError) -> None:
        data, error = (image, None) if isinstance(image, bytes) else (b"", image)
        item = Item(self._taken, data, error)
        self._taken += 1
        self._bytes += len(data)
        self._unanswered[item.index] = item
        self._ready.append(item)

    @property
    def has_request(self) -> bool:
        return bool(self._ready)

    def next_request(self) -> embedding_pb2.EmbedRequest:
        """What is ready, as much as one message should carry."""
        request = embedding_pb2.EmbedRequest()
        if self._sent_count == 0:
            request.model = self._model
            request.options.CopyFrom(self._options)
        size = 0
        while self._ready and len(request.images) < self._message_images:
            item = self._ready[0]
            size += len(item.data) + MESSAGE_OVERHEAD
            if request.images and size > self._message_bytes:
                break
            self._ready.popleft()
            request.images.add(data=item.data)
            self._sent[self._sent_count] = item
            self._sent_count += 1
        return request

    def answer(self, message: embedding_pb2.EmbedResult) -> Result:
        item = self._sent.pop(message.index, None)
        if item is None:
            raise ServiceError(
                "DATA_LOSS",
                "",
                f"the server answered image {message.index}, which waits for no answer",
                None,
            )
        del self._unanswered[item.index]
        self._bytes -= len(item.data)
        if item.error is not None:
            return Result(item.index, None, item.error, "")
        result = result_of(message, item.index, message.fingerprint)
        if result.vector is not None:
            # Should another server go on with the stream, its vectors must be of the same space.
            self._options.expected_fingerprint = result.fingerprint
        return result

    def restart(self) -> None:
        """Another call begins."""
        self._ready = deque(self._unanswered.values())
        self._sent.clear()
        self._sent_count = 0

    @property
    def is_finished(self) -> bool:
        return self.complete and not self._unanswered

    def check_all_answered(self) -> None:
        if not self.is_finished:
            raise ServiceError(
                "DATA_LOSS",
                "",
                f"the server ended the stream with {len(self._unanswered)} images unanswered",
                None,
            )
