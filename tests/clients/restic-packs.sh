#!/usr/bin/env bash
# restic with large packs, every byte read back. It sends each pack in one PUT: its parts would begin at 200 MiB.
. "$(dirname "$0")/lib.sh"
export RESTIC_REPOSITORY=s3:$S3_ENDPOINT/restic-packs-$RUN/repo RESTIC_PASSWORD=$RUN RESTIC_CACHE_DIR=$W/cache
restic() { command restic --quiet "$@"; }

size=$([ "${BIG:-0}" = 1 ] && echo 400000000 || echo 120000000)
mkdir "$W/tree"
noise "$W/tree/large" "$size"
for i in $(seq 50); do noise "$W/tree/$i" $((i * 20011)); done

check "init" restic init
check "backup with packs of 64 MiB" restic backup --pack-size 64 "$W/tree"
large_packs() {
  aws --endpoint-url "$S3_ENDPOINT" s3api list-objects-v2 --bucket "restic-packs-$RUN" --prefix repo/data/ \
    --query 'Contents[].Size' --output text | tr '\t' '\n' | awk '$1 > 33554432 {n++} END {exit !n}'
}
check "packs are large" large_packs
check "check --read-data" restic check --read-data
restore() {
  rm -rf "$W/restored"
  restic restore latest --target "$W/restored"
  diff -r "$W/tree" "$W/restored$W/tree"
}
check "restore" restore
second() {
  noise "$W/tree/more" 40000000
  rm "$W/tree/7"
  restic backup --pack-size 64 "$W/tree"
}
check "second backup" second
check "forget and prune" restic forget --keep-last 1 --prune --pack-size 64
check "check --read-data without the cache" restic --no-cache check --read-data
check "restore after the prune" restore
finish
