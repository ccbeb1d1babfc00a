#!/usr/bin/env bash
# Style and types of the benchmark, by the rules of the Python client. usage: tests/bench/lint.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ../../deploy/environment.sh
bin=$(dirname "$PIXEMBED_REFERENCE_PYTHON")
types=../../client/python/pyproject.toml
gpu=../gpu/measure.py
"$bin/ruff" check --no-cache --config ruff.toml "$gpu" bench.py clients.py frontier.py soak.py harness harness_tests peers
"$bin/ruff" format --no-cache --config ruff.toml --check "$gpu" bench.py clients.py frontier.py soak.py harness harness_tests peers
MYPYPATH=../../client/python/src "$bin/mypy" --cache-dir=/dev/null --config-file "$types" "$gpu" bench.py clients.py frontier.py soak.py harness harness_tests
