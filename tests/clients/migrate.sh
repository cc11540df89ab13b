#!/usr/bin/env bash
# `sealgate migrate` against a store, killed over and over while clients read and write the same keys through a gateway.
#
#   STORE_ENDPOINT STORE_ACCESS STORE_SECRET STORE_REGION   the store
#   STORE_SCRIPT     or a script that starts one, such as ../shared/stores/ceph.sh; without either it is that of `sealgate dev`
#   STORE_LACKS      as S3_LACKS of run.sh
#   MIGRATE_SMALL    small objects (400), a third of them in each format
#   MIGRATE_LARGE    long ones of each format (1)
#   MIGRATE_BYTES    their length (8 MiB, with BIG=1 80 MiB); a legacy one can have 2 GiB less one byte here
#   MIGRATE_KILLS    migrations of everything that are killed (6)
#   MIGRATE_CLIENTS  readers, and as many writers (4)
#   SEED             of the random choices
#   SEALGATE_BIN     the gateway, by default the one in target/
#
# All of it, by hand, on a store that really is one; some minutes, and three times the room of the objects:
#   STORE_SCRIPT=../shared/stores/ceph.sh STORE=bluestore STORE_LACKS=overlapping-writes MIGRATE_SMALL=10000 MIGRATE_BYTES=2146435072 MIGRATE_KILLS=12 \
#     tests/clients/migrate.sh
# MIGRATE_MEASURE=1 measures in place of that; docs/PERFORMANCE.md has the results.
if [ -n "${S3_ENDPOINT:-}" ] && [ -z "${STORE_ENDPOINT:-}" ]; then
  echo "skip migrate: STORE_ENDPOINT does not say which store is behind the gateway"
  exit 0
fi
. "$(dirname "$0")/gateway.sh"
script=""
finish() {
  status=$?
  stop_gateways
  [ -z "$script" ] || "$script" stop || true
  [ "$status" = 0 ] || { echo "# the last lines of gateway and migrations:" && tail -n 10 "$T/gateway.log" "$T/migrate.log" | cut -c1-400; }
  rm -rf "$T"
  exit "$status"
}
trap finish EXIT
touch "$T/gateway.log" "$T/migrate.log"

if [ -n "${STORE_ENDPOINT:-}" ]; then
  :
elif [ -n "${STORE_SCRIPT:-}" ]; then
  script=$STORE_SCRIPT
  export STORES=${STORES:-$T/stores}
  mkdir -p "$STORES"
  env -u S3_ENDPOINT "$script" start >"$T/store.log" 2>&1 || {
    tail -n 20 "$T/store.log"
    exit 1
  }
  # shellcheck disable=SC1090
  . <(grep '^S3_' "$STORES/$(basename "$script" .sh)/env")
  STORE_ENDPOINT=$S3_ENDPOINT STORE_ACCESS=$S3_ACCESS STORE_SECRET=$S3_SECRET STORE_REGION=$S3_REGION
else
  background "$T/dev.log" "$BIN" dev --data "$T/data" --listen 127.0.0.1:0 --json "$T/dev.json"
  for _ in $(seq 300); do
    [ ! -s "$T/dev.json" ] || break
    sleep 0.1
  done
  field() { python3 -c 'import functools, json, sys; print(functools.reduce(dict.get, sys.argv[2:], json.load(open(sys.argv[1]))))' "$T/dev.json" "$@"; }
  STORE_ENDPOINT=$(field store endpoint) STORE_ACCESS=$(field store access_key) STORE_SECRET=$(field store secret_key) STORE_REGION=$(field region)
fi
export STORE_ENDPOINT STORE_ACCESS STORE_SECRET STORE_REGION STORE_LACKS=${STORE_LACKS:-}

sealgate keygen --out "$T/main.key" >"$T/answer" 2>&1
port=$(free_port)
mkdir -p "$T/spool"
cat >"$T/migrate.yaml" <<C
server: {listen: "127.0.0.1:$port"}
store:
  endpoint: "$STORE_ENDPOINT"
  region: "$STORE_REGION"
  access_key: "$STORE_ACCESS"
  secret_key: "$STORE_SECRET"
  addressing: path
keyring:
  current: main
  keys:
    - {id: main, kind: local, file: "$T/main.key"}
buckets:
  "migrate-*": {plaintext: allow}
compat:
  accept_unsigned: {until: 2999-12-31}
  s3proxy: {secrets: ["what the old proxy was run with"]}
multipart: {prefix: "~migrate/"}
spool: {dir: "$T/spool", bytes: 64GiB}
logging: {level: "${MIGRATE_LOG_LEVEL:-warn}"}
users:
  - {access_key: tester, secret_key: "tester-secret-$port", rules: [{buckets: ["*"], actions: [read, write, list, delete, overwrite, admin]}]}
C
background "$T/gateway.log" "$BIN" serve --config "$T/migrate.yaml"
wait_for "http://127.0.0.1:$port/" "${PIDS[-1]}" "$T/gateway.log"
export S3_ENDPOINT=http://127.0.0.1:$port S3_ACCESS=tester S3_SECRET=tester-secret-$port S3_REGION=$STORE_REGION S3_LACKS=$STORE_LACKS
export BIN PYTHONDONTWRITEBYTECODE=1 MIGRATE_CONFIG=$T/migrate.yaml MIGRATE_LOG=$T/migrate.log MIGRATE_RESERVED="~migrate/" TMPDIR=$T
if [ "${MIGRATE_MEASURE:-0}" = 1 ]; then
  "$VENV/bin/python3" "$HERE/migrate-measure.py"
else
  status=0
  "$VENV/bin/python3" "$HERE/migrate.py" | tee "$T/results" || status=$?
  failed=$(grep -c '^not ok' "$T/results" || true)
  echo "# $(grep -c '^ok' "$T/results" || true) passed, $failed failed"
  # One that dies says so by its status only.
  [ "$failed" = 0 ] && [ "$status" = 0 ] || exit 1
fi
