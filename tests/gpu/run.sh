#!/usr/bin/env bash
# The model and golden tests, and measurements, on a machine with a GPU that has neither our sources'
# libraries nor a compiler, only a Python with torch 2.11.0 (whose wheel and nvidia-* wheels are
# LibTorch).
#
# usage: tests/gpu/run.sh bundle DIR [PRESET]   here: collects into DIR what both need: programs,
#                                               Debian's shared libraries, golden files, pictures
#                                               (106 MB), and packs it into DIR.tar.xz (39 MB)
#        DIR/run.sh test [DIR]                  there: runs the tests on cuda:0, then on the CPU
#        DIR/run.sh measure OUT.json [FLAGS]    there: the tests, then what the device gives, in at
#                                               most 7 minutes; measure.py has steps and flags
#
# PRESET is release by default, and built. PYTHON names the Python there (python3; measure makes its
# models with it, for which it needs numpy and safetensors); PIXEMBED_LIBTORCH the folder with torch/
# and nvidia/ where that Python has none. PIXEMBED_TEST_DEVICES: others than "cuda:0 cpu".
# PIXEMBED_BUNDLE_MODEL=1 takes the real model along, three times (88 MB each); without it the tests
# that need it are left out, and the script says so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

TESTS=(activation_cache_test device_kernels_test device_test fingerprint_test layers_test load_test
  pixels_test pooling_test position_map_test weights_test output_test embeddings_golden_test)
# Of the host's own CPU, which may have instructions that others lack.
CPU_TESTS=(attention_kernel_test float_kernel_test integer_kernel_test linear_test)

# Below the preset's build folder.
PROGRAMS=(bench/forward_benchmark bin/pixembed bin/pixembed-server)

# The shared libraries of a program or module that are neither LibTorch's nor every Linux's.
debian_libraries() {
  ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    grep -v "^$PIXEMBED_LIBTORCH/" |
    grep -vE '/(libc|libm|libdl|librt|libutil|libpthread|libstdc\+\+|libgcc_s|ld-linux[^/]*)\.so'
}

bundle() {
  local out=$1 preset=${2:-release} test program
  cd "$here/../.."
  source deploy/environment.sh
  cmake --preset "$preset" > /dev/null
  cmake --build --preset "$preset" --target "${TESTS[@]}" "${CPU_TESTS[@]}" "${PROGRAMS[@]##*/}" pixembed_cuda
  tests/golden/make.sh embeddings transparency

  rm -rf "$out"
  mkdir -p "$out/tests" "$out/bin" "$out/lib" "$out/golden" "$out/make"
  for test in "${TESTS[@]}" "${CPU_TESTS[@]}"; do
    strip -o "$out/tests/$test" "build/$preset/tests/$test"
  done
  for program in "${PROGRAMS[@]}"; do
    strip -o "$out/bin/${program##*/}" "build/$preset/$program"
  done
  strip -o "$out/lib/libpixembed_cuda.so" "build/$preset/lib/libpixembed_cuda.so"
  # shellcheck disable=SC2046
  cp -L $(debian_libraries build/"$preset"/tests/*_test "${PROGRAMS[@]/#/build/$preset/}") "$out/lib"
  cp -r build/golden/embeddings "$out/golden/embeddings"
  if [ "${PIXEMBED_BUNDLE_MODEL:-0}" = 1 ]; then
    cp -r "$PIXEMBED_MODEL" "$out/model"
  else
    rm -r "$out"/golden/embeddings/dinov2-s14*  # its programs hold the weights, too
  fi
  # The models are made there: the same seed gives the same bytes, and random weights do not pack.
  cp deploy/make_random_model.py deploy/model_directory.py deploy/replace_directory.py "$out/make"
  # 1280x960 and 640x480, and the second brought to the model's size.
  "$PIXEMBED_REFERENCE_PYTHON" tests/bench/make_pictures.py "$out/pictures/jpeg"
  mkdir -p "$out/pictures/bmp"
  "$PIXEMBED_REFERENCE_PYTHON" -c 'import sys, PIL.Image
PIL.Image.open(sys.argv[1]).resize((224, 224)).save(sys.argv[2])' \
    "$out/pictures/jpeg/640x480.jpg" "$out/pictures/bmp/224x224.bmp"
  git describe --always --dirty --abbrev=40 --exclude='*' > "$out/commit"
  cp tests/gpu/run.sh tests/gpu/measure.py "$out"
  XZ_OPT=-3 tar -C "$out" -cJf "$out.tar.xz" .
  du -sh "$out" "$out.tar.xz"
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

libraries() {  # of the bundle $1 and the folder $2 with torch/ and nvidia/
  export LD_LIBRARY_PATH="$1/lib:$2/torch/lib:$2/nvidia/cu13/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

test_bundle() {
  local out torch device test tests failed=() filter='*'
  out=$(cd "${1:-$here}" && pwd)
  torch=$(libtorch)
  libraries "$out" "$torch"
  export PIXEMBED_GOLDEN_DIRECTORY="$out/golden"
  if [ -d "$out/model" ]; then
    printf '%s' "$out/model" > "$out/golden/embeddings/dinov2-s14/directory"
  else
    echo "gpu: the real model is not in the bundle: its tests are left out" >&2
    filter='-*RealModel*'
  fi
  # Beside each other: most of a test's time is the start of LibTorch's CUDA half.
  local logs
  logs=$(mktemp -d)
  for device in ${PIXEMBED_TEST_DEVICES:-cuda:0 cpu}; do
    tests=("${TESTS[@]}")
    [ "$device" != cpu ] || tests+=("${CPU_TESTS[@]}")
    for test in "${tests[@]}"; do
      (
        PIXEMBED_TEST_DEVICE=$device "$out/tests/$test" --gtest_brief=1 --gtest_filter="$filter" \
          > "$logs/$test on $device" 2>&1 && touch "$logs/$test on $device.passed"
      ) &
    done
    wait
    for test in "${tests[@]}"; do
      echo "== $test on $device"
      cat "$logs/$test on $device"
      [ -e "$logs/$test on $device.passed" ] || failed+=("$test on $device")
    done
  done
  rm -r "$logs"
  [ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}" >&2; exit 1; }
  echo "all passed"
}

measure() {
  PIXEMBED_LIBTORCH=$(libtorch)
  export PIXEMBED_LIBTORCH
  libraries "$here" "$PIXEMBED_LIBTORCH"
  "${PYTHON:-python3}" "$here/measure.py" "$here" "$@"
}

case "${1:-}" in
  bundle) [ $# -ge 2 ] && { bundle "$2" "${3:-release}"; exit; } ;;
  test) test_bundle "${2:-$here}"; exit ;;
  measure) [ $# -ge 2 ] && { shift; measure "$@"; exit; } ;;
esac
sed -n '2,20s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
exit 2
