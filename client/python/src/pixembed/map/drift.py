"""Clusters, and how two files differ in them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

DEFAULT_CLUSTERS = 10


@dataclass(frozen=True)
class Share:
    """How much of each file a cluster holds."""

    cluster: int
    share: float
    """Of the rows of the file."""
    against: float
    """Of the rows of the file that it is held against."""
    by_chance: float
    """Standard deviation of the difference if both were samples of one whole."""

    @property
    def change(self) -> float:
        return self.share - self.against


@dataclass(frozen=True)
class Drift:
    """How a file differs from the one that it is held against."""

    centroid_distance: float
    """Between the means of the unit vectors of both."""
    by_chance: float
    """What it would be (root mean square) if both were samples of one whole."""
    shares: list[Share]
    """Of every cluster, the largest change first."""


def clusters(vectors: NDArray[np.float32], count: int | None, seed: int) -> NDArray[np.int64]:
    """The cluster of each row, by k-means; cluster 0 is the largest.

    `count`: None means DEFAULT_CLUSTERS, fewer for few rows. There are fewer, too, where fewer rows
    differ.
    """
    rows = len(vectors)
    if count is None:
        count = min(DEFAULT_CLUSTERS, math.ceil(math.sqrt(rows)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer rows differ
        fit = KMeans(min(count, rows), n_init=3, random_state=seed).fit(vectors)
    labels, sizes = np.unique(fit.labels_, return_counts=True)
    number = np.zeros(labels.max() + 1, np.int64)
    number[labels[np.argsort(-sizes, kind="stable")]] = np.arange(len(labels))
    numbered: NDArray[np.int64] = number[fit.labels_]
    return numbered


def drift(vectors: NDArray[np.float32], labels: NDArray[np.int64], rows: int) -> Drift:
    """The first `rows` of `vectors`, held against the rest; `labels` are the clusters of all."""
    one, other = vectors[:rows], vectors[rows:]
    means = [part.mean(axis=0, dtype=np.float64) for part in (one, other)]
    chance = 1 / len(one) + 1 / len(other)
    mean = vectors.mean(axis=0, dtype=np.float64)
    # The mean square of the distance to the mean.
    squares = np.einsum("ij,ij->", vectors, vectors, dtype=np.float64)
    variance = max(0.0, float(squares / len(vectors) - mean @ mean))
    count = int(labels.max()) + 1
    sizes = [np.bincount(part, minlength=count) for part in (labels[:rows], labels[rows:])]
    shares = []
    for cluster in range(count):
        whole = (sizes[0][cluster] + sizes[1][cluster]) / len(vectors)
        shares.append(
            Share(
                cluster,
                float(sizes[0][cluster] / len(one)),
                float(sizes[1][cluster] / len(other)),
                math.sqrt(whole * (1 - whole) * chance),
            )
        )
    return Drift(
        float(np.linalg.norm(means[0] - means[1])),
        math.sqrt(variance * chance),
        sorted(shares, key=lambda share: -abs(share.change)),
    )
