"""Estimates, which rounds count, histograms."""

import math

import pytest

from harness.intervals import add_histograms, estimate, percentile, undisturbed


def test_the_interval_holds_the_median_and_lies_within_the_values() -> None:
    values = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.99]
    result = estimate(values)
    assert result.median == 1.0
    assert min(values) <= result.low <= result.median <= result.high <= max(values)
    assert result.rounds == len(values)
    assert result == estimate(values)


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    # Of n draws from a uniform distribution the median's standard deviation is about 1 / (2 sqrt n).
    n = 101
    values = [i / (n - 1) for i in range(n)]
    result = estimate(values)
    assert result.high - result.low == pytest.approx(2 * 1.96 / (2 * math.sqrt(n)), rel=0.2)


def test_of_one_round_the_interval_is_the_value() -> None:
    result = estimate([3.0])
    assert (result.low, result.median, result.high) == (3.0, 3.0, 3.0)
    assert result.excludes(1.0)
    assert not estimate([0.9, 1.1, 1.0]).excludes(1.0)


def test_disturbed_rounds_are_left_out_where_enough_others_are_there() -> None:
    assert undisturbed([100, 96, 90, 99], best=100) == [0, 1, 3]
    assert undisturbed([100, 80, 80, 99], best=100) == [0, 1, 2, 3]
    assert undisturbed([100, 99, 98], best=200) == [0, 1, 2]


def test_histograms_add_up_and_give_percentiles() -> None:
    histogram = add_histograms([[[1.0, 2], [5.0, 1]], [[1.0, 1], [3.0, 96]]])
    assert histogram == [(1.0, 3), (3.0, 96), (5.0, 1)]
    assert percentile(histogram, 0.03) == 1.0
    assert percentile(histogram, 0.5) == 3.0
    assert percentile(histogram, 0.99) == 3.0
    assert percentile(histogram, 1.0) == 5.0
    assert math.isnan(percentile([], 0.5))
