#!/usr/bin/env bash
# Makes the stubs of proto/pixembed/v1 for Python: client/python/src/pixembed/v1. They are not
# committed. deploy/setup.sh test brings what this needs; so does pip, whose build runs this.
#
# usage: client/python/generate.sh      PYTHON=... chooses the Python; it needs the packages
#                                       grpcio-tools and googleapis-common-protos
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/environment.sh
python="${PYTHON:-$PIXEMBED_REFERENCE_PYTHON}"
command -v "$python" >/dev/null || python=python3
"$python" -c 'import grpc_tools, google.rpc' 2>/dev/null || {
  echo "generate: $python lacks grpcio-tools or googleapis-common-protos: run deploy/setup.sh test," \
    "or pip install both and set PYTHON" >&2
  exit 1
}
protos=$("$python" -c 'import google.rpc, pathlib; print(pathlib.Path(*google.rpc.__path__).parents[1])')
"$python" -m grpc_tools.protoc -I proto -I "$protos" pixembed/v1/embedding.proto \
  --python_out=client/python/src --pyi_out=client/python/src --grpc_python_out=client/python/src
touch client/python/src/pixembed/v1/__init__.py
