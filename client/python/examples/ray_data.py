"""Ray Data: the images of a folder become a Parquet file of paths, vectors and errors.

usage: ray_data.py ADDRESS FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import sys
from typing import Any

import ray

from pixembed import Client


class Embed:
    """An actor of Ray: one client, for all of its batches."""

    def __init__(self, address: str) -> None:
        self._client = Client(address)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        embeddings = self._client.embed(batch["bytes"], errors="return", lane="bulk")
        errors = [str(embeddings.errors.get(i, "")) for i in range(len(batch["path"]))]
        return {"path": batch["path"], "embedding": embeddings.vectors, "error": errors}


def main(address: str, folder: str, output: str) -> None:
    images = ray.data.read_binary_files(folder, include_paths=True)
    vectors = images.map_batches(
        Embed,
        fn_constructor_args=[address],
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    vectors.write_parquet(output)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
