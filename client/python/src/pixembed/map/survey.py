"""Everything that a page shows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixembed.map.drift import Drift, clusters, drift
from pixembed.map.embeddings import Embeddings, check_same_space
from pixembed.map.neighbours import Duplicates, Outlier, near_duplicates, nearest, outliers
from pixembed.map.projection import Projection, project


@dataclass(frozen=True)
class Options:
    """What is looked for."""

    neighbours: int = 15
    """Of each row: those that the projection keeps near, and that an outlier is far from."""
    duplicates_above: float = 0.98
    """Cosine of a pair that is listed."""
    outliers_above: float = 3.5
    """Deviations over the median distance to the neighbours."""
    clusters: int | None = None
    """None: as `pixembed.map.drift.clusters` has it."""
    listed: int = 100
    """The most pairs and the most outliers that are listed. All are highlighted."""
    seed: int = 0


@dataclass(frozen=True)
class File:
    """One of the files that were read."""

    name: str
    rows: int
    left_out: dict[str, int]
    """As `Embeddings.left_out`."""


@dataclass(frozen=True)
class Survey:
    """One file, or one held against another: its rows come first, then the other's."""

    files: list[File]
    ids: list[str]
    fingerprint: str
    projection: Projection
    clusters: NDArray[np.int64]
    duplicates: Duplicates
    outliers: list[Outlier]
    """All of them."""
    drift: Drift | None
    options: Options


def survey(
    embeddings: Embeddings, against: Embeddings | None = None, options: Options | None = None
) -> Survey:
    """Both files are projected, clustered and searched together, so that neither is forced into
    what the other one has. Raises MapError if they cannot be compared."""
    options = options or Options()
    read = [embeddings]
    vectors = embeddings.vectors
    if against is not None:
        check_same_space(embeddings, against)
        read.append(against)
        vectors = np.concatenate([vectors, against.vectors])
    neighbours = nearest(vectors, options.neighbours)
    labels = clusters(vectors, options.clusters, options.seed)
    return Survey(
        files=[File(one.name, len(one.ids), one.left_out) for one in read],
        ids=[name for one in read for name in one.ids],
        fingerprint=embeddings.fingerprint,
        projection=project(vectors, neighbours, options.seed),
        clusters=labels,
        duplicates=near_duplicates(vectors, neighbours, options.duplicates_above, options.listed),
        outliers=outliers(neighbours, options.outliers_above),
        drift=None if against is None else drift(vectors, labels, len(embeddings.ids)),
        options=options,
    )
