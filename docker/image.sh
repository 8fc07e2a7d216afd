#!/usr/bin/env bash
# Builds the static binary, and of it the images `weft` and `weft-demo`. Nothing is pulled.
#
# WEFT_BINARY names a static binary that is there already; WEFT_IMAGE and WEFT_DEMO_IMAGE other names for the images.
set -euo pipefail
[ -z "${WEFT_BINARY:-}" ] || WEFT_BINARY="$(realpath "$WEFT_BINARY")"
cd "$(dirname "$0")"

binary="${WEFT_BINARY:-$(./binary.sh)}"
busybox="$(command -v busybox)" && ! head -c 4096 "$busybox" | grep -q /ld- || {
    echo "error: there is no busybox that is linked statically: apt-get install busybox-static" >&2
    exit 1
}

context="$(mktemp -d)"
trap 'rm -rf "$context"' EXIT
mkdir "$context/bin"
cp "$binary" "$context/weft"
cp "$binary" "$context/bin/weft"
cp "$busybox" "$context/bin/busybox"
cp demo/attach.sh "$context/bin/"
for applet in sh sleep cat echo hostname ip ping wget httpd; do
    ln -s busybox "$context/bin/$applet"
done
docker build --quiet --file Dockerfile --tag "${WEFT_IMAGE:-weft}" "$context"
docker build --quiet --file demo/Dockerfile --tag "${WEFT_DEMO_IMAGE:-weft-demo}" "$context"
