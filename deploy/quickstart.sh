#!/usr/bin/env bash
# From a fresh Debian 12 to vectors of real photos: sets up, builds the release, makes a real
# DINOv2-S/14, serves it on loopback, embeds sample photos through gRPC and shuts the server down.
#
# usage: deploy/quickstart.sh [--serve] [--port=PORT]
#   --serve      leave the server running in the foreground; Ctrl-C drains and ends it
#   --port=PORT  where to listen; default: 50051 with --serve, else a free port
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source deploy/environment.sh
BIN="$PWD/build/release/bin"

serve=false
port=
server=   # its process id, while it runs
scratch=

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

fail() {
  echo "quickstart: $*" >&2
  exit 1
}

parse_arguments() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --serve) serve=true ;;
      --port=*) port=${1#*=} ;;
      --port)
        [ $# -ge 2 ] || fail "--port is without its value"
        shift
        port=$1
        ;;
      -h | --help) usage; exit 0 ;;
      *) usage >&2; exit 2 ;;
    esac
    shift
  done
  [ -n "$port" ] || { $serve && port=50051 || port=0; }
  [[ $port =~ ^[0-9]+$ && $port -le 65535 ]] || fail "--port=$port is not a port, 0 to 65535"
}

build() {
  step "release build: pixembed-server and pixembed"
  mkdir -p build
  cmake --preset release > build/release.configure.log 2>&1 ||
    { cat build/release.configure.log >&2; fail "cmake could not configure the build"; }
  cmake --build --preset release --target pixembed-server pixembed
}

# Sets `server` and `address`. The server's log goes through a pipe to standard error, and tells the
# address; the pipe's end tells that the server is gone.
start_server() {
  step "server: $PIXEMBED_MODEL"
  scratch=$(mktemp -d)
  mkfifo "$scratch/log"
  # A session of its own: Ctrl-C reaches this script alone, which passes it on once.
  setsid "$BIN/pixembed-server" --model="$PIXEMBED_MODEL" --listen="127.0.0.1:$port" \
    > "$scratch/log" 2>&1 &
  server=$!
  local log line
  exec {log}< "$scratch/log"
  address=
  while [ -z "$address" ] && IFS= read -r line <&"$log"; do
    printf '%s\n' "$line" >&2
    [[ $line != *" serving on "* ]] || address=${line##* serving on }
  done
  if [ -z "$address" ]; then
    local code=0
    wait "$server" || code=$?
    server=
    fail "the server ended with code $code; its last line says why"
  fi
  cat <&"$log" >&2 &
  exec {log}<&-
  "$BIN/pixembed" health --address="$address" --wait=60s > "$scratch/health" ||
    fail "the server listens on $address, but is not serving"
}

# The server's exit code, once it has ended; a signal to this script is passed on and does not end
# the wait.
await_server() {
  local code=0
  wait "$server" || code=$?
  while kill -0 "$server" 2>/dev/null; do
    code=0
    wait "$server" || code=$?
  done
  server=
  return "$code"
}

stop_server() {
  step "SIGTERM: the server finishes what it accepted"
  kill -TERM "$server"
  local code=0
  await_server || code=$?
  [ "$code" -eq 0 ] || fail "the server ended with code $code, expected 0"
}

# However this script ends, the server that it started ends with it.
clean_up() {
  if [ -n "$server" ]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  [ -z "$scratch" ] || rm -rf "$scratch"
}

embed_photos() {
  step "photos: the head of each vector, and its nearest neighbour among the others"
  (cd "$PIXEMBED_PHOTOS" && "$BIN/pixembed" embed --address="$address" --neighbours *.jpg *.png)
}

what_next() {
  cat <<TEXT

Done: DINOv2-S/14 ($PIXEMBED_MODEL) turned the photos in
$PIXEMBED_PHOTOS into vectors of 384 numbers, by gRPC.

Next:
  deploy/quickstart.sh --serve                                   leave the server running
  build/release/bin/pixembed embed ~/Pictures --output v.npy     your own pictures, as a numpy file
  build/release/bin/pixembed-server --model=DIRECTORY            your own model, in Hugging Face's layout
  tests/run.sh                                                   the proof: every test
TEXT
}

main() {
  parse_arguments "$@"
  trap clean_up EXIT
  deploy/setup.sh build assets
  build
  start_server
  trap 'kill -TERM "$server" 2>/dev/null || true' INT TERM HUP
  embed_photos
  if $serve; then
    what_next
    step "serving on $address until Ctrl-C"
    await_server
  else
    stop_server
    what_next
  fi
}

main "$@"
