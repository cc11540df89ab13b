#!/usr/bin/env bash
# s3cmd, with the MD5 checks it does by default.
. "$(dirname "$0")/lib.sh"
B=s3cmd-$RUN
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
enable_multipart = False
max_retries = 2
socket_timeout = 120
C
s3() { s3cmd --config "$W/s3cfg" --no-progress "$@"; }

check "mb" s3 mb "s3://$B"
there_and_back() {
  noise "$W/in" "$1"
  s3 put "$W/in" "s3://$B/size/$1" | tee "$W/put"
  if grep -qi 'warning' "$W/put"; then return 1; fi
  s3 get --force "s3://$B/size/$1" "$W/out" 2>&1 | tee "$W/get"
  if grep -qiE 'md5|warning' "$W/get"; then return 1; fi
  same_file "$W/in" "$W/out"
  equal "$(s3 ls "s3://$B/size/$1" | awk -v k="s3://$B/size/$1" '$4 == k {print $3}')" "$1"
  equal "$(s3 ls --list-md5 "s3://$B/size/$1" | awk -v k="s3://$B/size/$1" '$5 == k {print $4}')" "$(md5sum <"$W/in" | cut -d' ' -f1)"
}
for size in 0 1 65479 65480 65481 131001 20000000; do check "put, get, ls of $size bytes" there_and_back "$size"; done

tree "$W/tree"
sync_twice() {
  s3 sync "$W/tree/" "s3://$B/tree/"
  equal "$(s3 sync "$W/tree/" "s3://$B/tree/" | grep -c '^upload:' || true)" 0
}
check "sync up twice, the second copies nothing" sync_twice
sync_down() {
  mkdir "$W/back"
  s3 sync "s3://$B/tree/" "$W/back/"
  diff -r "$W/tree" "$W/back"
  equal "$(s3 sync "s3://$B/tree/" "$W/back/" | grep -c '^download:' || true)" 0
}
check "sync down twice, the second copies nothing" sync_down
info() {
  s3 info "s3://$B/size/65481" | tee "$W/info"
  grep -qE 'File size: +65481$' "$W/info"
  grep -qE 'MD5 sum: +[0-9a-f]{32}$' "$W/info"
}
check "info of an object" info
check "info of a bucket" s3 info "s3://$B"
copy() {
  s3 cp "s3://$B/tree/three" "s3://$B/copy"
  s3 mv "s3://$B/copy" "s3://$B/moved"
  s3 get --force "s3://$B/moved" "$W/out"
  same_file "$W/tree/three" "$W/out"
}
check "cp and mv" copy
modify() {
  s3 modify --add-header='Cache-Control: max-age=3' "s3://$B/moved"
  s3 get --force "s3://$B/moved" "$W/out"
  same_file "$W/tree/three" "$W/out"
}
check "modify, which copies an object onto itself" modify
total() { equal "$(s3 du "s3://$B/tree/" | awk '{print $1}')" "$(find "$W/tree" -type f -printf '%s\n' | awk '{s+=$1} END {print s}')"; }
check "du" total
check "del" s3 del "s3://$B/moved"
gone() { fails_with 404 s3 info "s3://$B/moved"; }
check "what was deleted is gone" gone
check "del --recursive" s3 del --recursive --force "s3://$B"
check "rb" s3 rb "s3://$B"
finish
