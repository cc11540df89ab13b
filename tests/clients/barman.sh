#!/usr/bin/env bash
# barman-cloud: base backups and the WAL of a PostgreSQL cluster under load, restored to a new one that replays to the end.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/postgres.sh"
if [ -z "$PG_BIN" ] || [ ! -x /usr/bin/barman-cloud-backup ]; then
  skip "everything (PostgreSQL and barman-cli-cloud are not both installed)"
  exit 0
fi
trap 'pg_cleanup; rm -rf "$W"' EXIT
B=barman-$RUN
URL=s3://$B/some/prefix
pg_prepare
api() { aws --endpoint-url "$S3_ENDPOINT" s3api "$@"; }
# barman TOOL ARGUMENTS...: with Debian's own Python. --endpoint-url belongs before what has a place of its own.
cat >"$W/barman" <<C
#!/bin/sh
# What PostgreSQL runs has no environment of ours.
export AWS_ACCESS_KEY_ID='$S3_ACCESS' AWS_SECRET_ACCESS_KEY='$S3_SECRET' AWS_DEFAULT_REGION='$S3_REGION'
export AWS_EC2_METADATA_DISABLED=true TMPDIR='$P' PATH=/usr/bin:/bin:$PG_BIN
export NO_PROXY='$NO_PROXY' no_proxy='$NO_PROXY'
tool=\$1
shift
exec /usr/bin/barman-cloud-\$tool --cloud-provider aws-s3 --endpoint-url '$S3_ENDPOINT' "\$@"
C
chmod 755 "$W/barman"
barman() { as_pg "$W/barman" "$@"; }

check "make a bucket" api create-bucket --bucket "$B"
check "a cluster" pg_create "$P/one" "$W/barman wal-archive $URL main %p"
check "connectivity" barman backup --test "$URL" main
check "fill the cluster" pg_fill
backup() { barman backup --host "$P" --port "$PORT" --user postgres --immediate-checkpoint --jobs 2 "$@" "$URL" main; }
check "base backup" backup --name base
in_parts() {
  api list-objects-v2 --bucket "$B" --prefix some/prefix/main/base/ --query 'Contents[].[Size,ETag]' --output text >"$W/files"
  awk '$1 > 16777216 {large++; if ($2 ~ /-[0-9]+"$/) parts++} END {print large+0, parts+0; exit !(large && parts == large)}' "$W/files"
}
check "it went up in parts" in_parts
check "load" pg_load
check "second base backup, compressed, in several archives" backup --gzip --max-archive-size 20MB --name second
check "more load" pg_load
ended() {
  pg_sums >"$W/end"
  psql -c "select pg_switch_wal()"
  pg_stop "$P/one"
  api list-objects-v2 --bucket "$B" --prefix some/prefix/main/wals/ --query 'Contents[].Size' --output text >"$W/wals"
  # Segments have 16 MiB; labels and histories are smaller.
  tr '\t' '\n' <"$W/wals" | awk '$1 == 16777216 {n++} END {exit !n}'
}
check "the end, and whole segments in the archive" ended
listed() {
  barman backup-list --format json "$URL" main >"$W/list"
  equal "$(python3 -c 'import json, sys; print([b["status"] for b in json.load(open(sys.argv[1]))["backups_list"]])' "$W/list")" "['DONE', 'DONE']"
}
check "backup-list" listed
restored() {
  barman restore "$URL" main "$1" "$P/$1"
  as_pg tee -a "$P/$1/postgresql.auto.conf" >"$W/tee" <<C
archive_mode = off
restore_command = '$W/barman wal-restore $URL main %f %p'
recovery_target_timeline = 'latest'
C
  as_pg touch "$P/$1/recovery.signal"
  pg_start "$P/$1"
  pg_ended "$P/$1"
  pg_sums >"$W/now"
  pg_stop "$P/$1"
  diff "$W/end" "$W/now"
}
check "restore of the first backup, and replay to the end" restored base
check "restore of the second backup, and replay to the end" restored second
deleted() {
  barman backup-delete --backup-id base "$URL" main
  equal "$(barman backup-list --format json "$URL" main | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["backups_list"]))')" 1
}
check "backup-delete" deleted
lacks list-uploads || check "no upload is left" no_uploads "$B"
check "rb --force" aws --endpoint-url "$S3_ENDPOINT" s3 rb --force "s3://$B"
finish
