# Where set-up puts things; sourced by every script. Set PIXEMBED_CACHE to move all of it.
export PIXEMBED_CACHE="${PIXEMBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pixembed}"
# LibTorch: the unpacked torch wheel and the NVIDIA wheels beside it.
export PIXEMBED_LIBTORCH="$PIXEMBED_CACHE/libtorch-2.11.0"
# google/rpc/status.proto and its siblings.
export PIXEMBED_GOOGLEAPIS="$PIXEMBED_CACHE/googleapis"
# Python with numpy, onnx and safetensors: makes models and photos.
export PIXEMBED_TOOLS_PYTHON="$PIXEMBED_CACHE/tools/bin/python"
# Python with transformers, torchvision and Pillow: the reference, and the test tools.
export PIXEMBED_REFERENCE_PYTHON="$PIXEMBED_CACHE/reference/bin/python"
# Python with Triton's client, which has the reference's packages too; and Triton's load generator.
export PIXEMBED_TRITON_PYTHON="$PIXEMBED_CACHE/tritonclient/bin/python"
export PIXEMBED_PERF_ANALYZER="$PIXEMBED_CACHE/perf-analyzer/perf_analyzer"
# Prometheus and promtool, of Debian's package.
export PIXEMBED_PROMETHEUS="$PIXEMBED_CACHE/prometheus/usr/bin"
# The same, with what the Python client is tried with: datasets, LangChain, LlamaIndex, build.
export PIXEMBED_CLIENT_PYTHON="$PIXEMBED_CACHE/client/bin/python"
# Lint of C++, newer than Debian's, whose clang-tidy 14 looks through every header of the system too.
export PIXEMBED_CLANG_TIDY="$PIXEMBED_CACHE/lint/bin/clang-tidy"
# The default model (DINOv2-S/14) and the sample photos.
export PIXEMBED_MODEL="$PIXEMBED_CACHE/models/dinov2-s14"
export PIXEMBED_PHOTOS="$PIXEMBED_CACHE/photos"
# The pictures of Pillow's own tests.
export PIXEMBED_CORPUS="$PIXEMBED_CACHE/pillow-13.0.0/Tests/images"
# Go, for client/go: where set-up puts one if that of the PATH is too old. Modules and builds are kept
# between runs.
export PIXEMBED_GO="$PIXEMBED_CACHE/go-1.26.8"
[ ! -x "$PIXEMBED_GO/bin/go" ] || export PATH="$PIXEMBED_GO/bin:$PATH"
export GOMODCACHE="$PIXEMBED_CACHE/go/modules" GOCACHE="$PIXEMBED_CACHE/go/build"
export GOTOOLCHAIN=local GOWORK=off GOFLAGS="-mod=readonly -modcacherw -buildvcs=false"
# Compilations are shared by all checkouts of one user.
export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"
export CCACHE_NOHASHDIR=1
# What ccache wants before it keeps compilations with precompiled headers, however new these are.
export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime

# One line of progress.
step() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
