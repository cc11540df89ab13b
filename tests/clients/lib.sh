# What the client suites share. To be sourced; expects S3_ENDPOINT S3_ACCESS S3_SECRET S3_REGION.
# shellcheck shell=bash
set -euo pipefail
: "${S3_ENDPOINT:?}" "${S3_ACCESS:?}" "${S3_SECRET:?}" "${S3_REGION:?}"

export AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET
export AWS_DEFAULT_REGION=$S3_REGION AWS_REGION=$S3_REGION AWS_EC2_METADATA_DISABLED=true AWS_PAGER=
unset AWS_SESSION_TOKEN AWS_PROFILE AWS_ENDPOINT_URL AWS_CA_BUNDLE # rclone 1.60 does not start with some AWS_CA_BUNDLE
export NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}"
export no_proxy=$NO_PROXY

W=$(mktemp -d "${TMPDIR:-/tmp}/sealgate-clients.XXXXXX")
trap 'rm -rf "$W"' EXIT
# Names and numbers of a run differ from those of the run before.
export RUN
RUN=$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
SUITE=$(basename "$0" .sh)
FAILED=0

# check NAME COMMAND...: runs it in a subshell of its own, where set -e holds
check() {
  local name=$1
  shift
  ("$@") >"$W/log" 2>&1 &
  if wait $!; then
    echo "ok $SUITE: $name"
  else
    FAILED=1
    echo "not ok $SUITE: $name: $(tail -n 12 "$W/log" | tr '\n' '~' | sed 's/~/ ~ /g' | cut -c1-1500)"
  fi
}

skip() { echo "skip $SUITE: $1"; }

lacks() { case " ${S3_LACKS:-} " in *" $1 "*) return 0 ;; *) return 1 ;; esac }

# noise FILE SIZE
noise() { head -c "$2" /dev/urandom >"$1"; }

sha() { sha256sum "$1" | cut -d' ' -f1; }

same_file() {
  [ "$(sha "$1")" = "$(sha "$2")" ] || {
    echo "$1 and $2 differ: $(stat -c %s "$1") and $(stat -c %s "$2") bytes"
    return 1
  }
}

# equal ACTUAL EXPECTED
equal() {
  [ "$1" = "$2" ] || {
    echo "got: $1"
    echo "expected: $2"
    return 1
  }
}

# no_uploads BUCKET: nothing is under way in it
no_uploads() {
  local found
  found=$(command aws --endpoint-url "$S3_ENDPOINT" s3api list-multipart-uploads --bucket "$1" --query 'Uploads[].UploadId' --output text)
  equal "$found" None
}

# fails_with TEXT COMMAND...: the command fails, and says TEXT
fails_with() {
  local text=$1
  shift
  if "$@" >"$W/refused" 2>&1; then
    echo "did not fail: $*"
    return 1
  fi
  grep -q -- "$text" "$W/refused" || {
    cat "$W/refused"
    return 1
  }
}

# tree FOLDER: files of many sizes and names
tree() {
  mkdir -p "$1/sub/deep/er" "$1/with space" "$1/ümläut"
  local size
  for size in 0 1 100 65479 65480 65481 131000 131001 1048576; do noise "$1/sub/$size" "$size"; done
  noise "$1/sub/deep/er/file" 5000
  noise "$1/with space/a b+c" 70000
  noise "$1/ümläut/日本語" 70001
  noise "$1/100% & (more) [x] @=!'" 300
  noise "$1/three" $((3 * 1024 * 1024 + 7))
  # aws sync copies a file again that is newer than its object, whose date has whole seconds.
  find "$1" -exec touch -d '1 minute ago' {} +
}

finish() { exit "$FAILED"; }
