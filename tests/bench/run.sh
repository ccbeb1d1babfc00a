#!/usr/bin/env bash
# Measures pixembed, each figure beside what it is compared with, in turn, in one run.
# Writes build/bench/report.md and build/bench/report.json. Use an idle machine.
#
# usage: tests/bench/run.sh [LEG...]        default: every leg; see tests/bench/README.md
#   preprocess   decode + preprocess against Pillow and transformers, one core
#   forward      bare forward against served end to end, ViT-B/16 and ViT-Ti/16
#   serving      the cost of serving alone: a model that computes nothing
# Rounds and seconds a leg: PIXEMBED_BENCH_ROUNDS (5), PIXEMBED_BENCH_SECONDS (10).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/environment.sh

deploy/setup.sh build assets test
step "build"
mkdir -p build/bench
cmake --preset release > build/bench/configure.log || { cat build/bench/configure.log >&2; exit 1; }
cmake --build --preset release --target pixembed-server pixembed preprocess_benchmark \
  forward_benchmark null_server
for architecture in vit-b16 vit-ti16; do
  [ -f "$PIXEMBED_CACHE/models/$architecture/config.json" ] ||
    "$PIXEMBED_TOOLS_PYTHON" deploy/make_random_model.py "$architecture" \
      "$PIXEMBED_CACHE/models/$architecture"
done
exec "$PIXEMBED_REFERENCE_PYTHON" tests/bench/bench.py "$@"
