#!/usr/bin/env bash
# float32, bfloat16, int8 and ONNX Runtime's int8: speed and cosine. usage: see frontier.py
# The peers' environment: tests/bench/run.sh peers makes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/environment.sh
cmake --preset release > /dev/null
cmake --build --preset release --target forward_benchmark > /dev/null
exec "$PIXEMBED_REFERENCE_PYTHON" tests/bench/frontier.py "$@"
