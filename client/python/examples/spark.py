"""Spark: the images of a folder become a Parquet file of paths and vectors.

usage: spark.py ADDRESS FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, pandas_udf

from pixembed import Client


def main(address: str, folder: str, output: str) -> None:
    @pandas_udf("array<float>")  # type: ignore[untyped-decorator]
    def embed(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        with Client(address) as client:  # one for all batches of a partition
            for images in batches:
                embeddings = client.embed(images, errors="return", lane="bulk")
                yield pd.Series(
                    [
                        None if i in embeddings.errors else vector
                        for i, vector in enumerate(embeddings.vectors)
                    ]
                )

    spark = SparkSession.builder.appName("pixembed").getOrCreate()
    images = spark.read.format("binaryFile").load(folder)
    images.select("path", embed(col("content")).alias("embedding")).write.parquet(output)
    spark.stop()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
