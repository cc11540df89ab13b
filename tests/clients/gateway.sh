# How the scripts here find, start and stop the gateway. To be sourced.
# shellcheck shell=bash
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
export VENV=${SEALGATE_TEST_VENV:-$ROOT/target/test-venv}
PIDS=()
T=$(mktemp -d "${TMPDIR:-/tmp}/sealgate-test.XXXXXX")

BIN=${SEALGATE_BIN:-}
if [ -z "$BIN" ]; then
  for candidate in "$ROOT/target/release/sealgate" "$ROOT/target/debug/sealgate"; do
    [ ! -x "$candidate" ] || { BIN=$candidate && break; }
  done
fi
[ -x "$BIN" ] || {
  echo "no sealgate: build it, or name it in SEALGATE_BIN" >&2
  exit 2
}

# The gateway refuses variables of its prefix that it does not know, so those of these scripts are kept from it.
sealgate() { env -u SEALGATE_BIN -u SEALGATE_TEST_VENV "$BIN" "$@"; }

# background LOG COMMAND...: starts it; the PID is in $! and in PIDS
background() {
  local log=$1
  shift
  env -u SEALGATE_BIN -u SEALGATE_TEST_VENV "$@" >"$log" 2>&1 </dev/null &
  PIDS+=($!)
}

stop_gateways() {
  local pid
  for pid in "${PIDS[@]}"; do
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  PIDS=()
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# certificate FOLDER: tls.pem and tls.key for localhost, which sign themselves
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$1/tls.key" -out "$1/tls.pem" 2>"$T/answer"
}

# wait_for URL PID LOG: any HTTP answer counts
wait_for() {
  for _ in $(seq 300); do
    curl -sk -o "$T/answer" --max-time 2 "$1" && return 0
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  echo "no answer from $1:" >&2
  tail -n 20 "$3" >&2
  return 1
}
