#!/bin/sh
# Puts an interface of the network `blue` into this container, at $ADDRESS, then becomes the command.
#
# This process sees the host's process ids, and so does the node: /proc/$$/ns/net is the same namespace to both.
set -eu
state="/run/weft/$ADDRESS.endpoint"

until weft network inspect blue >/dev/null 2>&1; do sleep 0.2; done
# The container was here before, in a namespace that has gone with it.
if [ -s "$state" ]; then
    weft detach "$(cat "$state")" >/dev/null || true
fi
endpoint="$(weft attach blue --netns "/proc/$$/ns/net" --ip "$ADDRESS/24")"
echo "${endpoint%% *}" >"$state"
echo "attached: $endpoint"
exec "$@"
