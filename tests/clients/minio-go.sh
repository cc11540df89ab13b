#!/usr/bin/env bash
# minio-go through the program in minio-go/, which install.sh built where Go is there.
. "$(dirname "$0")/lib.sh"
: "${VENV:?}"
program=${MINIO_GO_BIN:-$VENV/bin/minio-go-suite}
if [ ! -x "$program" ]; then
  skip "everything ($program is not there: install.sh builds it where there is Go)"
  exit 0
fi
if lacks minio-clients; then
  skip "everything (this store lacks: minio-clients)"
  exit 0
fi
status=0
TMPDIR=$W "$program" || status=$?
exit "$status"
