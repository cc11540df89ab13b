#!/usr/bin/env bash
# s3cmd with uploads in parts, whose MD5s it compares one by one, and uploads that it takes up again.
. "$(dirname "$0")/lib.sh"
B=s3cmd-parts-$RUN
host=${S3_ENDPOINT#*://}
case $S3_ENDPOINT in https:*) https=True ;; *) https=False ;; esac
cat >"$W/s3cfg" <<C
[default]
access_key = $S3_ACCESS
secret_key = $S3_SECRET
bucket_location = $S3_REGION
host_base = $host
host_bucket = $host
use_https = $https
signature_v2 = False
check_ssl_certificate = True
enable_multipart = True
multipart_chunk_size_mb = 5
max_retries = 2
socket_timeout = 120
C
s3() { s3cmd --config "$W/s3cfg" --no-progress "$@"; }
quietly() {
  "$@" >"$W/said" 2>&1 || { cat "$W/said" && return 1; }
  if grep -qiE 'warning|error|mismatch|retry' "$W/said"; then cat "$W/said" && return 1; fi
}

check "mb" s3 mb "s3://$B"
there_and_back() {
  noise "$W/in" "$1"
  quietly s3 put --multipart-chunk-size-mb="$2" "$W/in" "s3://$B/size/$1"
  quietly s3 get --force "s3://$B/size/$1" "$W/out"
  same_file "$W/in" "$W/out"
  equal "$(s3 ls "s3://$B/size/$1" | awk -v k="s3://$B/size/$1" '$4 == k {print $3}')" "$1"
  # s3cmd keeps the MD5 of the whole beside it.
  s3 info "s3://$B/size/$1" >"$W/info"
  grep -qE "MD5 sum: +$(md5sum <"$W/in" | cut -d' ' -f1)" "$W/info"
}
for size in 5242880 5242881 10485760 15728641 21000000; do
  for chunk in 5 6 15; do check "put and get of $size bytes in parts of $chunk MiB" there_and_back "$size" "$chunk"; done
done
[ "${BIG:-0}" != 1 ] || check "put and get of 200 MiB in parts of 15 MiB" there_and_back 209715200 15

from_pipe() {
  noise "$W/in" 12000000
  s3 put --multipart-chunk-size-mb=5 - "s3://$B/pipe" <"$W/in" >"$W/said"
  s3 get --force "s3://$B/pipe" - | cmp - "$W/in"
}
check "put from a pipe, get to a pipe" from_pipe

mkdir -p "$W/tree/sub"
for size in 0 70000 5242880 11000000; do noise "$W/tree/sub/$size" "$size"; done
sync_twice() {
  s3 sync "$W/tree/" "s3://$B/tree/"
  equal "$(s3 sync "$W/tree/" "s3://$B/tree/" | grep -c '^upload:' || true)" 0
  s3 sync "s3://$B/tree/" "$W/back/"
  diff -r "$W/tree" "$W/back"
  equal "$(s3 sync "s3://$B/tree/" "$W/back/" | grep -c '^download:' || true)" 0
}
mkdir "$W/back"
check "sync up and down, the second time nothing" sync_twice
copy() {
  s3 cp "s3://$B/tree/sub/11000000" "s3://$B/copy"
  s3 mv "s3://$B/copy" "s3://$B/moved"
  s3 get --force "s3://$B/moved" "$W/out"
  same_file "$W/tree/sub/11000000" "$W/out"
}
check "cp and mv of an object in parts" copy
parts_copy() {
  s3 cp --multipart-chunk-size-mb=5 --multipart-copy-chunk-size-mb=5 "s3://$B/tree/sub/11000000" "s3://$B/copy"
  s3 get --force "s3://$B/copy" "$W/out"
  same_file "$W/tree/sub/11000000" "$W/out"
}
if s3 --help | grep -q multipart-copy-chunk-size-mb; then check "cp part by part" parts_copy; fi

# upload_id: of the one upload to /broken
upload_id() { s3 multipart "s3://$B" | awk -v k="s3://$B/broken" '$2 == k {print $3}'; }
# begin: uploads so slowly that it can be killed in the middle, by its PID
begin() {
  s3cmd --config "$W/s3cfg" --no-progress --limit-rate=8m put "$W/in" "s3://$B/broken" >"$W/began" 2>&1 &
  local pid=$! id=
  for _ in $(seq 200); do
    id=$(upload_id)
    if [ -n "$id" ] && [ "$(s3 listmp "s3://$B/broken" "$id" | grep -c '^[0-9]' || true)" -ge 2 ]; then break; fi
    kill -0 "$pid" || { echo "ended before it was killed: $(cat "$W/began")" && return 1; }
    sleep 0.1
  done
  kill -9 "$pid"
  wait "$pid" || true
  [ -n "$id" ]
}
continued() {
  noise "$W/in" 36700161
  begin
  s3 -d put --continue-put "$W/in" "s3://$B/broken" >"$W/said" 2>&1
  # s3cmd compares the size and MD5 of each part that is there, and sends again what differs.
  if lacks listed-md5; then
    grep -qE 'MultiPart: checksum .* does not match' "$W/said"
  else
    grep -qE 'MultiPart: size and md5sum match' "$W/said"
  fi
  equal "$(upload_id)" ""
  s3 get --force "s3://$B/broken" "$W/out"
  same_file "$W/in" "$W/out"
}
aborted() {
  noise "$W/in" 36700161
  s3 del "s3://$B/broken"
  begin
  local id
  id=$(upload_id)
  s3 abortmp "s3://$B/broken" "$id"
  equal "$(upload_id)" ""
  fails_with 404 s3 info "s3://$B/broken"
}
if lacks list-uploads; then
  skip "put --continue-put, abortmp (this store lacks: list-uploads)"
else
  check "put --continue-put after the upload was killed" continued
  check "abortmp after the upload was killed" aborted
fi
check "del --recursive" s3 del --recursive --force "s3://$B"
check "rb" s3 rb "s3://$B"
finish
