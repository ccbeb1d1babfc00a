#!/usr/bin/env bash
# Makes the stubs of proto/pixembed/v1 for Go: client/go/v1, which are committed. Run it after a change
# of the proto. deploy/setup.sh test brings what it needs.
#
# usage: client/go/generate.sh [--check]      --check: writes nothing; fails where they are not current
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/environment.sh
root=$PWD
# Debian's, whatever else is on the PATH: the stubs name its version.
protoc=/usr/bin/protoc
[ -x $protoc ] && [ -e "$PIXEMBED_GOOGLEAPIS/google/rpc/status.proto" ] ||
  { echo "generate: no $protoc or no google/rpc/status.proto: run deploy/setup.sh test" >&2; exit 1; }

plugin() {  # plugin NAME: its path, built from the versions of tools/go.mod
  go -C client/go/tools tool -n "$1"
}

generate() {  # generate FOLDER
  local messages services
  messages=$(plugin protoc-gen-go)
  services=$(plugin protoc-gen-go-grpc)
  $protoc -I proto -I "$PIXEMBED_GOOGLEAPIS" pixembed/v1/embedding.proto \
    --plugin=protoc-gen-go="$messages" --go_out="$1" --go_opt=module=pixembed \
    --plugin=protoc-gen-go-grpc="$services" --go-grpc_out="$1" --go-grpc_opt=module=pixembed
}

case "${1:-}" in
  "") generate client/go ;;
  --check)
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    generate "$folder"
    diff -r "$folder/v1" "$root/client/go/v1" >&2 ||
      { echo "generate: client/go/v1 is not what the proto says: run client/go/generate.sh" >&2; exit 1; }
    ;;
  *) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
