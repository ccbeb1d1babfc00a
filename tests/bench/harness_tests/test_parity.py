"""The gate lets nothing else pass."""

import numpy as np
import pytest

from harness.parity import compare


def test_the_same_vectors_hold() -> None:
    vectors = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    result = compare(vectors + np.float32(1e-6), vectors)
    assert result.holds()
    assert result.images == 3
    assert result.largest_difference == pytest.approx(1e-6, rel=0.5)


@pytest.mark.parametrize("change", [1e-3, float("nan")])
def test_others_do_not(change: float) -> None:
    vectors = np.ones((3, 8), np.float32)
    other = vectors.copy()
    other[1, 2] += change
    assert not compare(other, vectors).holds()


def test_a_direction_counts_where_numbers_are_small() -> None:
    vectors = np.full((1, 8), 1e-5, np.float32)
    assert not compare(vectors * np.array([1] * 7 + [-1], np.float32), vectors).holds()


def test_other_shapes_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="same model"):
        compare(np.ones((2, 4), np.float32), np.ones((1, 4), np.float32))
