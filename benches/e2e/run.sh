#!/usr/bin/env bash
# Measures the gateway from end to end: builds it and its bench in release mode, and runs one of
#
#   benches/e2e/run.sh compare     [options]   CPU, latency and memory beside nginx and haproxy in the same run, beside `hyper`,
#                                              what the HTTP library alone costs, and `floor`, the least that a proxy
#                                              which encrypts can cost (--quick: 3 minutes)
#   benches/e2e/run.sh latency     [options]   what the gateway adds to 4 KiB requests at half load
#   benches/e2e/run.sh growth      [options]   cost as objects, connections, streams, listings, users and parts grow: a quarter
#                                              of an hour (--only size,long,ranges,...: sections of it)
#   benches/e2e/run.sh table FILE              tables of the figures that compare and latency --out FILE kept
#   benches/e2e/run.sh plot FILE   [options]   SVGs of the figures that --out FILE kept, into docs/plots
#   benches/e2e/run.sh memory      [options]   peak memory with 1, 16 and 64 streams of 1 GiB, and with one object of 100 GiB
#   benches/e2e/run.sh throughput  [options]   speed at 4 KiB, 1 MiB and 64 MiB, with 1 and 16 clients
#
# `SEALGATE_BIN=target/pgo/release/sealgate` measures the binary of scripts/pgo.sh in place of the one that is built here.
# `compare --help` and so on list the options. Everything is on 127.0.0.1; `compare` leaves out what is not installed (Debian:
# nginx-light, haproxy; openssl for TLS). `compare`, `throughput` and `memory` with a `--size` of more than 1 GiB need as much free
# space under TMPDIR as the longest object has bytes; those of `growth` and `memory --long` are sealed as they are read.
# docs/PERFORMANCE.md says what the figures mean.
set -euo pipefail

if (($# == 0)); then
    sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --package sealgate --bin sealgate --package sealgate-e2e --bin e2e
case $1 in
compare | latency | growth | memory | throughput)
    command=$1
    shift
    exec "$target/release/e2e" "$command" --binary "${SEALGATE_BIN:-$target/release/sealgate}" "$@"
    ;;
*)
    exec "$target/release/e2e" "$@"
    ;;
esac
