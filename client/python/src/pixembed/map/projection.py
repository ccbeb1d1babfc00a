"""From many dimensions to the two of a page."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixembed.map.neighbours import Neighbours

UMAP_MIN_ROWS = 16
"""Fewer have no neighbourhoods that UMAP could keep."""


class Projection(NamedTuple):
    points: NDArray[np.float64]
    """[N, 2], between 0 and 1; both axes in the same scale."""
    method: str
    """In words, with the reason if it is not UMAP."""


def project(vectors: NDArray[np.float32], neighbours: Neighbours, seed: int) -> Projection:
    """By UMAP; fewer than UMAP_MIN_ROWS rows, and what UMAP has no answer for, by their principal
    components. The same rows and seed give the same points (on the same machine)."""
    rows = len(vectors)
    if rows < UMAP_MIN_ROWS:
        why = f"{rows} of the {UMAP_MIN_ROWS} rows that UMAP needs"
        return Projection(_fitted(_components(vectors)), f"principal components: {why}")
    points = _umap(vectors, neighbours, seed)
    if not np.isfinite(points).all():
        return Projection(
            _fitted(_components(vectors)), "principal components: UMAP found no places"
        )
    return Projection(_fitted(points), "UMAP")


def _umap(vectors: NDArray[np.float32], neighbours: Neighbours, seed: int) -> NDArray[np.float64]:
    try:
        from umap import UMAP  # noqa: PLC0415  takes seconds
    except ImportError as error:
        raise ImportError("pixembed.map needs UMAP: pip install 'pixembed[map]'") from error

    # Its own neighbours are rows themselves first, and are distances between unit vectors.
    rows = np.arange(len(vectors))[:, None]
    indices = np.concatenate([rows, neighbours.indices], axis=1)
    distances = np.concatenate([np.zeros(rows.shape), np.sqrt(2 * neighbours.distances)], axis=1)
    with warnings.catch_warnings():
        # That it cannot place rows that come later; that a few are connected to nobody.
        warnings.simplefilter("ignore")
        fit = UMAP(
            n_neighbors=indices.shape[1],
            random_state=seed,
            n_jobs=1,  # with a seed it uses one anyway
            precomputed_knn=(indices, distances.astype(np.float32)),
            force_approximation_algorithm=True,  # else it looks for neighbours in a matrix of all
        )
        return np.asarray(fit.fit_transform(vectors), np.float64)


def _components(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2))
    points[:, : left.shape[1]] = (left * sizes)[:, :2]
    return points


def _fitted(points: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = points.min(axis=0), points.max(axis=0)
    extent = (high - low).max()
    if extent == 0:
        return np.full(points.shape, 0.5)
    fitted: NDArray[np.float64] = (points - (low + high) / 2) / extent + 0.5
    return fitted
