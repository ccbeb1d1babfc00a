#!/usr/bin/env bash
# Makes the golden files: what the real transformers, torchvision, Pillow and safetensors say.
#
# usage: tests/golden/make.sh [NAME...]     default: every make_NAME.py of this folder
#
# Each make_NAME.py is run with build/golden as its argument, unless it, the Python modules that it
# may share, the export scripts and the pinned reference are what they were when it last succeeded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/environment.sh

[ -x "$PIXEMBED_REFERENCE_PYTHON" ] ||
  { echo "golden: no reference Python at $PIXEMBED_REFERENCE_PYTHON: run deploy/setup.sh test" >&2; exit 1; }

out=build/golden
mkdir -p "$out/.stamps"
exec 9> "$out/.stamps/lock"
flock 9  # test runs of several presets share the files

shared=(deploy/requirements/reference.txt deploy/requirements/reference-no-deps.txt
  deploy/encoder_module.py deploy/export_torchscript.py deploy/export_aotinductor.py)
for module in tests/golden/*.py; do
  [[ $module == */make_*.py || $module == *_test.py ]] || shared+=("$module")
done

[ $# -gt 0 ] || { scripts=(tests/golden/make_*.py); scripts=("${scripts[@]##*/make_}"); set -- "${scripts[@]%.py}"; }
for name in "$@"; do
  script="tests/golden/make_$name.py"
  stamp="$out/.stamps/$name"
  # A script may take cases from another.
  mapfile -t others < <(sed -n 's|^import \(make_[a-z_]*\)$|tests/golden/\1.py|p' "$script")
  key=$(cat "$script" "${others[@]}" "${shared[@]}" | sha256sum)
  [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || continue
  step "golden: $name"
  rm -f "$stamp"
  PYTHONDONTWRITEBYTECODE=1 "$PIXEMBED_REFERENCE_PYTHON" "$script" "$out"
  echo "$key" > "$stamp"
done
