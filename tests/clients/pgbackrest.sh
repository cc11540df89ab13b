#!/usr/bin/env bash
# pgBackRest: full and incremental backups and the WAL of a PostgreSQL cluster under load, verified, restored to the end and to
# a point in time. It speaks nothing but TLS to its repository, so it wants S3_TLS_ENDPOINT and S3_CA.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/postgres.sh"
if [ -z "$PG_BIN" ] || [ ! -x /usr/bin/pgbackrest ]; then
  skip "everything (PostgreSQL and pgBackRest are not both installed)"
  exit 0
fi
if [ -z "${S3_TLS_ENDPOINT:-}" ]; then
  skip "everything (S3_TLS_ENDPOINT is not set)"
  exit 0
fi
trap 'pg_cleanup; rm -rf "$W"' EXIT
B=pgbackrest-$RUN
pg_prepare
mkdir "$W/logs" "$W/lock" "$W/spool"
[ "$(id -u)" != 0 ] || chown postgres "$W/logs" "$W/lock" "$W/spool"
cp "${S3_CA:?}" "$W/ca.pem"
chmod 644 "$W/ca.pem"
at=${S3_TLS_ENDPOINT#https://}
cat >"$W/pgbackrest.conf" <<C
[global]
repo1-type=s3
repo1-path=/repo
repo1-s3-bucket=$B
repo1-s3-endpoint=${at%:*}
repo1-storage-host=${at%:*}
repo1-storage-port=${at##*:}
repo1-storage-ca-file=$W/ca.pem
repo1-s3-uri-style=path
repo1-s3-region=$S3_REGION
repo1-s3-key=$S3_ACCESS
repo1-s3-key-secret=$S3_SECRET
repo1-bundle=y
repo1-retention-full=1
compress-type=none
process-max=2
start-fast=y
log-path=$W/logs
lock-path=$W/lock
spool-path=$W/spool
log-level-console=warn
[main]
pg1-path=$P/one
pg1-socket-path=$P
pg1-port=$PORT
pg1-user=postgres
C
[ "$(id -u)" != 0 ] || chown postgres "$W/pgbackrest.conf"
chmod 600 "$W/pgbackrest.conf"
backrest() { as_pg pgbackrest --config="$W/pgbackrest.conf" --stanza=main "$@"; }
api() { aws --endpoint-url "$S3_ENDPOINT" s3api "$@"; }

check "make a bucket" api create-bucket --bucket "$B"
check "a cluster" pg_create "$P/one" "pgbackrest --config=$W/pgbackrest.conf --stanza=main archive-push %p"
check "stanza-create" backrest stanza-create
check "check, which waits for a WAL segment in the archive" backrest check
check "fill the cluster" pg_fill
check "full backup" backrest --type=full backup
in_parts() {
  api list-objects-v2 --bucket "$B" --prefix repo/backup/ --query 'Contents[].[Size,ETag]' --output text >"$W/files"
  awk '$1 > 16777216 {large++; if ($2 ~ /-[0-9]+"$/) parts++} END {print large+0, parts+0; exit !(large && parts == large)}' "$W/files"
}
check "large files went up in parts" in_parts
check "load" pg_load
check "incremental backup" backrest --type=incr backup
check "more load" pg_load
point() {
  pg_sums >"$W/point"
  psql -c "select pg_create_restore_point('here')" -c "drop table pgbench_history" -c "update noise set bytes = 'gone' where i % 7 = 0"
  psql -c "create table pgbench_history (tid int)"
  pg_sums >"$W/end"
  # The last segment goes to the archive when the cluster stops.
  psql -c "select pg_switch_wal()"
  pg_stop "$P/one"
}
check "a restore point, and the end" point
check "verify" backrest verify
nothing_wrong() {
  backrest verify --output=text --verbose >"$W/verify"
  grep -q 'status: ok' "$W/verify"
  if grep -E 'missing: [1-9]|checksum invalid: [1-9]|size invalid: [1-9]|other: [1-9]' "$W/verify"; then return 1; fi
}
if backrest help verify | grep -q -- --output; then check "verify finds every file whole" nothing_wrong; fi
restored() {
  local into=$1
  shift
  backrest --pg1-path="$into" "$@" restore
  as_pg tee -a "$into/postgresql.auto.conf" <<<"archive_mode = off" >"$W/tee"
  pg_start "$into"
  pg_ended "$into"
  pg_sums >"$W/now"
  psql -c "insert into noise values (0, 'x')"
  pg_stop "$into"
}
to_the_end() {
  restored "$P/two"
  diff "$W/end" "$W/now"
}
check "restore to the end of the WAL" to_the_end
to_the_point() {
  restored "$P/three" --type=name --target=here --target-action=promote
  diff "$W/point" "$W/now"
}
check "restore to the restore point" to_the_point
delta() {
  # Damage, and files that are missing, are made good from the repository.
  local file
  file=$(find "$P/three/base" -type f -size +1M | sort | head -n 1)
  dd if=/dev/urandom of="$file" bs=8192 count=3 seek=5 conv=notrunc status=none
  rm -f "$P/three/global/pg_control"
  restored "$P/three" --delta --type=name --target=here --target-action=promote
  diff "$W/point" "$W/now"
}
check "restore --delta over a damaged cluster" delta
expired() {
  pg_start "$P/one"
  backrest --type=full backup
  equal "$(backrest info --output=json | python3 -c 'import json, sys; print([b["type"] for b in json.load(sys.stdin)[0]["backup"]])')" "['full']"
  pg_stop "$P/one"
}
check "a new full backup, the old ones expire" expired
gone() {
  backrest stop
  backrest --force stanza-delete
  equal "$(api list-objects-v2 --bucket "$B" --query 'Contents[].Key' --output text)" None
  api delete-bucket --bucket "$B"
}
check "stanza-delete leaves nothing" gone
finish
