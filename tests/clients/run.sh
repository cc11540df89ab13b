#!/usr/bin/env bash
# run.sh: real clients against an S3 endpoint, which may be the gateway or a store.
#
#   S3_ENDPOINT S3_ACCESS S3_SECRET S3_REGION   where, and as whom
#   S3_TLS_ENDPOINT S3_CA   the same over TLS, and the PEM file of its certificate: for clients that want TLS
#   SUITES     which of those below (all)
#   BIG=1      with larger objects, up to 1.1 GiB
#   S3_LACKS   what the store (behind the gateway) cannot do; checks of it are skipped:
#     versions versioning lock if-none-match if-match complete-conditions copy-conditions hard-keys long-keys tagging
#     list-uploads uploads-markers unnamed-parts minio-clients overlapping-writes   of a store, directly or behind the gateway
#     part-md5 listed-md5                                    of the gateway: part ETags are receipts, not MD5s
#     checksums trailers chunked last-chunk strict part-checksums part-number part-copy-conditions
#     mp-object-size attributes                              of a store directly; the gateway has them
#   STORE_ENDPOINT STORE_ACCESS STORE_SECRET STORE_REGION   the store behind the gateway: for the suite migrate, which plants
#     objects there, and is skipped without; STORE_LACKS as S3_LACKS. migrate.sh says how to run it in full, and SEALGATE_BIN
#     names the program that it runs
#   SEALGATE_TEST_VENV   the Python environment that install.sh made
#
# One line a check, `ok`, `not ok` or `skip`; the last line is `N passed, N failed`.
set -euo pipefail
cd "$(dirname "$0")"
: "${S3_ENDPOINT:?}" "${S3_ACCESS:?}" "${S3_SECRET:?}" "${S3_REGION:?}"
export S3_ENDPOINT S3_ACCESS S3_SECRET S3_REGION S3_LACKS="${S3_LACKS:-}" BIG="${BIG:-0}"
export S3_TLS_ENDPOINT=${S3_TLS_ENDPOINT:-} S3_CA=${S3_CA:-} PYTHONDONTWRITEBYTECODE=1
VENV=${SEALGATE_TEST_VENV:-$(cd ../.. && pwd)/target/test-venv}
export VENV PATH="$VENV/bin:$PATH"
ALL="aws boto rclone s3cmd restic
  migrate multipart many-parts aws-multipart rclone-multipart s3cmd-multipart restic-packs mc minio-go duplicity s3fs pgbackrest barman"

results=$(mktemp)
trap 'rm -f "$results"' EXIT
for suite in ${SUITES:-$ALL}; do
  started=$SECONDS
  status=0
  if [ -f "$suite.sh" ]; then
    bash "./$suite.sh" | tee -a "$results" || status=$?
  else
    "$VENV/bin/python3" "$suite.py" | tee -a "$results" || status=$?
  fi
  # A suite that dies says so by its status only.
  if [ "$status" != 0 ] && ! grep -q "^not ok $suite" "$results"; then
    echo "not ok $suite: ended with status $status" | tee -a "$results"
  fi
  echo "# $suite: $((SECONDS - started)) s"
done
passed=$(grep -c '^ok' "$results" || true)
failed=$(grep -c '^not ok' "$results" || true)
skipped=$(grep -c '^skip' "$results" || true)
[ "$skipped" = 0 ] || echo "# $skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
