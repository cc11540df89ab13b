#!/usr/bin/env bash
# Installs the clients that run.sh drives, only what is missing, so it is quick where everything is there.
#   Debian   rclone, restic, s3cmd, aws cli 2, duplicity, s3fs, PostgreSQL with pgBackRest and barman-cloud
#   PyPI     aws cli (newest), boto3, awscrt, tink, cryptography in an environment of their own ($SEALGATE_TEST_VENV, by
#            default target/test-venv), and an old aws cli in another beside it
#   Go       mc, and the program in minio-go/, where there is Go; their suites are skipped where there is none
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
VENV=${SEALGATE_TEST_VENV:-$ROOT/target/test-venv}
OLD_AWS=1.18.223
MINIO_CLIENT=latest

"$ROOT/scripts/apt-install.sh" rclone restic s3cmd curl openssl socat python3-venv \
  awscli duplicity python3-boto3 gnupg s3fs fuse postgresql pgbackrest barman-cli-cloud

if [ ! -x "$VENV/bin/aws" ] || ! "$VENV/bin/python3" -c 'import awscrt, boto3, tink, cryptography' 2>/dev/null; then
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check awscli boto3 awscrt tink cryptography
fi
"$VENV/bin/aws" --version
if [ ! -x "$VENV-old-aws/bin/aws" ]; then
  python3 -m venv "$VENV-old-aws"
  "$VENV-old-aws/bin/pip" install --quiet --disable-pip-version-check "awscli==$OLD_AWS" || {
    echo "no aws cli $OLD_AWS on this Python: its checks are left out"
    rm -rf "$VENV-old-aws"
  }
fi

if command -v go >/dev/null; then
  [ -x "$VENV/bin/mc" ] || GOBIN=$VENV/bin go install "github.com/minio/mc@$MINIO_CLIENT" ||
    echo "mc could not be built: its suite is skipped"
  # Built again when its source is newer.
  program=$VENV/bin/minio-go-suite
  if [ ! -x "$program" ] || [ -n "$(find "$ROOT/tests/clients/minio-go" -newer "$program" -type f)" ]; then
    (cd "$ROOT/tests/clients/minio-go" && go build -o "$program" .) || echo "minio-go-suite could not be built: its suite is skipped"
  fi
else
  echo "no Go: the suites of mc and minio-go are skipped"
fi
