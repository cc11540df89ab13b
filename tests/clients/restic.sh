#!/usr/bin/env bash
# restic: a repository from init to prune, every byte of it read back.
. "$(dirname "$0")/lib.sh"
export RESTIC_REPOSITORY=s3:$S3_ENDPOINT/restic-$RUN/repo RESTIC_PASSWORD=$RUN RESTIC_CACHE_DIR=$W/cache
restic() { command restic --quiet "$@"; }

tree "$W/tree"
noise "$W/tree/large" $((40 * 1024 * 1024 + 3))
for i in $(seq 200); do head -c $((i * 37)) /dev/urandom >"$W/tree/sub/deep/$i"; done

check "init" restic init
check "backup" restic backup "$W/tree"
check "check --read-data" restic check --read-data
restore() {
  rm -rf "$W/restored"
  restic restore latest --target "$W/restored"
  diff -r "$W/tree" "$W/restored$W/tree"
}
check "restore" restore
second() {
  noise "$W/tree/more" 9000000
  rm "$W/tree/three"
  restic backup "$W/tree"
}
check "second backup" second
check "restore of the second" restore
prune() {
  restic forget --keep-last 1 --prune
  equal "$(restic snapshots --json | grep -o '"short_id"' | wc -l)" 1
}
check "forget and prune" prune
check "check --read-data without the cache" restic --no-cache check --read-data
check "restore after the prune" restore
finish
