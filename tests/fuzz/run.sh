#!/usr/bin/env bash
# Fuzzes: builds the fuzz preset (clang, libFuzzer, AddressSanitizer, UBSan) and runs the targets one
# after the other, with one job each.
#
# usage: tests/fuzz/run.sh [MINUTES] [TARGET...]      default: 20 minutes, every target
#
# A target starts from its committed seeds, from the golden files and Pillow's test pictures of its
# format, where they are there, and from what earlier runs found: the corpora grow in
# $PIXEMBED_CACHE/fuzz. An input that breaks a promise becomes tests/fuzz/seeds/TARGET/found-HASH, which
# every later test run replays; commit it with the fix. Ends with 1 if there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/environment.sh

minutes=20
if [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  minutes=$1
  shift
fi
all=()
for target in tests/fuzz/seeds/*_fuzz; do all+=("$(basename "$target")"); done
[ $# -gt 0 ] || set -- "${all[@]}"
for target in "$@"; do
  [ -d "tests/fuzz/seeds/$target" ] ||
    { echo "fuzz: no target $target; there are: ${all[*]}" >&2; exit 2; }
done

mkdir -p build
cmake --preset fuzz > build/fuzz.configure.log || { cat build/fuzz.configure.log >&2; exit 1; }
cmake --build --preset fuzz --target "$@"

corpora="$PIXEMBED_CACHE/fuzz"
pictures="$corpora/pictures"
sources=()
for source in build/golden/decode.safetensors "$PIXEMBED_CORPUS"; do
  [ ! -e "$source" ] || sources+=("$source")
done
[ ${#sources[@]} -eq 0 ] ||
  "$PIXEMBED_REFERENCE_PYTHON" tests/fuzz/extract_seeds.py "$pictures" "${sources[@]}"

found=0
for target in "$@"; do
  step "fuzz: $target for $minutes minutes"
  seeds=("tests/fuzz/seeds/$target")
  case "$target" in
    decode_*_fuzz)
      format=${target#decode_}
      [ ! -d "$pictures/${format%_fuzz}" ] || seeds+=("$pictures/${format%_fuzz}") ;;
    pipeline_fuzz) [ ! -d "$pictures" ] || seeds+=("$pictures"/*) ;;
  esac
  mkdir -p "$corpora/$target"
  before=$(ls "tests/fuzz/seeds/$target")
  # Resident memory is what is limited: liblzma reserves what a file announces, and touches it not.
  build/fuzz/fuzz/"$target" -max_total_time=$((60 * minutes)) -timeout=60 -rss_limit_mb=4096 \
    -print_final_stats=1 -artifact_prefix="tests/fuzz/seeds/$target/found-" \
    "$corpora/$target" "${seeds[@]}" 2> "$corpora/$target.log" || true
  grep -E '^stat::(number_of_executed|average)' "$corpora/$target.log" || true
  rm -f "tests/fuzz/seeds/$target"/found-slow-unit-*  # of a busy machine
  if [ "$(ls "tests/fuzz/seeds/$target")" != "$before" ]; then
    found=1
    echo "fuzz: $target broke a promise: tests/fuzz/seeds/$target/found-*, $corpora/$target.log" >&2
  fi
done
exit $found
