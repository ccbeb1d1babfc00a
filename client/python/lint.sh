#!/usr/bin/env bash
# Style and types of the Python package and of the tests that are written with it.
# usage: client/python/lint.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ../../deploy/environment.sh
bin=$(dirname "$PIXEMBED_REFERENCE_PYTHON")
sources=(setup.py src tests integration_tests examples ../../tests/e2e)
"$bin/ruff" check --no-cache --config pyproject.toml "${sources[@]}"
"$bin/ruff" format --no-cache --check --config pyproject.toml "${sources[@]}"
MYPYPATH=src:tests:../../tests/e2e "$bin/mypy" --cache-dir=/dev/null --config-file pyproject.toml "${sources[@]}"
