#!/usr/bin/env bash
# Measures pixembed, each figure beside what it is compared with, in turn, round by round. First the served
# vectors are compared with the reference's; where they differ nothing is measured. Writes report.html, report.md
# and report.json in build/bench. Use an idle machine. Killed and started again it goes on.
#
# usage: tests/bench/run.sh [--fresh] [LEG...]        default: preprocess forward serving overhead start open bulk
#   preprocess      decode + preprocess against Pillow and transformers, one core
#   forward         bare forward against served end to end, and a lone request
#   serving         the cost of serving alone: a model that computes nothing
#   overhead        as serving, with pictures that take next to nothing to decode
#   start           from exec to serving
#   open            latency under random arrivals at 50, 70 and 80 % of the peak, beside M/D/c
#   bulk            online latency with and without a bulk job
#   peers           what others give: installs tests/bench/peers/requirements.txt into PIXEMBED_CACHE, then
#                   peers-forward (bare forwards), peers-served and peers-start (a Python server)
# --fresh (or PIXEMBED_BENCH_FRESH=1) measures again what is there for this commit and these settings.
# Settings, PIXEMBED_BENCH_...: ROUNDS (5), SECONDS of a figure and round (4), MODELS (vit-b16,vit-ti16),
# PEER_MODELS (vit-b16), LOADS (0.5,0.7,0.8), IDLE_REQUESTS (60), SKIP_SETUP (what deploy/setup.sh brings is there).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/environment.sh

peers() {  # the environment of the peers, on top of the reference's packages
  local folder="$PIXEMBED_CACHE/bench-peers" requirements=tests/bench/peers/requirements.txt site
  cmp -s "$requirements" "$folder/requirements.txt" && return 0
  step "peers: $requirements"
  /usr/bin/python3 -m venv --clear "$folder"
  "$folder/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r "$requirements"
  site='import sysconfig; print(sysconfig.get_path("purelib"))'
  echo "import site; site.addsitedir('$("$PIXEMBED_REFERENCE_PYTHON" -c "$site")')" \
    > "$("$folder/bin/python" -c "$site")/reference.pth"
  "$folder/bin/python" -c 'import onnxruntime, onnxscript, openvino, torch, transformers'
  cp "$requirements" "$folder/requirements.txt"
}

arguments=()
for argument in "$@"; do
  case "$argument" in
    peers) arguments+=(peers-forward peers-served peers-start) ;;
    -h | --help) sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) arguments+=("$argument") ;;
  esac
done

[ -n "${PIXEMBED_BENCH_SKIP_SETUP:-}" ] || deploy/setup.sh build assets test
[[ " ${arguments[*]:-} " != *" peers-"* ]] || peers
step "build"
mkdir -p build/bench
cmake --preset release > build/bench/configure.log || { cat build/bench/configure.log >&2; exit 1; }
cmake --build --preset release --target pixembed-server pixembed preprocess_benchmark \
  forward_benchmark null_server arrival_times idle_floor fma_peak
client/python/generate.sh
for architecture in vit-b16 vit-ti16; do
  [ -f "$PIXEMBED_CACHE/models/$architecture/config.json" ] ||
    "$PIXEMBED_TOOLS_PYTHON" deploy/make_random_model.py "$architecture" \
      "$PIXEMBED_CACHE/models/$architecture"
done
PYTHONPATH=client/python/src exec "$PIXEMBED_REFERENCE_PYTHON" tests/bench/bench.py "${arguments[@]}"
