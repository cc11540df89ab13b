#!/usr/bin/env bash
# rclone: sync, check, server-side copies, under both versions of ListObjects.
. "$(dirname "$0")/lib.sh"
B=rclone-$RUN
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_X_TYPE=s3 RCLONE_CONFIG_X_PROVIDER=Other RCLONE_CONFIG_X_ENV_AUTH=false
export RCLONE_CONFIG_X_ACCESS_KEY_ID=$S3_ACCESS RCLONE_CONFIG_X_SECRET_ACCESS_KEY=$S3_SECRET
export RCLONE_CONFIG_X_ENDPOINT=$S3_ENDPOINT RCLONE_CONFIG_X_REGION=$S3_REGION RCLONE_CONFIG_X_FORCE_PATH_STYLE=true
# The gateway has no multipart uploads yet.
export RCLONE_S3_UPLOAD_CUTOFF=5G RCLONE_S3_COPY_CUTOFF=5G RCLONE_RETRIES=1 RCLONE_LOW_LEVEL_RETRIES=2

tree "$W/tree"
noise "$W/tree/large" $((30 * 1024 * 1024 + 1))
check "mkdir" rclone mkdir "X:$B"

# sync_nothing FLAGS...: a sync that must not copy
sync_nothing() {
  rclone sync -v "$@" 2>"$W/sync.log"
  equal "$(grep -cE ': (Copied|Updated|Deleted)' "$W/sync.log" || true)" 0
}
for list in 1 2; do
  export RCLONE_S3_LIST_VERSION=$list
  T=X:$B/v$list
  check "sync (list version $list)" rclone sync "$W/tree" "$T"
  check "second sync copies nothing (list version $list)" sync_nothing "$W/tree" "$T"
  check "sync --checksum copies nothing (list version $list)" sync_nothing --checksum "$W/tree" "$T"
  check "check (list version $list)" rclone check "$W/tree" "$T"
  check "check --download (list version $list)" rclone check --download "$W/tree" "$T"
  back() {
    rclone sync "$T" "$W/back$list"
    diff -r "$W/tree" "$W/back$list"
    sync_nothing "$T" "$W/back$list"
  }
  check "sync back, twice (list version $list)" back
done
large_by_ranges() {
  rclone copyto --multi-thread-cutoff 1M --multi-thread-streams 4 "X:$B/v1/large" "$W/large"
  same_file "$W/tree/large" "$W/large"
}
check "large file in ranges side by side" large_by_ranges
changes() {
  cp -r "$W/tree" "$W/changed"
  rm "$W/changed/three"
  noise "$W/changed/sub/100" 70000
  noise "$W/changed/new" 10
  rclone sync "$W/changed" "X:$B/v1"
  rclone check --download "$W/changed" "X:$B/v1"
}
check "sync of changes" changes
cat_part() { rclone cat --offset 65530 --count 100 "X:$B/v2/three" | cmp - <(tail -c +65531 "$W/tree/three" | head -c 100); }
check "cat with offset and count" cat_part
server_side() {
  rclone copyto "X:$B/v2/three" "X:$B/copy/three"
  rclone moveto "X:$B/copy/three" "X:$B/moved/vier"
  rclone cat "X:$B/moved/vier" | cmp - "$W/tree/three"
}
check "server-side copy and move" server_side
sizes() {
  equal "$(rclone size "X:$B/v2" --json | tr -dc '0-9,' | cut -d, -f1,2)" "$(find "$W/tree" -type f -printf '%s\n' | awk '{n++; s+=$1} END {print n "," s}')"
}
check "size" sizes
hashes() { (cd "$W/tree" && rclone md5sum "X:$B/v2" | md5sum --check --quiet); }
check "md5sum" hashes
check "purge" rclone purge "X:$B"
finish
