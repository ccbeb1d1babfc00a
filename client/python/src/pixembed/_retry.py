"""When a failed call is tried again, after which pause, and on which channel."""

from __future__ import annotations

import itertools
import random
import time

from pixembed.errors import ServiceError

_FIRST_BACKOFF = 0.05
_LONGEST_BACKOFF = 2.0
_AVOIDED = 1.0
"""Seconds for which an address that failed is the last choice."""


class Limit:
    """How long a call may take from now on, with all its requests and their repetitions."""

    def __init__(self, seconds: float | None) -> None:
        """None: for ever."""
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds until the time is over; None: it never is."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


class Attempts:
    """The tries of one call; of a stream, those since its last result.

    A call is tried again after UNAVAILABLE (and CANCELLED, with which gRPC itself ends calls when a
    server stops between two of its steps) with growing pauses, and wherever the server names a
    pause (RetryInfo), after that. Pauses are up to half longer, at random, so that refused callers
    do not come back together. A stream does not count the tries that met a server which is
    draining: that ends by itself.
    """

    def __init__(
        self,
        most: int,
        limit: Limit,
        *,
        is_stream: bool = False,
        patience: float | None = None,
    ) -> None:
        """`patience`: of a stream, seconds that it waits from its first failure on; None: as long
        as `limit` lets it."""
        self._most = most
        self._limit = limit
        self._is_stream = is_stream
        self._patience = patience
        self.begin_anew()

    def begin_anew(self) -> None:
        """With every result of a stream: the next failure is the first."""
        self._made = 1
        self._failed = 0
        self._waiting = Limit(None)

    def left(self) -> float | None:
        """Seconds until it is given up."""
        both = (self._limit.left(), self._waiting.left())
        return min((left for left in both if left is not None), default=None)

    def pause(self, error: ServiceError, elsewhere: bool) -> float | None:
        """Seconds before the next try; None if there shall be none. `elsewhere`: another address
        has not failed lately."""
        if self._failed == 0:
            self._waiting = Limit(self._patience)
        self._failed += 1
        if not (self._is_stream and error.reason == "DRAINING" and self._most > 1):
            self._made += 1
        if self._made > self._most:
            return None
        if error.retry_delay is not None and error.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
            pause = error.retry_delay.total_seconds()
        elif error.code not in ("UNAVAILABLE", "CANCELLED"):
            return None
        elif elsewhere:
            return 0.0
        else:
            pause = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(self._failed - 1, 10))
        pause *= random.uniform(1.0, 1.5)
        left = self.left()
        return pause if left is None or pause < left else None


class Rotation:
    """Which channel a call takes: each in turn, but those to an address that failed lately only
    when there is no other. Channel i leads to address i modulo `addresses`."""

    def __init__(self, channels: int, addresses: int) -> None:
        self._channels = channels
        self._turn = itertools.count()
        self._avoided_until = [0.0] * addresses

    def take(self) -> int:
        turn = next(self._turn)
        order = [(turn + i) % self._channels for i in range(self._channels)]
        return next((channel for channel in order if self._is_good(channel)), order[0])

    def failed(self, channel: int) -> None:
        self._avoided_until[channel % len(self._avoided_until)] = time.monotonic() + _AVOIDED

    def worked(self, channel: int) -> None:
        self._avoided_until[channel % len(self._avoided_until)] = 0.0

    def has_good(self) -> bool:
        """Whether some address has not failed lately."""
        return any(self._is_good(channel) for channel in range(len(self._avoided_until)))

    def _is_good(self, channel: int) -> bool:
        return self._avoided_until[channel % len(self._avoided_until)] <= time.monotonic()
