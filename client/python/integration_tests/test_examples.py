"""The examples with the real packages, at small scale, against the real server."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
from pixembed_fixtures import PATIENCE, Server

from pixembed import Client

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
RAY = """
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1",
         object_store_memory=100_000_000)
"""
SPARK = """
from pyspark.sql import SparkSession
SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").config(
    "spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
"""


@pytest.mark.parametrize(("name", "local"), [("ray_data", RAY), ("spark", SPARK)])
def test_an_example_writes_the_vectors_of_a_folder(
    name: str,
    local: str,
    server: Server,
    picture_directory: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    script = str(EXAMPLES / f"{name}.py")
    code = f"{local}\nimport runpy\nrunpy.run_path({script!r}, run_name='__main__')"
    output = tmp_path / "vectors"
    run = subprocess.run(
        [sys.executable, "-c", code, server.address, str(picture_directory), str(output)],
        env=os.environ
        | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = pyarrow.parquet.read_table(output).to_pylist()
    vectors = {row["path"].removeprefix("file:"): row["embedding"] for row in rows}
    files = sorted(str(file) for file in picture_directory.iterdir())
    assert sorted(vectors) == files
    with Client(server.address) as client:
        expected = client.embed(files)
    np.testing.assert_allclose([vectors[file] for file in files], expected, rtol=0, atol=1e-5)
