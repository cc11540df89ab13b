#!/usr/bin/env bash
# One object of as many parts as S3 has, 10,000 of 5 MiB: 52 GB through a gateway, by hand, since it takes half an hour.
# Ciphertext cannot be made up or compressed, so the store has to hold all of it.
#   S3_*     an endpoint, or none: then `sealgate dev` is started in DATA (a temporary folder); it joins parts by
#            copying them, so that needs twice the room
#   PARTS    fewer of them
#   WHOLE=1  and reads all of it back, not just ranges
. "$(dirname "$0")/gateway.sh"
finish() {
  status=$?
  stop_gateways
  rm -rf "$T"
  [ -z "${MADE:-}" ] || rm -rf "$MADE"
  exit "$status"
}
trap finish EXIT
export PARTS=${PARTS:-10000} WHOLE=${WHOLE:-0} PYTHONDONTWRITEBYTECODE=1
if [ -z "${S3_ENDPOINT:-}" ]; then
  MADE=$(mktemp -d "${DATA:-${TMPDIR:-/tmp}}/sealgate-parts.XXXXXX")
  need=$((PARTS * 11)) # MiB
  free=$(($(stat -f -c '%a * %S' "$MADE") >> 20))
  [ "$free" -gt "$need" ] || {
    echo "$MADE has room for $free MiB, $need are needed: name another folder in DATA, or a store in S3_ENDPOINT" >&2
    exit 2
  }
  port=$(free_port)
  background "$T/dev.log" "$BIN" dev --data "$MADE/data" --listen "127.0.0.1:$port" --json "$T/dev.json"
  export GATEWAY_PID=${PIDS[0]}
  wait_for "http://127.0.0.1:$port/" "$GATEWAY_PID" "$T/dev.log"
  field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$T/dev.json" "$1"; }
  S3_ENDPOINT=$(field endpoint) S3_REGION=$(field region) S3_ACCESS=$(field access_key) S3_SECRET=$(field secret_key)
  export S3_ENDPOINT S3_REGION S3_ACCESS S3_SECRET S3_LACKS="list-uploads versioning ${S3_LACKS:-}"
fi
"$VENV/bin/python3" "$HERE/many-parts.py"
