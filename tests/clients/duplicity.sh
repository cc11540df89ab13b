#!/usr/bin/env bash
# duplicity over its boto3+s3 backend: full and incremental backups in volumes that go up in parts, verified and restored.
. "$(dirname "$0")/lib.sh"
if [ ! -x /usr/bin/duplicity ]; then
  skip "everything (duplicity is not installed)"
  exit 0
fi
export PASSPHRASE=$RUN HOME=$W/home GNUPGHOME=$W/gpg
mkdir -m 700 "$HOME" "$GNUPGHOME"
B=duplicity-$RUN
URL=boto3+s3://$B/some/prefix
# Debian's own Python, not the one that other suites use.
duplicity() {
  PATH=/usr/bin:/bin /usr/bin/duplicity "$@" --s3-endpoint-url "$S3_ENDPOINT" --s3-region-name "$S3_REGION" \
    --s3-multipart-chunk-size 5 --archive-dir "$W/archive" --tempdir "$W" --num-retries 1 --verbosity "${VERBOSITY:-warning}"
}
api() { aws --endpoint-url "$S3_ENDPOINT" s3api "$@"; }

tree "$W/tree"
noise "$W/tree/large" $((45 * 1024 * 1024 + 3))
check "make a bucket" api create-bucket --bucket "$B"
# Volumes of 25 MB, each in parts of 5 MB.
check "full backup" duplicity full --volsize 25 "$W/tree" "$URL"
in_parts() {
  api list-objects-v2 --bucket "$B" --prefix some/prefix/ --query 'Contents[].[Size,ETag]' --output text >"$W/volumes"
  awk '$1 > 8388608 {large++; if ($2 ~ /-[0-9]+"$/) parts++} END {print large+0, parts+0; exit !(large && parts == large)}' "$W/volumes"
}
check "large volumes went up in parts" in_parts
check "verify, comparing all data" duplicity verify --compare-data "$URL" "$W/tree"
cp -a "$W/tree" "$W/first"
touch -d '1 minute ago' "$W/then"
sleep 2
first_time=$(date +%s)
sleep 2
changes() {
  rm "$W/tree/three"
  noise "$W/tree/new" 12000000
  noise "$W/tree/sub/100" 70000
}
changes
check "incremental backup" duplicity incremental --volsize 25 "$W/tree" "$URL"
verify_fails() {
  noise "$W/tree/sub/1" 2
  VERBOSITY=notice fails_with "Difference found" duplicity verify --compare-data "$URL" "$W/tree"
}
check "verify of both" duplicity verify --compare-data "$URL" "$W/tree"
restored() {
  rm -rf "$W/restored" "$W/archive"
  duplicity restore "$@" "$URL" "$W/restored"
}
latest() {
  restored
  diff -r "$W/tree" "$W/restored"
}
check "restore without the local archive" latest
earlier() {
  restored --time "$first_time"
  diff -r "$W/first" "$W/restored"
}
check "restore of the full backup" earlier
one_file() {
  rm -rf "$W/one"
  duplicity restore --file-to-restore large "$URL" "$W/one"
  same_file "$W/tree/large" "$W/one"
}
check "restore of one file" one_file
check "verify says what was changed since" verify_fails
status() {
  duplicity collection-status "$URL" >"$W/status"
  grep -q 'No orphaned or incomplete backup sets found' "$W/status"
  equal "$(grep -cE '^ +(Full|Incremental) ' "$W/status")" 2
}
check "collection-status" status
cleaned() {
  duplicity full --volsize 25 "$W/tree" "$URL"
  duplicity remove-all-but-n-full 1 --force "$URL"
  rm -rf "$W/restored" "$W/archive"
  duplicity restore "$URL" "$W/restored"
  diff -r "$W/tree" "$W/restored"
}
check "a new full backup, the old ones removed" cleaned
check "rb --force" aws --endpoint-url "$S3_ENDPOINT" s3 rb --force "s3://$B"
finish
