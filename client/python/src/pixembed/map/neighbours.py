"""Who is near whom: near-duplicates, and those that are far from everybody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

# Rows that are asked about at once. What they find is bounded by this times the number of all rows.
_BLOCK_ROWS = 64
# Of a cosine, for float32.
_ROUNDING = 1e-6


class Neighbours(NamedTuple):
    """The nearest other rows of each row, exactly, the nearest first."""

    indices: NDArray[np.int64]
    """[N, k]"""
    distances: NDArray[np.float64]
    """[N, k]: 1 - cosine."""


@dataclass(frozen=True)
class Pair:
    """Two rows, the lower number first."""

    first: int
    second: int
    similarity: float
    """Their cosine."""


@dataclass(frozen=True)
class Duplicates:
    """The pairs whose cosine is at or above a threshold."""

    pairs: list[Pair]
    """The most similar ones, as many as were asked for."""
    count: int
    """Of all pairs."""
    rows: list[int]
    """Every row that is in a pair, in ascending order."""


@dataclass(frozen=True)
class Outlier:
    row: int
    distance: float
    """Mean of 1 - cosine to its nearest neighbours."""


def nearest(vectors: NDArray[np.float32], count: int) -> Neighbours:
    """Of vectors of length 1, without a matrix of all against all; `count`, or all others if they
    are fewer."""
    rows = len(vectors)
    count = min(count, rows - 1)
    if count == 0:
        return Neighbours(np.empty((rows, 0), np.int64), np.empty((rows, 0)))
    distances, indices = _index(vectors).kneighbors(n_neighbors=count)
    return Neighbours(indices, distances**2 / 2)


def near_duplicates(
    vectors: NDArray[np.float32], neighbours: Neighbours, above: float, limit: int
) -> Duplicates:
    """All pairs of rows with a cosine of at least `above` are counted, the `limit` nearest given.

    `neighbours` are those of `vectors`. Only rows that have so many near-duplicates that their
    neighbours do not hold all of them are looked at again.
    """
    best = np.empty((0, 3))
    count = 0
    in_pair = np.zeros(len(vectors), bool)
    for block in _near_pairs(vectors, neighbours, 1 - above + _ROUNDING):
        count += len(block)
        in_pair[block[:, :2].astype(np.int64).ravel()] = True
        best = np.concatenate([best, block])
        best = best[np.lexsort((best[:, 1], best[:, 0], best[:, 2]))[:limit]]
    pairs = [Pair(int(i), int(j), float(1 - distance)) for i, j, distance in best]
    return Duplicates(pairs, count, np.flatnonzero(in_pair).tolist())


def outliers(neighbours: Neighbours, above: float) -> list[Outlier]:
    """The rows that are further from their nearest neighbours than most are, the furthest first.

    Further: the mean distance lies more than `above` deviations over the median. The deviation is
    the median absolute one, scaled as a normal distribution's, so that the outliers themselves do
    not hide each other. Where half of the rows are equally far it is the mean absolute one.
    """
    if neighbours.distances.shape[1] == 0:
        return []
    means = neighbours.distances.mean(axis=1)
    over = means - np.median(means)
    scale = 1.4826 * np.median(np.abs(over))
    if scale < _ROUNDING:
        scale = 1.2533 * np.mean(np.abs(over))
    if scale < _ROUNDING:
        return []  # what differs is rounding
    far = np.flatnonzero(over > above * scale)
    far = far[np.argsort(-means[far], kind="stable")]
    return [Outlier(int(row), float(means[row])) for row in far]


def _index(vectors: NDArray[np.float32]) -> NearestNeighbors:
    # Exact; in blocks. Trees do not help with so many dimensions.
    return NearestNeighbors(algorithm="brute", metric="euclidean").fit(vectors)


def _near_pairs(
    vectors: NDArray[np.float32], neighbours: Neighbours, distance: float
) -> Iterator[NDArray[np.float64]]:
    """Every pair once, in blocks of [pairs, 3]: lower row, higher row, distance."""
    if neighbours.distances.shape[1] == 0:
        return
    near = neighbours.distances <= distance
    # If even the last one is near, there may be more.
    crowded = near[:, -1] & (neighbours.indices.shape[1] < len(vectors) - 1)
    near[crowded] = False
    rows, columns = np.nonzero(near)
    others = neighbours.indices[rows, columns]
    yield _ascending(rows, others, neighbours.distances[rows, columns])
    index = _index(vectors)
    again = np.flatnonzero(crowded)
    for begin in range(0, len(again), _BLOCK_ROWS):
        block = again[begin : begin + _BLOCK_ROWS]
        found, indices = index.radius_neighbors(vectors[block], radius=np.sqrt(2 * distance))
        rows = np.repeat(block, [len(row) for row in indices])
        yield _ascending(rows, np.concatenate(indices), np.concatenate(found) ** 2 / 2)


def _ascending(
    rows: NDArray[np.int64], others: NDArray[np.int64], distances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each pair is found from both of its rows (and each row finds itself)."""
    once = rows < others
    return np.stack([rows[once], others[once], distances[once]], axis=1)
