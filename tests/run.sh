#!/usr/bin/env bash
# Sets up and runs every test: unit, model, golden, RPC, end-to-end, lint, sanitizers, fuzz seeds.
# Set-up and compilation are cached, so a second run is minutes.
#
# usage: tests/run.sh [PART...]             default: release asan tsan tidy
#   release   everything with LibTorch: unit, model, golden, rpc, e2e, layering, format, README
#   asan      every room but model under AddressSanitizer and UBSan, fuzz seeds replayed
#   tsan      every room but model under ThreadSanitizer, without the golden files: they are read by one thread
#   heavy     the Python client's examples, with the real Ray and Spark, and pixembed-map in a real
#             Chromium: a gigabyte, a few minutes
#   emulated  the unit tests of what is for AVX-512 and VNNI, on an emulated CPU that has both: 15 minutes
#   tidy      clang-tidy over every source; 17 minutes on 2 slow cores when cold, seconds when not
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source deploy/environment.sh

build() {  # build PRESET
  step "$1: configure and build"
  cmake --preset "$1" > "build/$1.configure.log" || { cat "build/$1.configure.log" >&2; exit 1; }
  cmake --build --preset "$1"
}

build_and_test() {  # build_and_test PRESET [CTEST ARGUMENTS...]
  local preset=$1; shift
  build "$preset"
  step "$preset: test"
  # Two at a time: most tests wait, or use one core.
  ctest --preset "$preset" --no-tests=error --parallel 2 "$@"
}

usage() { sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

[ $# -gt 0 ] || set -- release asan tsan tidy
for part in "$@"; do
  case "$part" in
    release | asan | tsan | heavy | emulated | tidy) ;;
    -h | --help) usage; exit 0 ;;
    *) echo "tests/run.sh: there is no part \"$part\"" >&2; usage >&2; exit 2 ;;
  esac
done
deploy/setup.sh build assets test
mkdir -p build
step "Python stubs"
client/python/generate.sh
step "golden files, by the real transformers, torchvision and Pillow"
tests/golden/make.sh

for part in "$@"; do
  case "$part" in
    release) build_and_test release --label-exclude 'tidy|heavy' ;;
    heavy)
      deploy/setup.sh heavy
      build_and_test release --label-regex heavy
      ;;
    emulated)
      build release
      tests/emulated.sh
      ;;
    tidy) build_and_test release --label-regex tidy ;;
    # Lint and end-to-end concern the release build; here they would only repeat.
    asan | tsan) build_and_test "$part" --label-exclude 'lint|tidy|e2e|heavy' ;;
  esac
done
step "all parts passed: $*"
