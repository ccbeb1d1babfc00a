"""The gate before a measurement: what is served is what the reference gives, else it is not the same work."""

import dataclasses
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from . import programs
from .settings import ROOT

# What pixembed promises for float32: docs/numerics.md.
MOST_DIFFERENCE = 1e-4
LEAST_COSINE = 0.99999

Vectors = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Parity:
    largest_difference: float
    smallest_cosine: float
    images: int

    def holds(self) -> bool:
        # Not the other way round: NaN must not hold.
        return self.largest_difference <= MOST_DIFFERENCE and self.smallest_cosine >= LEAST_COSINE


def compare(ours: Vectors, expected: Vectors) -> Parity:
    """Of [images, dimension] each. REQUIRES: the same shape."""
    if ours.shape != expected.shape:
        raise ValueError(f"{ours.shape} and {expected.shape} are not of the same model and images")
    a, b = ours.astype(np.float64), expected.astype(np.float64)
    cosines = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return Parity(float(np.abs(a - b).max()), float(cosines.min()), len(a))


def images() -> list[pathlib.Path]:
    """The pictures that are measured, and the sample photos."""
    photos = pathlib.Path(os.environ["PIXEMBED_PHOTOS"])
    return [
        *sorted(programs.pictures().glob("*.jpg")),
        *sorted(photos.glob("*.jpg")),
        *sorted(photos.glob("*.png")),
    ]


def expected_vectors(model: pathlib.Path, files: Sequence[pathlib.Path], backend: str) -> Vectors:
    """By transformers, in a process of its own: torch does not stay in this one."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as out:
        script = ROOT / "tests/bench/reference_vectors.py"
        programs.run(sys.executable, script, model, out.name, backend, *files)
        return np.asarray(np.load(out.name), np.float32)


def served_vectors(server: programs.Server, files: Sequence[pathlib.Path]) -> Vectors:
    """By pixembed.v1's Embed, one image a request."""
    import grpc
    from pixembed.v1 import embedding_pb2, embedding_pb2_grpc

    rows = []
    with grpc.insecure_channel(server.address) as channel:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        for file in files:
            request = embedding_pb2.EmbedRequest(
                images=[embedding_pb2.Image(data=file.read_bytes())],
                options=embedding_pb2.EmbedOptions(packed=True),
            )
            (result,) = stub.Embed(request).results
            if not result.HasField("embedding"):
                raise RuntimeError(f"{file}: {result.error.message}")
            rows.append(np.frombuffer(result.embedding.data, np.float32))
    return np.stack(rows)


def check(server: programs.Server, model: pathlib.Path, backend: str = "torchvision") -> Parity:
    """`backend`: of the image processor, torchvision or pil."""
    files = images()
    return compare(served_vectors(server, files), expected_vectors(model, files, backend))
