#!/usr/bin/env bash
# mc, MinIO's client, with uploads in parts. install.sh builds it where Go is there.
. "$(dirname "$0")/lib.sh"
: "${VENV:?}"
B=mc-$RUN
program=${MC_BIN:-$VENV/bin/mc}
if [ ! -x "$program" ]; then
  skip "everything ($program is not there: install.sh builds it where there is Go)"
  exit 0
fi
if lacks minio-clients; then
  skip "everything (this store lacks: minio-clients)"
  exit 0
fi
export MC_CONFIG_DIR=$W/mc MC_UPLOAD_MULTIPART_SIZE=5MiB MC_UPLOAD_MULTIPART_THREADS=3
mc() { "$program" --quiet --no-color "$@"; }

check "alias" mc alias set x "$S3_ENDPOINT" "$S3_ACCESS" "$S3_SECRET" --api S3v4 --path on
check "mb" mc mb --region "$S3_REGION" "x/$B"
sizes=(0 1 65480 5242880 5242881 20000003)
[ "${BIG:-0}" != 1 ] || sizes+=(209715207)
there_and_back() {
  noise "$W/in" "$1"
  mc cp "$W/in" "x/$B/size/$1"
  mc cp "x/$B/size/$1" "$W/out"
  same_file "$W/in" "$W/out"
  mc cat "x/$B/size/$1" | cmp - "$W/in"
  mc stat --json "x/$B/size/$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["size"])' >"$W/size"
  equal "$(cat "$W/size")" "$1"
  equal "$(mc ls --json "x/$B/size/$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["size"])')" "$1"
}
for size in "${sizes[@]}"; do check "cp, cat, stat, ls of $size bytes" there_and_back "$size"; done
piped() {
  noise "$W/in" 23000001
  mc pipe "x/$B/pipe" <"$W/in"
  mc cat "x/$B/pipe" | cmp - "$W/in"
  mc cat --offset 5242870 "x/$B/pipe" | cmp - <(tail -c +5242871 "$W/in")
  mc head --lines 1 "x/$B/pipe" | cmp - <(head -n 1 "$W/in")
}
check "pipe and cat" piped
tree "$W/tree"
noise "$W/tree/large" 17000001
mirrored() {
  mc mirror "$W/tree" "x/$B/tree"
  mc diff "$W/tree" "x/$B/tree" >"$W/diff"
  equal "$(cat "$W/diff")" ""
  mc mirror --json "$W/tree" "x/$B/tree" >"$W/again"
  equal "$(grep -c '"source"' "$W/again" || true)" 0
  mc mirror "x/$B/tree" "$W/back"
  diff -r "$W/tree" "$W/back"
}
check "mirror up and down, diff, the second time nothing" mirrored
changed() {
  noise "$W/tree/large" 12000001
  rm "$W/tree/three"
  fails_with 'large' sh -c "! '$program' --no-color diff '$W/tree' 'x/$B/tree' | grep large >&2" || return 1
  mc mirror --overwrite --remove "$W/tree" "x/$B/tree"
  equal "$(mc diff "$W/tree" "x/$B/tree")" ""
  mc cat "x/$B/tree/large" | cmp - "$W/tree/large"
}
check "mirror of changes" changed
copied() {
  mc cp "x/$B/pipe" "x/$B/copy"
  mc mv "x/$B/copy" "x/$B/moved"
  mc cat "x/$B/moved" | cmp - <(mc cat "x/$B/pipe")
  fails_with 'does not exist' mc stat "x/$B/copy"
}
check "cp and mv on the server" copied
share() {
  local url
  url=$(mc share download --json "x/$B/pipe" | python3 -c 'import json, sys; print(json.load(sys.stdin)["share"])')
  curl -sSf -o "$W/out" "$url"
  mc cat "x/$B/pipe" | cmp - "$W/out"
}
check "share" share
leftovers() { equal "$(mc ls --incomplete --recursive "x/$B")" ""; }
lacks list-uploads || check "no upload is left" leftovers
check "rb --force" mc rb --force "x/$B"
finish
