"""M/D/c against an independent simulation and against what is known in closed form."""

import heapq
import math

import numpy as np
import pytest

from harness.queueing import histogram, predict, responses


def one_by_one(arrivals: list[float], service: float, servers: int) -> list[float]:
    """First come, first served, by the server that is free first."""
    free = [0.0] * servers
    times = []
    for arrival in arrivals:
        done = max(arrival, heapq.heappop(free)) + service
        heapq.heappush(free, done)
        times.append(done - arrival)
    return times


@pytest.mark.parametrize("servers", [1, 2, 3, 7])
def test_the_recursion_is_a_line_before_so_many_servers(servers: int) -> None:
    arrivals = np.cumsum(np.random.default_rng(1).exponential(1 / (0.9 * servers), 20_001))
    np.testing.assert_allclose(responses(arrivals, 1.0, servers), one_by_one(list(arrivals), 1.0, servers), atol=1e-7)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_one_server_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    assert predict(load, 2.0, 1).mean == pytest.approx(2 * (1 + load / (2 * (1 - load))), rel=0.01)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_server_has_erlangs_distribution(load: float) -> None:
    def waits_at_most(time: float) -> float:
        """Erlang 1909, service time 1."""
        terms = [
            (-load * (time - k)) ** k / math.factorial(k) * math.exp(load * (time - k)) for k in range(int(time) + 1)
        ]
        return (1 - load) * sum(terms)

    prediction = predict(load, 1.0, 1)
    assert waits_at_most(prediction.p50 - 1) == pytest.approx(0.5, abs=0.005)
    assert waits_at_most(prediction.p99 - 1) == pytest.approx(0.99, abs=0.001)


def test_more_servers_wait_less_for_the_same_service_time() -> None:
    waits = [predict(0.8, 1.0, servers).mean - 1 for servers in (1, 2, 4)]
    assert waits[0] > 1.8 * waits[1] > 3.24 * waits[2] > 0  # a little less than c times


def test_a_histogram_counts_what_is_alike_in_three_digits() -> None:
    assert histogram(np.array([0.012341, 1234.4, 0.012344, 1230.0])) == [[0.0123, 2], [1230.0, 2]]
    assert histogram(np.array([])) == []


def test_time_has_no_unit() -> None:
    one, thousand = predict(0.7, 1.0, 2), predict(0.7, 1000.0, 2)
    assert thousand.p99 == pytest.approx(1000 * one.p99)


@pytest.mark.parametrize("load", [0.0, 1.0, 1.5])
def test_a_load_that_no_queue_carries_is_refused(load: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        predict(load, 1.0, 1)
