"""The arithmetic of a soak."""

from typing import Any

import numpy as np
import pytest

from harness.intervals import Estimate
from harness.soak import MB, Sample, describe, judge, lost_of, of_status, slope, window

GOOD: dict[str, Any] = {"requests": 100, "images": 100, "refused": 0, "dropped": 0, "failed_images": {}}


def samples(growth_per_second: float, count: int = 1200, seed: int = 7) -> list[Sample]:
    # Noise that lasts: a second is like the one before it.
    steps = np.repeat(np.random.default_rng(seed).normal(0, 2e5, count // 20 + 1), 20)[:count]
    values = 300 * MB + growth_per_second * np.arange(count) + steps
    return [Sample(float(i), int(value), 0) for i, value in enumerate(values)]


def slope_of(kept: list[Sample]) -> Estimate:
    return slope([s.seconds for s in kept], [float(s.resident) for s in kept])


def test_the_status_of_a_process_is_read() -> None:
    text = "Name:\tserver\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\n"
    assert of_status(3.0, text) == Sample(3.0, 2048 * 1024, 1024 * 1024)


def test_the_first_quarter_does_not_count() -> None:
    kept = window(samples(0, count=401))
    assert (kept[0].seconds, kept[-1].seconds) == (100.0, 400.0)


def test_the_slope_of_a_line_is_its_slope() -> None:
    estimate = slope([float(i) for i in range(600)], [5.0 + 0.25 * i for i in range(600)])
    assert estimate.median == pytest.approx(0.25)
    assert estimate.low == pytest.approx(0.25)
    assert estimate.high == pytest.approx(0.25)


def test_the_interval_holds_the_slope_as_often_as_it_says_or_nearly() -> None:
    # Of 95 % intervals of a block bootstrap with 15 blocks some are too narrow.
    for growth in (0.0, 10_000.0):
        estimates = [slope_of(window(samples(growth, seed=seed))) for seed in range(40)]
        assert sum(estimate.excludes(growth) for estimate in estimates) <= 8
    assert all(estimate.excludes(0.0) for estimate in estimates)


def test_of_a_short_run_nothing_can_be_said() -> None:
    estimate = slope([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    assert not estimate.excludes(0.0)
    assert not estimate.excludes(1e9)


def test_what_is_lost_is_counted_by_reason() -> None:
    reports: list[dict[str, Any]] = [
        GOOD,
        GOOD | {"dropped": 2, "failed_images": {"DEADLINE_EXCEEDED": 3}},
        GOOD | {"refused": 1, "failed_images": {"DEADLINE_EXCEEDED": 1}},
        {"error": "UNAVAILABLE: gone"},
    ]
    assert lost_of(reports) == {"dropped": 2, "DEADLINE_EXCEEDED": 4, "refused": 1, "UNAVAILABLE: gone": 1}


@pytest.mark.parametrize(
    ("growth", "weights", "report", "answered", "holds"),
    [
        (0.0, 200 * MB, GOOD, 100, True),
        (0.0, 10 * MB, GOOD, 100, False),  # above the bound
        (20_000.0, 900 * MB, GOOD, 100, False),  # grows
        (0.0, 200 * MB, GOOD | {"dropped": 1}, 100, False),
        (0.0, 200 * MB, GOOD, 101, False),  # an answer that nobody received
    ],
)
def test_a_soak_holds_or_says_what_does_not(
    growth: float, weights: int, report: dict[str, Any], answered: int, holds: bool
) -> None:
    verdict = judge(samples(growth), [report], weights, 100 * MB, answered)
    assert verdict.holds() is holds
    assert describe(verdict, weights, {"queue": 100 * MB}).endswith("\nholds") is holds
