#!/usr/bin/env bash
# What a build needs beside a Rust toolchain, on a fresh Debian or Ubuntu: a C compiler with the C library's headers,
# which build the cryptography of aws-lc-sys and link everything else. aws-lc-sys brings its own assembly and
# bindings for the usual Linux targets, so cmake, Go, Perl and clang are not needed.
set -euo pipefail
"$(dirname "$0")/apt-install.sh" gcc libc6-dev ca-certificates
