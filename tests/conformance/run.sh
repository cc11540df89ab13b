#!/usr/bin/env bash
# shellcheck disable=SC2317  # finish is called by its name
# S3 suites that others wrote, each run twice: directly against a store, then through the gateway in front of it.
# s3-tests runs on Ceph, versitygw's tests on versitygw itself with a folder behind it.
# Both results stay in OUT; the difference is printed test by test. It fails where a test that passes directly does not
# pass through the gateway and has no reason in expected.txt, and where one listed there makes no difference any more.
#
#   SUITES          which of: s3-tests versitygw (both)
#   SHARED          where stores/ceph.sh is (../shared); CEPH_ROOT as that script takes it
#   SEALGATE_BIN    the gateway, by default the one in target/
#   CONFORMANCE_DIR where install.sh put the suites (target/conformance)
#   S3TESTS_DIR     a copy of ceph/s3-tests, where it is elsewhere
#   OUT             where results go (target/conformance/results)
#   JOBS            s3-tests run side by side (3)
#   ONLY            for s3-tests a pytest -k expression, for versitygw names of tests
#   REQUIRE=1       a suite or store that is not there is a failure, not skipped
. "$(dirname "$0")/../clients/gateway.sh"
HERE=$(cd "$(dirname "$0")" && pwd)
SHARED=${SHARED:-$ROOT/../shared}
DIR=${CONFORMANCE_DIR:-$ROOT/target/conformance}
S3TESTS_DIR=${S3TESTS_DIR:-$DIR/s3-tests}
OUT=${OUT:-$DIR/results}
JOBS=${JOBS:-3}
STORE_SCRIPT=$SHARED/stores/ceph.sh
export STORES=${STORES:-$T/stores}
PYTHON=$DIR/venv/bin/python3
# botocore, requests and Go each have their own idea of these.
unset AWS_CA_BUNDLE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE AWS_PROFILE AWS_ENDPOINT_URL
export NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}"
export no_proxy=$NO_PROXY
mkdir -p "$OUT" "$STORES"

# Lifecycle and cloud tests wait for the store's own schedule and bucket logging for its roll-over: minutes each, and no
# object passes a gateway meanwhile.
MARKERS='not (lifecycle_expiration or lifecycle_transition or cloud_transition or cloud_restore or bucket_logging or bucket_logging_cleanup)'

started=0
finish() {
  status=$?
  stop_gateways
  [ "$started" = 0 ] || "$STORE_SCRIPT" stop || true
  rm -rf "$T"
  exit "$status"
}
trap finish EXIT
failed=0

skip() {
  echo "skip $1: $2"
  [ "${REQUIRE:-0}" = 0 ] || failed=1
}

start_ceph() {
  started=1
  "$STORE_SCRIPT" start >"$OUT/store.log" 2>&1 || {
    tail -n 20 "$OUT/store.log"
    echo "not ok: the store did not start"
    exit 1
  }
  set -a
  # shellcheck disable=SC1091
  . "$STORES/ceph/env"
  set +a
  export STORE_ENDPOINT=$S3_ENDPOINT
}

# The same users as the store's, each with the same keys and with the store's own credentials, so that whatever the
# store knows of them (owners, ACLs, policies) holds behind the gateway too.
start_gateway() { # ENDPOINT NAME [DEFAULT_CHECKSUM], users as "access secret" lines on standard input; sets GATEWAY_ENDPOINT
  local endpoint=$1 name=$2 checksum=${3:-none} port admin access secret config
  port=$(free_port) admin=$(free_port) config=$T/$2.yaml
  [ -f "$T/main.key" ] || sealgate keygen --out "$T/main.key"
  {
    cat <<C
server: {listen: "127.0.0.1:$port", admin_listen: "127.0.0.1:$admin"}
store: {endpoint: "$endpoint", region: "$S3_REGION", access_key: "$S3_ACCESS", secret_key: "$S3_SECRET", addressing: path}
keyring:
  current: main
  keys: [{id: main, kind: local, file: "$T/main.key"}]
# What anybody may do is the store's to say, as it is for those who are known.
anonymous:
  rules: [{buckets: ["*"], actions: [read, write, list, delete, overwrite, admin]}]
buckets:
  "*": {default_checksum: $checksum}
users:
C
    while read -r access secret; do
      echo "  - access_key: \"$access\""
      echo "    secret_key: \"$secret\""
      echo '    rules: [{buckets: ["*"], actions: [read, write, list, delete, overwrite, admin]}]'
      echo "    store_credentials: {access_key: \"$access\", secret_key: \"$secret\"}"
    done
  } >"$config"
  sealgate config check --config "$config" >"$OUT/$name-config.log" 2>&1 || {
    cat "$OUT/$name-config.log"
    exit 1
  }
  background "$OUT/$name.log" "$BIN" serve --config "$config"
  wait_for "http://127.0.0.1:$port/" "${PIDS[-1]}" "$OUT/$name.log"
  GATEWAY_ENDPOINT=http://127.0.0.1:$port
}

s3tests_conf() {
  cat <<C
[DEFAULT]
host = 127.0.0.1
port = ${1##*:}
is_secure = False
ssl_verify = False
[fixtures]
bucket prefix = conformance-{random}-
iam name prefix = s3-tests-
iam path prefix = /s3-tests/
[s3 main]
display_name = $MAIN_NAME
user_id = $MAIN_ID
email = tester@ceph.com
api_name = $API_NAME
access_key = $S3_ACCESS
secret_key = $S3_SECRET
[s3 alt]
display_name = $ALT_NAME
user_id = $ALT_ID
email = john.doe@example.com
access_key = $ALT_ACCESS
secret_key = $ALT_SECRET
[s3 tenant]
display_name = testx\$tenanteduser
user_id = $TENANT_ID
email = tenanteduser@example.com
tenant = testx
access_key = $TENANT_ACCESS
secret_key = $TENANT_SECRET
[iam]
display_name = none
user_id = none
email = none
access_key = none
secret_key = none
[iam root]
user_id = none
email = none
access_key = none
secret_key = none
[iam alt root]
user_id = none
email = none
access_key = none
secret_key = none
C
}

# s3_tests WAY ENDPOINT: a failing test is a result, a suite that does not run is an error.
s3_tests() {
  s3tests_conf "$2" >"$T/s3tests-$1.conf"
  (cd "$S3TESTS_DIR" && S3TEST_CONF=$T/s3tests-$1.conf "$PYTHON" -m pytest -q -p no:cacheprovider -n "$JOBS" --timeout 300 \
    --junitxml "$OUT/s3-tests-$1.xml" -m "$MARKERS" ${ONLY:+-k "$ONLY"} \
    s3tests/functional/test_s3.py s3tests/functional/test_headers.py) >"$OUT/s3-tests-$1.log" 2>&1 || [ $? = 1 ]
  tail -n 1 "$OUT/s3-tests-$1.log"
}

# A store of its own for each run, so that neither sees what the other left.
s3_tests_twice() {
  start_ceph
  echo "# s3-tests, directly: $(s3_tests direct "$STORE_ENDPOINT")"
  start_ceph
  start_gateway "$STORE_ENDPOINT" s3-tests-gateway <<U
$S3_ACCESS $S3_SECRET
$ALT_ACCESS $ALT_SECRET
$TENANT_ACCESS $TENANT_SECRET
U
  echo "# s3-tests, through the gateway: $(s3_tests through "$GATEWAY_ENDPOINT")"
  stop_gateways
  "$STORE_SCRIPT" stop
  compare s3-tests xml
}

# versitygw_tests WAY ENDPOINT VERSIONED_ENDPOINT
versitygw_tests() {
  # shellcheck disable=SC2086
  "$PYTHON" "$HERE/versitygw.py" "$DIR/bin/versitygw" "$2" "$3" "$OUT/versitygw-$1.json" ${ONLY:-} \
    >"$OUT/versitygw-$1.log" 2>&1
  tail -n 1 "$OUT/versitygw-$1.log"
}

versitygw_twice() {
  local stores=() port versions options
  export S3_ACCESS=conformance S3_SECRET=conformance-secret-0123 S3_REGION=us-east-1
  export STORE_DIRS=$T/plain:$T/versioned:$T/versions
  mkdir -p "$T"/{plain,versioned,versions}
  for versions in "" "$T/versions"; do
    port=$(free_port)
    options=(${versions:+--versioning-dir "$versions"} "$T/${versions:+versioned}")
    [ -n "$versions" ] || options=("$T/plain")
    background "$OUT/versitygw-store-${#stores[@]}.log" "$DIR/bin/versitygw" --access "$S3_ACCESS" --secret "$S3_SECRET" \
      --port "127.0.0.1:$port" --quiet posix "${options[@]}"
    wait_for "http://127.0.0.1:$port/" "${PIDS[-1]}" "$OUT/versitygw-store-${#stores[@]}.log"
    stores+=("http://127.0.0.1:$port")
  done
  echo "# versitygw, directly: $(versitygw_tests direct "${stores[@]}")"
  local gateways=()
  for store in "${stores[@]}"; do
    # As that store does, and S3.
    start_gateway "$store" "versitygw-gateway-${#gateways[@]}" crc64nvme <<<"$S3_ACCESS $S3_SECRET"
    gateways+=("$GATEWAY_ENDPOINT")
  done
  echo "# versitygw, through the gateway: $(versitygw_tests through "${gateways[@]}")"
  stop_gateways
  compare versitygw json
}

# compare SUITE SUFFIX
compare() {
  "$PYTHON" "$HERE/compare.py" "$1" "$OUT/$1-direct.$2" "$OUT/$1-through.$2" "$HERE/expected.txt" "$OUT/$1.json" || failed=1
}

[ -x "$PYTHON" ] || { skip suites "run install.sh first" && exit "$failed"; }
for suite in ${SUITES:-s3-tests versitygw}; do
  case $suite in
    s3-tests)
      [ -x "$STORE_SCRIPT" ] || { skip s3-tests "$STORE_SCRIPT is not there" && continue; }
      [ -d "$S3TESTS_DIR/s3tests" ] || { skip s3-tests "no copy of it in $S3TESTS_DIR" && continue; }
      s3_tests_twice
      ;;
    versitygw)
      [ -x "$DIR/bin/versitygw" ] || { skip versitygw "it is not installed" && continue; }
      versitygw_twice
      ;;
    *) skip "$suite" "no such suite" ;;
  esac
done
exit "$failed"
