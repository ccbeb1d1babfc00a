"""What is published: built as a stranger would, installed where nothing else is, and used."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version

import numpy as np
from pixembed_fixtures import PATIENCE, Server

from pixembed import Client

SOURCE = pathlib.Path(__file__).parents[1]
USE = """
import sys, numpy, pixembed
from pixembed import Client
assert pixembed.__file__.startswith(sys.prefix), pixembed.__file__
with Client(sys.argv[1]) as client:
    numpy.save(sys.argv[3], client.embed([sys.argv[2]]))
"""


def run(*command: object, cwd: pathlib.Path) -> None:
    # Without PYTHONPATH, which names the sources.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_checkout_without_stubs_builds_them_and_asks_for_what_they_need(
    tmp_path: pathlib.Path,
) -> None:
    root = SOURCE.parents[1]
    source = tmp_path / "client/python"
    ignored = shutil.ignore_patterns("v1", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(SOURCE, source, ignore=ignored)
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", f"--outdir={tmp_path}"]
    alone = subprocess.run([*build, source], capture_output=True, text=True, check=False)
    assert alone.returncode != 0
    assert "embedding.proto, of which it is made: build in a checkout" in alone.stderr
    (tmp_path / "deploy").mkdir()
    shutil.copy(root / "deploy/environment.sh", tmp_path / "deploy")
    shutil.copytree(root / "proto", tmp_path / "proto")
    lacking = tmp_path / "lacking/grpc_tools"
    lacking.mkdir(parents=True)
    (lacking / "__init__.py").write_text("raise ImportError\n")
    without = subprocess.run(
        [*build, source],
        env=os.environ | {"PYTHONPATH": str(lacking.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert without.returncode != 0
    assert "lacks grpcio-tools or googleapis-common-protos" in without.stdout + without.stderr
    run(*build, source, cwd=tmp_path)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        assert "pixembed/v1/embedding_pb2_grpc.py" in archive.namelist()
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(name).decode()
    assert f"Requires-Dist: grpcio>={version('grpcio-tools')}\n" in metadata
    assert re.search(r"^Requires-Dist: protobuf>=\d+\.\d+\.\d+$", metadata, re.MULTILINE)


def test_wheel_and_sdist_are_whole(
    server: Server, picture_directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    source, dist = tmp_path / "source", tmp_path / "dist"
    ignored = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(SOURCE, source, ignore=ignored)
    # The wheel is made of the sdist, so that it shows what that lacks.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source, cwd=tmp_path)
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")

    modules = {f.relative_to(SOURCE / "src").as_posix() for f in (SOURCE / "src").rglob("*.py*")}
    modules = {name for name in modules if "__pycache__" not in name} | {"pixembed/py.typed"}
    modules |= {f"pixembed/map/page.{kind}" for kind in ("html", "css", "js")}
    assert "pixembed/v1/embedding_pb2.pyi" in modules
    with zipfile.ZipFile(wheel) as archive:
        assert modules <= set(archive.namelist())
    with tarfile.open(sdist) as archive:
        names = {name.split("/src/")[-1] for name in archive.getnames()}
    assert modules <= names

    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    # What it depends on is there already; pip looks whether that is enough.
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    others = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
    (packages / "others.pth").write_text("".join(others))
    run(python, "-m", "pip", "install", "--no-index", "--quiet", wheel, cwd=tmp_path)
    image, vectors = picture_directory / "rgb.png", tmp_path / "vectors.npy"
    for program in ("bulk", "map"):
        # What pixembed-map and pixembed-bulk need may be there or not; either way it is a line.
        done = subprocess.run(
            [tmp_path / f"venv/bin/pixembed-{program}", "--help"],
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        missing = f"pip install 'pixembed[{program}]' brings it" in done.stderr
        assert done.returncode == (1 if missing else 0), done.stderr
    run(python, "-c", USE, server.address, image, vectors, cwd=tmp_path)
    with Client(server.address) as client:
        np.testing.assert_allclose(np.load(vectors), client.embed([image]), rtol=0, atol=1e-6)
