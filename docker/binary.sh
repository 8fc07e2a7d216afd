#!/usr/bin/env bash
# Builds the binary for images that have nothing else in them, linked statically, and prints its path.
#
# The linker warns that getaddrinfo needs glibc's shared libraries at run time. Nothing calls it: `--join HOST` has a
# resolver of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

target="$(uname -m)-unknown-linux-gnu"
# With --target the flag is for the program alone, not for what helps to build it.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cargo build --release --locked --bin weft --target "$target" >&2
binary="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/$target/release/weft"
# The name of a loader stands near the beginning of a program that needs one.
if head -c 4096 "$binary" | grep -q /ld-; then
    echo "error: $binary is linked dynamically" >&2
    exit 1
fi
echo "$binary"
