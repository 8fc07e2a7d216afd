#!/usr/bin/env bash
# Builds the Debian package and prints its path. It needs cargo-deb (`cargo install --locked cargo-deb`) and dpkg-dev.
#
# What is in it stands in Cargo.toml, under package.metadata.deb; manual pages and completions come from the binary.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --release --locked --bin weft >&2
target="${CARGO_TARGET_DIR:-target}"
weft="$target/release/weft"
# A place that does not move with CARGO_TARGET_DIR, since Cargo.toml names it.
made=target/packaging
rm -rf "$made"
mkdir -p "$made"
"$weft" man "$made/man"
for shell in bash zsh fish; do
    "$weft" completions "$shell" >"$made/weft.$shell"
done

# The licences of what is linked into the binary: a line for each crate, then the texts that it comes with.
crates="$(cargo tree --locked --package weft --edges normal --prefix none --no-dedupe --format '{p}: {l}' |
    sed '/^weft/d; s/ (.*):/:/' | sort -u)"
{
    echo "$crates"
    while read -r name version _; do
        for text in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-${version//[v:]/}"/{LICEN[CS]E,COPYING,NOTICE}*; do
            [ ! -f "$text" ] || { printf '\n==== %s %s: %s\n\n' "$name" "$version" "${text##*/}" && cat "$text"; }
        done
    done <<<"$crates"
} >"$made/third-party-licences"

cargo deb --no-build --strip --locked
