#!/usr/bin/env bash
# s3fs: a mounted bucket, written, appended to, truncated, renamed, and read back after the cache is gone.
. "$(dirname "$0")/lib.sh"
if [ ! -x /usr/bin/s3fs ]; then
  skip "everything (s3fs is not installed)"
  exit 0
fi
B=s3fs-$RUN
api() { aws --endpoint-url "$S3_ENDPOINT" s3api "$@"; }
M=$W/mount
mkdir "$M"
(umask 077 && echo "$S3_ACCESS:$S3_SECRET" >"$W/passwd")
api create-bucket --bucket "$B" >"$W/log"
SERVER=
# With enable_content_md5 it wants the MD5 of a part back as its ETag.
options=multipart_size=5,singlepart_copy_limit=10,parallel_count=3,noatime
lacks part-md5 || options=$options,enable_content_md5
up() {
  # In the foreground, so that its PID is known. Parts of 5 MB from 10 MB on, and parts copied on the server.
  s3fs "$B" "$M" -f -o "passwd_file=$W/passwd,url=$S3_ENDPOINT,use_path_request_style,endpoint=$S3_REGION,retries=2" \
    -o "$options" >>"$W/s3fs.log" 2>&1 &
  SERVER=$!
  for _ in $(seq 100); do
    if mountpoint -q "$M"; then return 0; fi
    kill -0 "$SERVER" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}
down() {
  sync
  for _ in $(seq 50); do
    if fusermount -u "$M" 2>"$W/umount"; then break; fi
    sleep 0.2
  done
  wait "$SERVER"
}
trap 'fusermount -u "$M" 2>/dev/null || true; rm -rf "$W"' EXIT
if ! up; then
  if grep -qiE 'permission|not permitted|fuse: device|No such device|failed to open /dev/fuse' "$W/s3fs.log"; then
    skip "everything (FUSE cannot be mounted here: $(tail -n 1 "$W/s3fs.log"))"
    exit 0
  fi
  echo "not ok $SUITE: mount: $(tail -n 5 "$W/s3fs.log" | tr '\n' '~')"
  exit 1
fi
# Mounts anew, so that nothing comes from s3fs or the kernel.
again() {
  down
  up
}
mkdir "$W/kept"
written() {
  local size
  for size in 0 1 65480 1048576 5242880 10485761 26214407; do
    noise "$W/kept/$size" "$size"
    cp "$W/kept/$size" "$M/$size"
  done
  mkdir "$M/folder"
  cp "$W/kept/65480" "$M/folder/with space"
}
check "files of many sizes are written" written
again
compared() {
  local file
  for file in "$W/kept"/*; do
    equal "$(stat -c %s "$M/$(basename "$file")")" "$(stat -c %s "$file")"
    same_file "$file" "$M/$(basename "$file")"
  done
}
check "they read back after a new mount" compared
in_parts() {
  api head-object --bucket "$B" --key 26214407 --query ETag --output text | grep -qE -- '-[0-9]+"$'
  equal "$(api head-object --bucket "$B" --key 26214407 --query ContentLength)" 26214407
}
check "large ones went up in parts" in_parts
appended() {
  local size
  for size in 1 65480 10485761 26214407; do
    noise "$W/more" 70000
    cat "$W/more" >>"$M/$size"
    cat "$W/more" >>"$W/kept/$size"
  done
}
check "append" appended
again
check "read back after appending" compared
patched() {
  local at
  for at in 0 65479 5242879 13000000 26214000; do
    noise "$W/more" 1000
    dd if="$W/more" of="$M/26214407" bs=1 seek="$at" conv=notrunc status=none
    dd if="$W/more" of="$W/kept/26214407" bs=1 seek="$at" conv=notrunc status=none
  done
}
check "bytes in the middle are changed" patched
again
check "read back after changes in the middle" compared
truncated() {
  truncate -s 12000000 "$M/26214407" "$W/kept/26214407"
  truncate -s 100 "$M/5242880" "$W/kept/5242880"
  truncate -s 7000000 "$M/1" "$W/kept/1"
}
check "truncate, shorter and longer" truncated
again
check "read back after truncating" compared
renamed() {
  # Above singlepart_copy_limit: part by part on the server.
  mv "$M/10485761" "$M/renamed"
  mv "$W/kept/10485761" "$W/kept/renamed"
  mv "$M/65480" "$M/folder/65480"
  same_file "$M/folder/65480" "$W/kept/65480"
  mv "$M/folder/65480" "$M/65480"
  mv "$M/folder" "$M/other folder"
  equal "$(ls "$M/other folder")" "with space"
  chmod 640 "$M/renamed"
}
check "rename of files and folders, chmod" renamed
again
check "read back after renaming" compared
modes() { equal "$(stat -c %a "$M/renamed")" 640; }
check "modes are kept" modes
partial() {
  local at
  for at in 0 65479 5242870 9000000; do
    cmp <(dd if="$M/renamed" bs=1 skip="$at" count=1000 status=none) <(dd if="$W/kept/renamed" bs=1 skip="$at" count=1000 status=none)
  done
}
again
check "reads in the middle" partial
removed() {
  rm -r "$M/other folder"
  rm "$M"/[0-9]* "$M/renamed"
  equal "$(find "$M" -mindepth 1)" ""
}
check "remove" removed
down
lacks list-uploads || check "no upload is left" no_uploads "$B"
check "rb --force" aws --endpoint-url "$S3_ENDPOINT" s3 rb --force "s3://$B"
finish
