#!/usr/bin/env bash
# Style of the Go module, and whether its stubs are those of the proto.
# usage: client/go/lint.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ../../deploy/environment.sh
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "lint: not as gofmt writes it: $unformatted" >&2; exit 1; }
go vet ./...
go tool -modfile=tools/go.mod staticcheck ./...
./generate.sh --check
