"""How long, and after which pauses, a call is tried again: by a clock of its own."""

from __future__ import annotations

import itertools
from datetime import timedelta
from types import SimpleNamespace

import pytest

from pixembed import ServiceError
from pixembed._retry import Attempts, Limit

AWAY = ServiceError("UNAVAILABLE", "", "nobody listens", None)
OVERLOADED = ServiceError("RESOURCE_EXHAUSTED", "OVERLOADED", "full", None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def pauses(
        self, attempts: Attempts, error: ServiceError, most: int = 1000, answered: bool = True
    ) -> list[float]:
        """Those of a call that always fails so, until it is given up."""
        found: list[float] = []
        for _ in range(most):
            pause = attempts.pause(error, elsewhere=False, answered=answered)
            if pause is None:
                break
            found.append(pause)
            self.now += pause
        return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pixembed._retry.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize("error", [AWAY, OVERLOADED])
def test_tries_go_on_until_the_time_is_over(clock: Clock, error: ServiceError) -> None:
    begin = clock.now
    pauses = clock.pauses(Attempts(None, Limit(60)), error)
    assert 59.9 < clock.now - begin < 60
    for pause, shortest in zip(pauses, (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2), strict=False):
        assert shortest <= pause <= 1.5 * shortest
    assert max(pauses) <= 3
    assert len(pauses) < 50


def test_tries_without_a_limit_go_on_for_a_minute(clock: Clock) -> None:
    begin = clock.now
    attempts = Attempts(None, Limit(None))
    clock.now += 1000  # the call itself may take as long as it likes
    clock.pauses(attempts, AWAY)
    assert 1059.9 < clock.now - begin < 1060
    stream = Attempts(None, Limit(None), is_stream=True)
    assert len(clock.pauses(stream, AWAY)) < 50
    stream.begin_anew()  # there is such a server
    assert len(clock.pauses(stream, AWAY)) == 1000


def test_tries_are_as_many_as_are_allowed(clock: Clock) -> None:
    assert len(clock.pauses(Attempts(5, Limit(None)), AWAY)) == 4
    assert clock.pauses(Attempts(1, Limit(60)), AWAY) == []


def test_tries_are_few_where_nobody_has_ever_answered(clock: Clock) -> None:
    begin = clock.now
    for attempts in (Attempts(None, Limit(60)), Attempts(None, Limit(None), is_stream=True)):
        assert len(clock.pauses(attempts, AWAY, answered=False)) == 4
    assert clock.now - begin < 4
    assert len(clock.pauses(Attempts(9, Limit(60)), AWAY, answered=False)) == 8


def test_a_stream_has_its_patience_anew_after_each_result(clock: Clock) -> None:
    stream = Attempts(None, Limit(None), is_stream=True, patience=10)
    for _ in range(3):
        begin = clock.now
        clock.pauses(stream, AWAY)
        assert 9.9 < clock.now - begin < 10
        stream.begin_anew()
        clock.now += 100


@pytest.mark.parametrize("hint", [0.0, 0.2, 5.0])
def test_no_pause_is_shorter_than_the_server_says(clock: Clock, hint: float) -> None:
    error = ServiceError("RESOURCE_EXHAUSTED", "OVERLOADED", "full", timedelta(seconds=hint))
    pauses = clock.pauses(Attempts(None, Limit(60)), error)
    assert hint <= pauses[0] <= 1.5 * hint
    # One that is refused again and again asks less often all the same.
    backoffs = itertools.chain((0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6), itertools.repeat(2.0))
    for pause, backoff in zip(pauses, backoffs, strict=False):
        assert max(hint, backoff) <= pause <= 1.5 * max(hint, backoff)
    late = ServiceError("UNAVAILABLE", "DRAINING", "later", timedelta(seconds=70))
    assert clock.pauses(Attempts(None, Limit(60)), late) == []


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"])
def test_what_trying_again_does_not_mend_is_not_tried_again(clock: Clock, code: str) -> None:
    hint = None if code == "RESOURCE_EXHAUSTED" else timedelta(seconds=1)
    assert clock.pauses(Attempts(None, Limit(60)), ServiceError(code, "", "no", hint)) == []
