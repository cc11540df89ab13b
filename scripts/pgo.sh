#!/usr/bin/env bash
# pgo.sh [OPTION...]: builds target/pgo/release/sealgate with a profile of itself at work (profile-guided optimisation), as the
# image has it. OPTIONs go to cargo. A request of 4 KiB then costs a quarter to a third less processor time than after plain
# `cargo build --release`: docs/PERFORMANCE.md. It takes three builds in place of one, and runs the gateway, its clients and
# their store for a minute in between, all on 127.0.0.1.
#
# Needs rustup, or a toolchain with llvm-profdata; without openssl TLS is not trained.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What is chosen by the CPU at run time stays out of the profile: the levels that this machine lacks would count as never used.
BY_CPU='fearless_simd|sealgate\.\.digest|8sealgate6digest|sha2|3md5|aes|ghash|polyval|crc|memchr'

target=${CARGO_TARGET_DIR:-target}/pgo
mkdir -p "$target"
target=$(cd "$target" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/sealgate-pgo.XXXXXX")
trap 'rm -rf "$work"' EXIT

tools=$(rustc --print target-libdir)/../bin
[ -x "$tools/llvm-profdata" ] || rustup --quiet component add llvm-tools
[ -x "$tools/llvm-profdata" ] || {
  echo "pgo.sh: no llvm-profdata in $tools" >&2
  exit 1
}

# The same profile as in the end, or names would not match. Build scripts are instrumented too: what they leave is not wanted.
echo "pgo.sh: building to be trained" >&2
LLVM_PROFILE_FILE=/dev/null RUSTFLAGS="${RUSTFLAGS-} -Cprofile-generate" \
  cargo build --release "$@" --bin sealgate --target-dir "$target/trained"

# The clients: what matters is only that they are soon built.
echo "pgo.sh: building what trains it" >&2
CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
  cargo build --release "$@" --package sealgate-e2e --target-dir "$target/clients"

echo "pgo.sh: training" >&2
train() {
  LLVM_PROFILE_FILE=$work/gateway-%m.profraw "$target/clients/release/e2e" "$1" \
    --binary "$target/trained/release/sealgate" "${@:2}" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
  }
}
tls=both
command -v openssl >/dev/null || tls=off
train compare --targets sealgate --sizes 4KiB,64KiB,1MiB,32MiB --clients 1,16 --payloads unsigned,sha256,streaming,trailer \
  --rounds 1 --seconds 0.4 --cores off --tls "$tls"
train growth --only listing,ranges,parts --ranges 256MiB --parts 100 --seconds 0.4 --cores off

echo "pgo.sh: building" >&2
"$tools/llvm-profdata" merge --no-function="$BY_CPU" --output="$target/sealgate.profdata" "$work"/gateway-*.profraw
RUSTFLAGS="${RUSTFLAGS-} -Cprofile-use=$target/sealgate.profdata -Cllvm-args=-enable-split-machine-functions" \
  cargo build --release "$@" --bin sealgate --target-dir "$target"
