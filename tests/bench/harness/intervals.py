"""How sure a figure is: medians and their bootstrap intervals over rounds, percentiles of histograms."""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 10_000
# A round whose calibration is below this share of the run's best was disturbed.
DISTURBED_BELOW = 0.95
# With fewer undisturbed rounds than this, all rounds count.
LEAST_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The median of one value a round, with the interval that holds it with CONFIDENCE."""

    median: float
    low: float
    high: float
    rounds: int

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """The median and its percentile bootstrap interval (Efron 1979): rounds drawn with replacement.

    Of one round the interval is the value itself, and says nothing.
    """
    rounds = np.asarray(values, float)
    draws = np.random.default_rng(seed).integers(len(rounds), size=(RESAMPLES, len(rounds)))
    medians = np.median(rounds[draws], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Estimate(statistics.median(values), float(low), float(high), len(rounds))


def undisturbed(calibrations: Sequence[float], best: float) -> list[int]:
    """Which rounds count: those whose calibration is near the run's best, or all if these are too few."""
    near = [i for i, value in enumerate(calibrations) if value >= DISTURBED_BELOW * best]
    return near if len(near) >= LEAST_ROUNDS else list(range(len(calibrations)))


def add_histograms(histograms: Iterable[Sequence[Sequence[float]]]) -> list[tuple[float, int]]:
    """Histograms of `pixembed load` ([at most so much, how many]) as one."""
    counts: dict[float, int] = {}
    for histogram in histograms:
        for value, count in histogram:
            counts[value] = counts.get(value, 0) + int(count)
    return sorted(counts.items())


def percentile(histogram: Sequence[tuple[float, int]], share: float) -> float:
    """By nearest rank; the upper end of its bucket. Of none: NaN."""
    rank = max(1, int(np.ceil(share * sum(count for _, count in histogram))))
    for value, count in histogram:
        rank -= count
        if rank <= 0:
            return value
    return float("nan")
