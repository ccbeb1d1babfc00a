"""When a failed call is tried again, after which pause, and on which channel."""

from __future__ import annotations

import itertools
import random
import time

from pixembed.errors import ServiceError

_FIRST_BACKOFF = 0.05
_LONGEST_BACKOFF = 2.0
PROBES = 5
"""Tries, within a second, of what is better answered soon, and of servers that were never there."""
_PATIENCE = 60.0
"""Seconds for which what fails is tried again where nobody said for how long."""
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
    server stops between two of its steps), after OVERLOADED, and wherever the server names a pause
    (RetryInfo). Pauses grow; none is shorter than the server said, which is the first one by
    itself. They are up to half longer, at random, so that refused callers do not come back
    together.

    Tries go on until the time is over, or there were as many as are allowed: PROBES where nobody
    has ever answered and `max_attempts` does not say, for such an address is probably wrong. A
    stream does not count those that met a server which is draining: that ends by itself.
    """

    def __init__(
        self,
        most: int | None,
        limit: Limit,
        *,
        is_stream: bool = False,
        patience: float | None = None,
    ) -> None:
        """`patience`: of a stream, seconds that it waits from its first failure on. None of the
        three: a minute from the first failure on; a stream that had a result waits for ever."""
        self._most = most
        self._limit = limit
        self._is_stream = is_stream
        self._is_boundless = most is None and limit.seconds is None and patience is None
        self._patience = _PATIENCE if self._is_boundless else patience
        self._forget_failures()

    def begin_anew(self) -> None:
        """With every result of a stream: the next failure is the first."""
        if self._is_boundless:
            self._patience = None
        self._forget_failures()

    def _forget_failures(self) -> None:
        self._made = 1
        self._failed = 0
        self._waiting = Limit(None)

    def left(self) -> float | None:
        """Seconds until it is given up."""
        both = (self._limit.left(), self._waiting.left())
        return min((left for left in both if left is not None), default=None)

    def pause(self, error: ServiceError, elsewhere: bool, answered: bool) -> float | None:
        """Seconds before the next try; None if there shall be none. `elsewhere`: another address
        has not failed lately; `answered`: see Rotation."""
        if self._failed == 0:
            self._waiting = Limit(self._patience)
        self._failed += 1
        if not (self._is_stream and error.reason == "DRAINING" and self._most != 1):
            self._made += 1
        most = PROBES if self._most is None and not answered else self._most
        if most is not None and self._made > most:
            return None
        away = error.code in ("UNAVAILABLE", "CANCELLED")
        left = self.left()
        if error.retry_delay is not None and error.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
            pause = max(error.retry_delay.total_seconds(), _backoff(self._failed - 1))
        elif away and elsewhere:
            pause = 0.0
        elif away or error.reason == "OVERLOADED":
            pause = _backoff(self._failed)
            if left is not None:  # the last tries are not lost to a long pause
                pause = min(pause, max(_FIRST_BACKOFF, left / 2))
        else:
            return None
        pause *= random.uniform(1.0, 1.5)
        return pause if left is None or pause < left else None


def _backoff(failures: int) -> float:
    if failures == 0:
        return 0.0
    return min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(failures - 1, 10))


class Rotation:
    """Which channel a call takes: each in turn, but those to an address that failed lately only
    when there is no other. Channel i leads to address i modulo `addresses`."""

    def __init__(self, channels: int, addresses: int) -> None:
        self._channels = channels
        self._turn = itertools.count()
        self._avoided_until = [0.0] * addresses
        self.answered = False
        """Whether a server has answered a call, be it with an error of its own."""

    def take(self) -> int:
        turn = next(self._turn)
        order = [(turn + i) % self._channels for i in range(self._channels)]
        return next((channel for channel in order if self._is_good(channel)), order[0])

    def failed(self, channel: int) -> None:
        self._avoided_until[channel % len(self._avoided_until)] = time.monotonic() + _AVOIDED

    def worked(self, channel: int) -> None:
        self.answered = True
        self._avoided_until[channel % len(self._avoided_until)] = 0.0

    def has_good(self) -> bool:
        """Whether some address has not failed lately."""
        return any(self._is_good(channel) for channel in range(len(self._avoided_until)))

    def _is_good(self, channel: int) -> bool:
        return self._avoided_until[channel % len(self._avoided_until)] <= time.monotonic()
