#!/usr/bin/env bash
# Measures how far the vectors are from the reference's, and writes docs/numerics.md.
#
# usage: tests/bench/numerics.sh [DEVICE]      DEVICE: cpu (default), cuda:0, as the server's --device
#
# Makes the golden files with the reference Python where they are not there (deploy/setup.sh test).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/environment.sh
device="${1:-cpu}"
tests/golden/make.sh embeddings programs
cmake --preset release > /dev/null
cmake --build --preset release --target numerics > /dev/null
page=docs/numerics.md
mkdir -p docs
table=$(build/release/bench/numerics build/golden --device="$device")
head=$(sed '/^<!-- numerics: begin -->$/q' "$page")
printf '%s\n\nDevice `%s`, %s, %s.\n\n%s\n<!-- numerics: end -->\n' "$head" "$device" "$(date -u +%F)" \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$table" > "$page.part"
mv "$page.part" "$page"
echo "$page: $(grep -c '^|' "$page") lines of table"
