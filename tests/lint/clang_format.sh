#!/usr/bin/env bash
# Fails where a C++ file is not formatted as .clang-format says. usage: clang_format.sh SOURCE_DIR
set -euo pipefail
cd "$1"
git ls-files -z -- '*.cc' '*.h' | xargs -0 clang-format-14 --dry-run --Werror
