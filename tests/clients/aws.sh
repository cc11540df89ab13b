#!/usr/bin/env bash
# aws cli: high-level copies and syncs, and s3api where it matters.
. "$(dirname "$0")/lib.sh"
B=aws-$RUN

# The gateway has no multipart uploads yet, so no upload may become one. Downloads stay as aws cli does them, in
# ranges side by side, under the second profile.
export AWS_CONFIG_FILE=$W/config AWS_SHARED_CREDENTIALS_FILE=$W/none
cat >"$AWS_CONFIG_FILE" <<C
[default]
s3 =
  addressing_style = path
  multipart_threshold = 5GB
[profile ranges]
s3 =
  addressing_style = path
  multipart_threshold = 8MB
  multipart_chunksize = 5MB
[profile presign]
s3 =
  addressing_style = path
  signature_version = s3v4
C
aws() { command aws --endpoint-url "$S3_ENDPOINT" --cli-read-timeout 120 "$@"; }
api() { aws s3api "$@"; }
ranges() { AWS_PROFILE=ranges aws "$@"; }

make_bucket() {
  aws s3 mb "s3://$B"
  aws s3 ls | grep -q " $B\$"
  api head-bucket --bucket "$B"
  api get-bucket-location --bucket "$B"
}
check "mb, ls, head-bucket, get-bucket-location" make_bucket

there_and_back() {
  local file=$W/in.$1
  noise "$file" "$1"
  aws s3 cp --quiet "$file" "s3://$B/size/$1"
  aws s3 cp --quiet "s3://$B/size/$1" "$W/out.$1"
  same_file "$file" "$W/out.$1"
  equal "$(aws s3 ls "s3://$B/size/$1" | awk -v k="$1" '$4 == k {print $3}')" "$1"
  equal "$(api head-object --bucket "$B" --key "size/$1" --query ETag --output text)" "\"$(md5sum <"$file" | cut -d' ' -f1)\""
  rm -f "$W/out.$1"
  if [ "$1" -gt 8388608 ]; then
    ranges s3 cp --quiet "s3://$B/size/$1" "$W/out.$1"
    same_file "$file" "$W/out.$1"
  fi
  rm -f "$W/out.$1" "$file"
}
for size in 0 1 65479 65480 65481 131000 131001 1048576 67108864; do
  check "cp of $size bytes, both ways" there_and_back "$size"
done
if [ "${BIG:-0}" = 1 ]; then
  check "cp of 1.1 GiB, both ways" there_and_back 1181116006
else
  skip "cp of 1.1 GiB, both ways (BIG=1 runs it)"
fi

streamed() {
  noise "$W/stream" 300000
  aws s3 cp --quiet - "s3://$B/stream" <"$W/stream"
  aws s3 cp --quiet "s3://$B/stream" - | cmp - "$W/stream"
}
check "cp from and to a pipe" streamed

tree "$W/tree"
sync_twice() {
  aws s3 sync --no-progress "$W/tree" "s3://$B/tree"
  equal "$(aws s3 sync --no-progress "$W/tree" "s3://$B/tree" | wc -l)" 0
}
check "sync up twice, the second copies nothing" sync_twice
sync_down() {
  aws s3 sync --no-progress "s3://$B/tree" "$W/back"
  diff -r "$W/tree" "$W/back"
  equal "$(aws s3 sync --no-progress "s3://$B/tree" "$W/back" | wc -l)" 0
}
check "sync down twice, the second copies nothing" sync_down
sync_between() {
  aws s3 sync --no-progress "s3://$B/tree" "s3://$B/tree2"
  aws s3 sync --no-progress --size-only "s3://$B/tree2" "$W/back2"
  diff -r "$W/tree" "$W/back2"
}
check "sync from bucket to bucket" sync_between

noise "$W/object" 200000
api put-object --bucket "$B" --key object --body "$W/object" --metadata color=blue --content-type text/x-y >/dev/null || true
range() {
  local first last
  for span in 0-0 0-199999 65470-65490 65535-65536 131000-131080 199999-199999; do
    first=${span%-*} last=${span#*-}
    api get-object --bucket "$B" --key object --range "bytes=$span" "$W/part" >/dev/null
    cmp "$W/part" <(tail -c "+$((first + 1))" "$W/object" | head -c $((last - first + 1)))
  done
  api get-object --bucket "$B" --key object --range bytes=-1000 "$W/part" >/dev/null
  cmp "$W/part" <(tail -c 1000 "$W/object")
  api get-object --bucket "$B" --key object --range bytes=190000- "$W/part" >/dev/null
  cmp "$W/part" <(tail -c 10000 "$W/object")
}
check "get-object with ranges" range

head_object() {
  equal "$(api head-object --bucket "$B" --key object --checksum-mode ENABLED \
    --query '[ContentLength,ContentType,Metadata.color]' --output text | tr '\t' ' ')" "200000 text/x-y blue"
}
check "head-object with checksum mode" head_object
checksum() {
  api put-object --bucket "$B" --key sum --body "$W/object" --checksum-algorithm "$1" >"$W/put"
  local field=Checksum$1
  local value
  value=$(api head-object --bucket "$B" --key sum --checksum-mode ENABLED --query "$field" --output text)
  [ "$value" != None ]
  grep -q -F "$value" "$W/put"
  api get-object --bucket "$B" --key sum --checksum-mode ENABLED "$W/part" >/dev/null
  same_file "$W/object" "$W/part"
}
for algorithm in CRC32 SHA1 SHA256; do
  if lacks checksums; then
    skip "put-object with $algorithm (this store lacks: checksums)"
  else
    check "put-object with $algorithm, verified on the way back" checksum "$algorithm"
  fi
done

copy() {
  api copy-object --bucket "$B" --key copy --copy-source "$B/object" >/dev/null
  api get-object --bucket "$B" --key copy "$W/part" >/dev/null
  same_file "$W/object" "$W/part"
  aws s3 mv --quiet "s3://$B/copy" "s3://$B/moved"
  fails_with 404 api head-object --bucket "$B" --key copy
  aws s3 cp --quiet "s3://$B/moved" "$W/part"
  same_file "$W/object" "$W/part"
}
check "copy-object and mv" copy

listings() {
  local whole
  whole=$(api list-objects-v2 --bucket "$B" --prefix tree/ --query 'Contents[].[Key,Size]' --output text)
  equal "$(wc -l <<<"$whole")" "$(find "$W/tree" -type f | wc -l)"
  equal "$(api list-objects-v2 --bucket "$B" --prefix tree/ --page-size 3 --query 'Contents[].[Key,Size]' --output text)" "$whole"
  equal "$(api list-objects --bucket "$B" --prefix tree/ --page-size 4 --query 'Contents[].[Key,Size]' --output text)" "$whole"
  equal "$(api list-objects-v2 --bucket "$B" --prefix tree/ --delimiter / --query 'length(CommonPrefixes)')" 3
}
check "list-objects and list-objects-v2, paged" listings
versions() {
  equal "$(api list-object-versions --bucket "$B" --prefix object --query 'Versions[].[Key,Size,IsLatest]' --output text | tr '\t' ' ')" \
    "object 200000 True"
}
if lacks versions; then skip "list-object-versions (this store lacks: versions)"; else check "list-object-versions" versions; fi

presigned() {
  local url
  url=$(AWS_PROFILE=presign aws s3 presign "s3://$B/object")
  curl -sSf -o "$W/part" "$url"
  same_file "$W/object" "$W/part"
  curl -sSf -o "$W/part" -r 65530-65600 "$url"
  cmp "$W/part" <(tail -c +65531 "$W/object" | head -c 71)
  equal "$(curl -s -o "$W/part" -w '%{http_code}' "${url%?}$([ "${url: -1}" = 0 ] && echo 1 || echo 0)")" 403
}
check "presigned URL with curl" presigned

delete_objects() {
  api delete-objects --bucket "$B" --delete '{"Objects":[{"Key":"object"},{"Key":"moved"},{"Key":"never"}]}' >"$W/deleted"
  equal "$(grep -c '"Key"' "$W/deleted")" 3
  fails_with 404 api head-object --bucket "$B" --key object
}
check "delete-objects" delete_objects
gone() {
  fails_with 'remove_bucket failed' aws s3 rb "s3://$B"
  aws s3 rb --force "s3://$B" >/dev/null
  fails_with NoSuchBucket aws s3 ls "s3://$B"
}
check "rb, and rb --force" gone
finish
