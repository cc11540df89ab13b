#!/usr/bin/env bash
# run.sh: real clients against an S3 endpoint, which may be the gateway or a store.
#
#   S3_ENDPOINT S3_ACCESS S3_SECRET S3_REGION   where, and as whom
#   SUITES     which of: aws boto rclone s3cmd restic (all)
#   BIG=1      with an object of 1.1 GiB
#   S3_LACKS   what the store (behind the gateway) cannot do; checks of it are skipped:
#     versions versioning if-none-match if-match copy-conditions hard-keys        of a store, directly or behind the gateway
#     checksums trailers chunked last-chunk                            of a store directly; the gateway has them
#   SEALGATE_TEST_VENV   the Python environment that install.sh made
#
# One line a check, `ok`, `not ok` or `skip`; the last line is `N passed, N failed`.
set -euo pipefail
cd "$(dirname "$0")"
: "${S3_ENDPOINT:?}" "${S3_ACCESS:?}" "${S3_SECRET:?}" "${S3_REGION:?}"
export S3_ENDPOINT S3_ACCESS S3_SECRET S3_REGION S3_LACKS="${S3_LACKS:-}" BIG="${BIG:-0}"
VENV=${SEALGATE_TEST_VENV:-$(cd ../.. && pwd)/target/test-venv}
export PATH="$VENV/bin:$PATH"

results=$(mktemp)
trap 'rm -f "$results"' EXIT
for suite in ${SUITES:-aws boto rclone s3cmd restic}; do
  started=$SECONDS
  status=0
  if [ "$suite" = boto ]; then
    "$VENV/bin/python3" boto.py | tee -a "$results" || status=$?
  else
    bash "./$suite.sh" | tee -a "$results" || status=$?
  fi
  # A suite that dies says so by its status only.
  if [ "$status" != 0 ] && ! grep -q '^not ok' "$results"; then
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
