#!/usr/bin/env bash
# Installs the clients that run.sh drives: rclone, restic and s3cmd from Debian, aws cli, boto3, tink and
# cryptography from PyPI in an environment of their own ($SEALGATE_TEST_VENV, by default target/test-venv).
# Installs only what is missing, so it is quick where everything is there.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
VENV=${SEALGATE_TEST_VENV:-$ROOT/target/test-venv}

"$ROOT/scripts/apt-install.sh" rclone restic s3cmd curl python3-venv

if [ ! -x "$VENV/bin/aws" ] || ! "$VENV/bin/python3" -c 'import boto3, tink, cryptography' 2>/dev/null; then
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check awscli boto3 tink cryptography
fi
"$VENV/bin/aws" --version
