#!/usr/bin/env bash
# rclone with uploads in parts: sizes of parts, ETags that it works out itself (--s3-use-multipart-etag), checksums.
. "$(dirname "$0")/lib.sh"
B=rclone-parts-$RUN
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_X_TYPE=s3 RCLONE_CONFIG_X_PROVIDER=Other RCLONE_CONFIG_X_ENV_AUTH=false
export RCLONE_CONFIG_X_ACCESS_KEY_ID=$S3_ACCESS RCLONE_CONFIG_X_SECRET_ACCESS_KEY=$S3_SECRET
export RCLONE_CONFIG_X_ENDPOINT=$S3_ENDPOINT RCLONE_CONFIG_X_REGION=$S3_REGION RCLONE_CONFIG_X_FORCE_PATH_STYLE=true
export RCLONE_RETRIES=1 RCLONE_LOW_LEVEL_RETRIES=2 RCLONE_S3_USE_MULTIPART_ETAG=true

mkdir -p "$W/tree/sub"
for size in 0 1 65480 5242879 5242880 5242881 7340032 16777216 23000001; do noise "$W/tree/$size" "$size"; done
noise "$W/tree/sub/three parts" 15728640
[ "${BIG:-0}" != 1 ] || noise "$W/tree/big" 157286401
find "$W/tree" -exec touch -d '1 minute ago' {} +
check "mkdir" rclone mkdir "X:$B"

# etag_of FILE PART: md5 of the parts' md5s, and their number
etag_of() {
  python3 - "$1" "$2" <<'P'
import hashlib, sys
parts, size = [], int(sys.argv[2])
with open(sys.argv[1], "rb") as file:
    while part := file.read(size):
        parts.append(hashlib.md5(part).digest())
print(f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}")
P
}
sync_nothing() {
  rclone sync -v "$@" 2>"$W/sync.log"
  equal "$(grep -cE ': (Copied|Updated|Deleted)' "$W/sync.log" || true)" 0
}
for size in 5M 7M 16M; do
  T=X:$B/$size
  # rclone compares the ETag of the finished upload with its own, and says so where they differ.
  up() {
    rclone sync -v --s3-chunk-size "$size" --s3-upload-cutoff 0 --s3-upload-concurrency 4 "$W/tree" "$T" 2>"$W/up.log"
    if grep -qiE 'corrupt|differ|etag' "$W/up.log"; then cat "$W/up.log" && return 1; fi
    equal "$(grep -c ': Copied' "$W/up.log")" "$(find "$W/tree" -type f | wc -l)"
  }
  check "sync in parts of $size" up
  check "sync again copies nothing ($size)" sync_nothing "$W/tree" "$T"
  check "sync --checksum copies nothing ($size)" sync_nothing --checksum "$W/tree" "$T"
  check "check ($size)" rclone check "$W/tree" "$T"
  check "check --download ($size)" rclone check --download "$W/tree" "$T"
  check "md5sum of what was uploaded ($size)" bash -c "cd '$W/tree' && rclone md5sum '$T' | md5sum --check --quiet"
done
etags() {
  local bytes
  for bytes in 5 7 16; do
    equal "$(aws --endpoint-url "$S3_ENDPOINT" s3api head-object --bucket "$B" --key "${bytes}M/23000001" --query ETag --output text)" \
      "\"$(etag_of "$W/tree/23000001" $((bytes << 20)))\""
  done
}
check "ETags follow from the parts" etags
back() {
  rclone sync --multi-thread-cutoff 6M --multi-thread-streams 4 "X:$B/5M" "$W/back"
  diff -r "$W/tree" "$W/back"
}
check "sync back, in ranges side by side" back
sizes() {
  equal "$(rclone size "X:$B/7M" --json | tr -dc '0-9,' | cut -d, -f1,2)" \
    "$(find "$W/tree" -type f -printf '%s\n' | awk '{n++; s+=$1} END {print n "," s}')"
}
check "sizes in the listing" sizes
stream() {
  rclone rcat --s3-chunk-size 5M "X:$B/rcat" <"$W/tree/23000001"
  rclone cat "X:$B/rcat" | cmp - "$W/tree/23000001"
  rclone rcat --s3-chunk-size 5M --streaming-upload-cutoff 0 "X:$B/rcat-0" < <(:)
  equal "$(rclone size --json "X:$B/rcat-0" | tr -dc '0-9,' | cut -d, -f1,2)" 1,0
}
check "rcat, whose length is not known before" stream
# Above the cutoff rclone copies on the server, part by part.
copy_in_parts() {
  rclone copyto --s3-copy-cutoff 6M --s3-chunk-size 5M "X:$B/16M/23000001" "X:$B/copy"
  rclone cat "X:$B/copy" | cmp - "$W/tree/23000001"
  rclone moveto --s3-copy-cutoff 6M --s3-chunk-size 5M "X:$B/copy" "X:$B/moved"
  rclone cat "X:$B/moved" | cmp - "$W/tree/23000001"
  equal "$(rclone lsf --files-only "X:$B" | grep -x -e copy -e moved)" moved
}
check "copy and move on the server, part by part" copy_in_parts
overwrite() {
  noise "$W/tree/5242880" 9000000
  noise "$W/tree/23000001" 100
  rclone sync --s3-chunk-size 5M --s3-upload-cutoff 0 "$W/tree" "X:$B/5M"
  rclone check --download "$W/tree" "X:$B/5M"
}
check "changed files" overwrite
leftovers() {
  rclone backend list-multipart-uploads "X:$B" >"$W/uploads"
  # One empty list for each bucket: nothing is under way.
  if grep -q UploadId "$W/uploads"; then cat "$W/uploads" && return 1; fi
}
if lacks list-uploads; then skip "no upload is left (this store lacks: list-uploads)"; else check "no upload is left" leftovers; fi
check "purge" rclone purge "X:$B"
finish
