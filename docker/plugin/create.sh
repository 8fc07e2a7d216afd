#!/usr/bin/env bash
# Makes the managed plugin on the engine: docker/plugin/create.sh [NAME], then `docker plugin enable NAME` (weft).
#
# For a Swarm, between the two: `docker plugin set NAME WEFT_SCOPE=global`. WEFT_BINARY names a static binary that is
# there already.
set -euo pipefail
[ -z "${WEFT_BINARY:-}" ] || WEFT_BINARY="$(realpath "$WEFT_BINARY")"
cd "$(dirname "$0")"

binary="${WEFT_BINARY:-$(../binary.sh)}"
plugin="$(mktemp -d)"
trap 'rm -rf "$plugin"' EXIT
mkdir -p "$plugin/rootfs/run/docker/plugins" "$plugin/rootfs/run/weft-host"
cp config.json "$plugin/"
cp "$binary" "$plugin/rootfs/weft"
docker plugin create "${1:-weft}" "$plugin"
