#!/usr/bin/env bash
# Installs the suites that run.sh runs: s3-tests at the commit below and what it needs from PyPI in an environment of
# its own, and versitygw's tests through the Go module proxy. All of it goes under target/conformance; what is
# already there stays. S3TESTS_DIR names a copy of s3-tests from elsewhere.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
DIR=${CONFORMANCE_DIR:-$ROOT/target/conformance}
S3TESTS_COMMIT=8f0ae7b404a3a2fcf7038bf1e6bf29544fe9b6a3
VERSITYGW_VERSION=v1.8.0
mkdir -p "$DIR"

if [ ! -x "$DIR/venv/bin/pytest" ]; then
  python3 -m venv "$DIR/venv"
fi
"$DIR/venv/bin/pip" install --quiet --disable-pip-version-check \
  boto3 PyYAML munch gevent isodate requests pytz httplib2 lxml pytest pytest-xdist pytest-timeout

if [ -z "${S3TESTS_DIR:-}" ] && [ ! -d "$DIR/s3-tests/s3tests" ]; then
  git clone --quiet https://github.com/ceph/s3-tests "$DIR/s3-tests" &&
    git -C "$DIR/s3-tests" checkout --quiet "$S3TESTS_COMMIT" ||
    echo "s3-tests cannot be fetched: put a copy into $DIR/s3-tests, or name one in S3TESTS_DIR" >&2
fi

if [ ! -x "$DIR/bin/versitygw" ]; then
  if command -v go >/dev/null; then
    GOBIN=$DIR/bin go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION"
  else
    echo "versitygw's tests need Go" >&2
  fi
fi
