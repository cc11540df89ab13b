#!/usr/bin/env bash
# Several generations of aws cli with uploads in parts: the oldest that Python 3.11 runs, Debian's (version 2), the newest
# of version 1. They differ in what they send: MD5s, signed payloads, CRC32 trailers, checksums at the end.
. "$(dirname "$0")/lib.sh"
# `||` and `if` would switch set -e off in here; functions run under `check`.
: "${VENV:?}"
clients=("$VENV/bin/aws")
[ ! -x "$VENV-old-aws/bin/aws" ] || clients+=("$VENV-old-aws/bin/aws")
[ ! -x /usr/bin/aws ] || clients+=(/usr/bin/aws)
export AWS_CONFIG_FILE=$W/config AWS_SHARED_CREDENTIALS_FILE=$W/none
cat >"$AWS_CONFIG_FILE" <<C
[default]
s3 =
  addressing_style = path
  multipart_threshold = 5MB
  multipart_chunksize = 5MB
  max_concurrent_requests = 4
[profile six]
s3 =
  addressing_style = path
  multipart_threshold = 8MB
  multipart_chunksize = 6MB
C

# etag_of FILE PART: md5 of the parts' md5s, and their number
etag_of() {
  python3 - "$1" "$2" <<'P'
import hashlib, sys
parts, size = [], int(sys.argv[2])
with open(sys.argv[1], "rb") as file:
    while part := file.read(size):
        parts.append(hashlib.md5(part).digest())
print(f"\"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}\"")
P
}
etag() { api head-object --bucket "$B" --key "$1" --query ETag --output text; }

there_and_back() {
  noise "$W/in" "$1"
  aws s3 cp --quiet "$W/in" "s3://$B/size/$1"
  equal "$(etag "size/$1")" "$(etag_of "$W/in" 5242880)"
  equal "$(aws s3 ls "s3://$B/size/$1" | awk -v k="$1" '$4 == k {print $3}')" "$1"
  aws s3 cp --quiet "s3://$B/size/$1" "$W/out"
  same_file "$W/in" "$W/out"
  AWS_PROFILE=six aws s3 cp --quiet "$W/in" "s3://$B/six/$1"
  [ "$1" -lt 8388608 ] || equal "$(etag "six/$1")" "$(etag_of "$W/in" 6291456)"
  AWS_PROFILE=six aws s3 cp --quiet "s3://$B/six/$1" "$W/out"
  same_file "$W/in" "$W/out"
  rm -f "$W/in" "$W/out"
}
moved() {
  noise "$W/in" 12000000
  cp "$W/in" "$W/gone"
  aws s3 mv --quiet "$W/gone" "s3://$B/mv"
  [ ! -e "$W/gone" ]
  # From bucket to bucket above the threshold: part by part, each an UploadPartCopy.
  aws s3 cp --quiet "s3://$B/mv" "s3://$B/cp"
  equal "$(etag cp)" "$(etag_of "$W/in" 5242880)"
  aws s3 mv --quiet "s3://$B/mv" "s3://$B/mv2"
  fails_with 404 api head-object --bucket "$B" --key mv
  aws s3 mv --quiet "s3://$B/mv2" "$W/out"
  same_file "$W/in" "$W/out"
  aws s3 cp --quiet "s3://$B/cp" "$W/out"
  same_file "$W/in" "$W/out"
}
streamed() {
  noise "$W/in" 17000003
  aws s3 cp --quiet --expected-size 17000003 - "s3://$B/stream" <"$W/in"
  aws s3 cp --quiet "s3://$B/stream" - | cmp - "$W/in"
  aws s3 cp --quiet - "s3://$B/stream2" < <(cat "$W/in")
  aws s3 cp --quiet "s3://$B/stream2" "$W/out"
  same_file "$W/in" "$W/out"
  equal "$(api head-object --bucket "$B" --key stream2 --query ContentLength)" 17000003
}
synced() {
  rm -rf "$W/tree" "$W/back"
  mkdir -p "$W/tree/sub"
  local size
  for size in 0 100 5242879 5242880 5242881 13000000; do noise "$W/tree/sub/$size" "$size"; done
  find "$W/tree" -exec touch -d '1 minute ago' {} +
  aws s3 sync --no-progress "$W/tree" "s3://$B/tree"
  equal "$(aws s3 sync --no-progress "$W/tree" "s3://$B/tree" | wc -l)" 0
  aws s3 sync --no-progress "s3://$B/tree" "s3://$B/tree2"
  aws s3 sync --no-progress "s3://$B/tree2" "$W/back"
  diff -r "$W/tree" "$W/back"
}
by_hand() {
  noise "$W/p1" 5242880
  noise "$W/p2" 5300000
  noise "$W/p3" 10
  local id n
  id=$(api create-multipart-upload --bucket "$B" --key hand --metadata color=blue --query UploadId --output text)
  for n in 3 1 2; do
    api upload-part --bucket "$B" --key hand --upload-id "$id" --part-number "$n" --body "$W/p$n" \
      --query ETag --output text >"$W/etag$n"
  done
  api list-parts --bucket "$B" --key hand --upload-id "$id" --page-size 2 \
    --query 'Parts[].[PartNumber,Size]' --output text | tr '\t\n' ' ,' >"$W/parts"
  equal "$(cat "$W/parts")" "1 5242880,2 5300000,3 10,"
  if ! lacks list-uploads; then
    equal "$(api list-multipart-uploads --bucket "$B" --prefix hand --query 'Uploads[].UploadId' --output text)" "$id"
  fi
  python3 - "$W" <<'P' >"$W/complete.json"
import json, sys
print(json.dumps({"Parts": [{"PartNumber": n, "ETag": open(f"{sys.argv[1]}/etag{n}").read().strip()} for n in (1, 2, 3)]}))
P
  api complete-multipart-upload --bucket "$B" --key hand --upload-id "$id" --multipart-upload "file://$W/complete.json" >"$W/done"
  cat "$W/p1" "$W/p2" "$W/p3" >"$W/in"
  api get-object --bucket "$B" --key hand "$W/out" >"$W/done"
  same_file "$W/in" "$W/out"
  grep -q '"color": "blue"' "$W/done"
  id=$(api create-multipart-upload --bucket "$B" --key hand2 --query UploadId --output text)
  api upload-part-copy --bucket "$B" --key hand2 --upload-id "$id" --part-number 1 --copy-source "$B/hand" \
    --copy-source-range bytes=1-5242881 --query CopyPartResult.ETag --output text
  equal "$(api list-parts --bucket "$B" --key hand2 --upload-id "$id" --query 'Parts[].Size' --output text)" 5242881
  api abort-multipart-upload --bucket "$B" --key hand2 --upload-id "$id"
  fails_with "$(lacks strict || echo NoSuchUpload)" api list-parts --bucket "$B" --key hand2 --upload-id "$id"
}
with_checksum() {
  noise "$W/in" 12000000
  aws s3 cp --quiet --checksum-algorithm "$1" "$W/in" "s3://$B/sum"
  aws s3 cp --quiet --checksum-mode ENABLED "s3://$B/sum" "$W/out"
  same_file "$W/in" "$W/out"
  local value
  value=$(api head-object --bucket "$B" --key sum --checksum-mode ENABLED --query "Checksum$1" --output text)
  [ "$value" != None ]
}
small_to_large() {
  # One key, as one PUT and in parts by turns.
  local size
  for size in 10 6000000 20 12000000; do
    noise "$W/in" "$size"
    aws s3 cp --quiet "$W/in" "s3://$B/turns"
    aws s3 cp --quiet "s3://$B/turns" "$W/out"
    same_file "$W/in" "$W/out"
  done
}

for client in "${clients[@]}"; do
  aws() { "$client" --endpoint-url "$S3_ENDPOINT" --cli-read-timeout 120 "$@"; }
  api() { aws s3api "$@"; }
  version=$(aws --version 2>&1 | sed 's/ .*//')
  B=aws-parts-$RUN-$(tr -dc '0-9' <<<"$version")
  check "$version: mb" aws s3 mb "s3://$B"
  for size in 5242880 5242881 26214407; do check "$version: cp of $size bytes, both ways" there_and_back "$size"; done
  [ "${BIG:-0}" != 1 ] || check "$version: cp of 200 MiB, both ways" there_and_back 209715200
  check "$version: mv, and copies part by part" moved
  check "$version: cp from and to a pipe, with and without --expected-size" streamed
  check "$version: sync up, across and down" synced
  check "$version: s3api by hand" by_hand
  check "$version: one key as one PUT and in parts by turns" small_to_large
  for algorithm in CRC32 CRC32C SHA1 SHA256 CRC64NVME; do
    aws s3 cp help 2>/dev/null | col -b 2>/dev/null | grep -q -e "$algorithm" || continue
    if lacks part-checksums; then
      skip "$version: cp --checksum-algorithm $algorithm (this store lacks: part-checksums)"
    else
      check "$version: cp --checksum-algorithm $algorithm" with_checksum "$algorithm"
    fi
  done
  lacks list-uploads || check "$version: no upload is left" no_uploads "$B"
  check "$version: rb --force" aws s3 rb --force "s3://$B"
done
finish
