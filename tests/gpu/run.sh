#!/usr/bin/env bash
# The model and golden tests on a machine with a GPU that has neither our sources' libraries nor a
# compiler, only a Python with torch 2.11.0 (whose wheel and nvidia-* wheels are LibTorch).
#
# usage: tests/gpu/run.sh bundle DIR [PRESET]   here: collects into DIR what the tests need:
#                                               programs, Debian's shared libraries, golden files
#        DIR/run.sh test [DIR]                  there: runs them on cuda:0, then on the CPU
#
# PRESET is release by default, and built. PYTHON names the Python there (python3); PIXEMBED_LIBTORCH
# the folder with torch/ and nvidia/ where there is no Python. PIXEMBED_BUNDLE_MODEL=1 takes the real
# model along (88 MB); without it the one test that needs it is left out, and the script says so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

TESTS=(activation_cache_test device_test fingerprint_test layers_test load_test pixels_test
  pooling_test weights_test output_test embeddings_golden_test)

# The shared libraries of a program or module that are neither LibTorch's nor every Linux's.
debian_libraries() {
  ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    grep -v "^$PIXEMBED_LIBTORCH/" |
    grep -vE '/(libc|libm|libdl|librt|libutil|libpthread|libstdc\+\+|libgcc_s|ld-linux[^/]*)\.so'
}

bundle() {
  local out=$1 preset=${2:-release} test
  cd "$here/../.."
  source deploy/environment.sh
  cmake --preset "$preset" > /dev/null
  cmake --build --preset "$preset" --target "${TESTS[@]}" forward_benchmark pixembed_cuda
  tests/golden/make.sh embeddings transparency

  rm -rf "$out"
  mkdir -p "$out/tests" "$out/lib" "$out/golden"
  for test in "${TESTS[@]}"; do
    strip -o "$out/tests/$test" "build/$preset/tests/$test"
  done
  strip -o "$out/tests/forward_benchmark" "build/$preset/bench/forward_benchmark"
  strip -o "$out/lib/libpixembed_cuda.so" "build/$preset/lib/libpixembed_cuda.so"
  # shellcheck disable=SC2046
  cp -L $(debian_libraries build/"$preset"/tests/*_test build/"$preset"/bench/forward_benchmark) "$out/lib"
  cp -r build/golden/embeddings "$out/golden/embeddings"
  if [ "${PIXEMBED_BUNDLE_MODEL:-0}" = 1 ]; then
    cp -r "$PIXEMBED_MODEL" "$out/model"
  fi
  cp "${BASH_SOURCE[0]}" "$out/run.sh"
  du -sh "$out"
}

libtorch() {  # the folder that holds torch/ and nvidia/
  [ -z "${PIXEMBED_LIBTORCH:-}" ] || { echo "$PIXEMBED_LIBTORCH"; return; }
  "${PYTHON:-python3}" - <<'PYTHON'
import pathlib
import torch
assert torch.__version__.startswith("2.11.0"), f"torch is {torch.__version__}, not 2.11.0"
assert torch.cuda.is_available(), "torch sees no CUDA device"
print(pathlib.Path(torch.__file__).parent.parent)
PYTHON
}

test_bundle() {
  local out torch device test failed=() filter='*'
  out=$(cd "${1:-$here}" && pwd)
  torch=$(libtorch)
  export LD_LIBRARY_PATH="$out/lib:$torch/torch/lib:$torch/nvidia/cu13/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export PIXEMBED_GOLDEN_DIRECTORY="$out/golden"
  if [ -d "$out/model" ]; then
    printf '%s' "$out/model" > "$out/golden/embeddings/dinov2-s14/directory"
  else
    echo "gpu: the real model is not in the bundle: RealModelGolden is left out" >&2
    filter='-RealModelGolden.*'
  fi
  for device in cuda:0 cpu; do
    for test in "${TESTS[@]}"; do
      echo "== $test on $device"
      PIXEMBED_TEST_DEVICE=$device "$out/tests/$test" --gtest_brief=1 --gtest_filter="$filter" ||
        failed+=("$test on $device")
    done
  done
  [ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}" >&2; exit 1; }
  echo "all passed"
}

case "${1:-}" in
  bundle) [ $# -ge 2 ] && { bundle "$2" "${3:-release}"; exit; } ;;
  test) test_bundle "${2:-$here}"; exit ;;
esac
sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
exit 2
