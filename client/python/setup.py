"""What pyproject.toml cannot say: stubs that lack are made, and what they need is asked for."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

from setuptools import setup

FOLDER = pathlib.Path(__file__).resolve().parent
PROTO = FOLDER / "../../proto/pixembed/v1/embedding.proto"
MESSAGES = FOLDER / "src/pixembed/v1/embedding_pb2.py"
SERVICES = FOLDER / "src/pixembed/v1/embedding_pb2_grpc.py"


def make_stubs() -> None:
    """Leaves those that are there and no older than the proto; an sdist has them, and no proto."""
    if not PROTO.exists():
        if SERVICES.exists():
            return
        sys.exit(
            f"pixembed: {SERVICES} is missing, and {PROTO}, of which it is made: "
            "build in a checkout"
        )
    if SERVICES.exists() and SERVICES.stat().st_mtime >= PROTO.stat().st_mtime:
        return
    script = FOLDER / "generate.sh"
    made = subprocess.run(
        ["bash", script], env=os.environ | {"PYTHON": sys.executable}, check=False
    )
    if made.returncode != 0:
        sys.exit(f"pixembed: {script} failed, which makes {SERVICES.parent}; above is why")


def floor(path: pathlib.Path, pattern: str) -> str:
    """The version that a stub was made for, and below which it cannot be imported."""
    match = re.search(pattern, path.read_text(encoding="utf-8"))
    return ".".join(match.groups()) if match else ""


make_stubs()
GRPC = floor(SERVICES, r"GRPC_GENERATED_VERSION = '([0-9.]+)'") or "1.60"
PROTOBUF = floor(MESSAGES, r"Domain\.PUBLIC,\s*(\d+),\s*(\d+),\s*(\d+),") or "4.25"
setup(
    install_requires=[
        "googleapis-common-protos>=1.60",
        f"grpcio>={GRPC}",
        "grpcio-health-checking>=1.60",
        "numpy>=1.24",
        f"protobuf>={PROTOBUF}",
        "typing-extensions>=4.5",
    ]
)
