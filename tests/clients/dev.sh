#!/usr/bin/env bash
# `sealgate dev` in a temporary folder, and all of run.sh through it. Environment: as run.sh, but for S3_*; and
# SEALGATE_BIN, by default the one in target/.
. "$(dirname "$0")/gateway.sh"
finish() {
  status=$?
  stop_gateways
  [ "$status" = 0 ] || { echo "# the gateway's last lines:"; tail -n 30 "$T/dev.log" 2>/dev/null | cut -c1-400; }
  rm -rf "$T"
  exit "$status"
}
trap finish EXIT

port=$(free_port)
background "$T/dev.log" "$BIN" dev --data "$T/data" --listen "127.0.0.1:$port" --json "$T/dev.json"
wait_for "http://127.0.0.1:$port/" "${PIDS[0]}" "$T/dev.log"
for _ in $(seq 100); do
  [ ! -s "$T/dev.json" ] || break
  sleep 0.1
done
field() { python3 -c 'import functools, json, sys; print(functools.reduce(dict.get, sys.argv[2:], json.load(open(sys.argv[1]))))' "$T/dev.json" "$@"; }
S3_ENDPOINT=$(field endpoint)
S3_REGION=$(field region)
S3_ACCESS=$(field access_key)
S3_SECRET=$(field secret_key)
STORE_ENDPOINT=$(field store endpoint)
STORE_REGION=$S3_REGION
STORE_ACCESS=$(field store access_key)
STORE_SECRET=$(field store secret_key)
export S3_ENDPOINT S3_REGION S3_ACCESS S3_SECRET STORE_ENDPOINT STORE_REGION STORE_ACCESS STORE_SECRET

# The dev gateway speaks plain HTTP; clients that want TLS get it in front of that.
certificate "$T"
tls=$(free_port)
background "$T/tls.log" socat "openssl-listen:$tls,bind=127.0.0.1,cert=$T/tls.pem,key=$T/tls.key,verify=0,reuseaddr,fork" \
  "tcp:127.0.0.1:$port"
wait_for "https://localhost:$tls/" "${PIDS[1]}" "$T/tls.log"
export S3_TLS_ENDPOINT=https://localhost:$tls S3_CA=$T/tls.pem

status=0
# What lies in the folder shows nothing of what was put in.
mkdir "$T/raw"
"$VENV/bin/python3" "$HERE/raw.py" write raw-check "$T/raw"
if grep -rqF 'this-is-plaintext' "$T/data"; then
  echo "not ok raw: the data folder shows plaintext"
  status=1
else
  echo "ok raw: the data folder shows no plaintext"
fi
"$VENV/bin/python3" "$HERE/raw.py" remove raw-check

# What the embedded store does not have; and the ETags of parts are the gateway's receipts.
S3_LACKS="versioning lock tagging list-uploads part-md5 listed-md5 ${S3_LACKS:-}" bash "$HERE/run.sh" || status=$?
exit "$status"
