"""What queueing theory says of a server whose every request takes the same time: M/D/c.

Requests come at random (Poisson), wait in one line, and each of c servers takes one after the other for exactly D.
Since all take the same time they leave in the order of their coming, so that request i starts when it has come and
request i - c is done: start[i] = max(arrival[i], start[i - c] + D). That splits the line into c independent recursions
(Crommelin 1932, for the waiting time in M/D/c; Franx 2001, Operations Research Letters 29), each of which is a running
maximum. `responses` computes them for any arrivals, `predict` for a long drawn sequence of them. Of a few hundred
requests the 99th percentile scatters by a third from one draw to the next; what the very arrivals of a measurement
would have waited scatters with it.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

ARRIVALS = 2_000_000


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Of the response: waiting and service. In the unit of the service time."""

    mean: float
    p50: float
    p99: float


def responses(arrivals: npt.NDArray[np.float64], service: float, servers: int) -> npt.NDArray[np.float64]:
    """From coming to leaving, of each of the arrivals, which are times in order."""
    times = np.empty_like(arrivals)
    for first in range(servers):
        line = arrivals[first::servers]
        done = np.arange(1, len(line) + 1) * service
        # start[j] = max(line[j], start[j-1] + D), so start[j] - jD is the running maximum of line[j] - jD.
        times[first::servers] = np.maximum.accumulate(line - done) + done + service - line
    return times


def histogram(times: npt.NDArray[np.float64]) -> list[list[float]]:
    """[so much, how many], to three significant digits: as the load generator's histograms, intervals.add_histograms
    takes several."""
    values, counts = np.unique([float(f"{time:.3g}") for time in times], return_counts=True)
    return [[float(value), int(count)] for value, count in zip(values, counts, strict=True)]


def predict(load: float, service: float, servers: int, seed: int = 0) -> Prediction:
    """Under a load (arrival rate times service over servers) below 1. REQUIRES: 0 < load < 1."""
    if not 0 < load < 1:
        raise ValueError(f"a load must be between 0 and 1, not {load}")
    gaps = np.random.default_rng(seed).exponential(service / (load * servers), ARRIVALS)
    # It starts empty; the first tenth is left out.
    times = responses(np.cumsum(gaps), service, servers)[ARRIVALS // 10 :]
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return Prediction(float(times.mean()), float(p50), float(p99))
