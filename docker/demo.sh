#!/usr/bin/env bash
# Runs the demo of compose.yaml, checks it, says what it saw, and removes everything: containers, networks, volumes and
# images. Exit status 0 only if all of it was as it should be.
#
# Needs a Docker Engine, and Compose: `docker compose` or docker-compose 1.29; COMPOSE says which to use. WEFT_BINARY
# names a static binary that is there already. WEFT_UNDERLAY (172.30.77) is the /24 of the nodes' network.
set -euo pipefail
[ -z "${WEFT_BINARY:-}" ] || WEFT_BINARY="$(realpath "$WEFT_BINARY")"
cd "$(dirname "$0")"

NODES="1 2 3"
PATIENCE=60
export COMPOSE_PROJECT_NAME=weft-demo-run COMPOSE_FILE=compose.yaml
export WEFT_IMAGE=weft-demo-run/node WEFT_DEMO_IMAGE=weft-demo-run/workload

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

docker version >/dev/null || fail "there is no Docker Engine to run the demo on: start it, or name its socket with DOCKER_HOST"
if [ -z "${COMPOSE:-}" ]; then
    if docker compose version >/dev/null 2>&1; then
        COMPOSE="docker compose"
    elif command -v docker-compose >/dev/null; then
        COMPOSE=docker-compose
    else
        fail "there is no Compose: apt-get install docker-compose"
    fi
fi

LOG="$(mktemp)"
# The end speaks here, wherever a signal finds the script.
exec 3>&1 4>&2

# quietly COMMAND...: what it says is shown if it fails.
quietly() {
    "$@" >"$LOG" 2>&1 </dev/null || {
        cat "$LOG" >&2
        fail "failed: $*"
    }
}

remove() {
    $COMPOSE down --volumes --remove-orphans --timeout 2 || return
    local image
    for image in "$WEFT_IMAGE" "$WEFT_DEMO_IMAGE"; do
        # Not there if the demo ended before.
        docker image inspect "$image" >/dev/null 2>&1 || continue
        docker rmi "$image" || return
    done
}

finish() {
    local status=$?
    # Whoever is impatient now would leave half of it behind.
    trap '' INT TERM HUP
    exec >&3 2>&4
    if [ "$status" -ne 0 ]; then
        printf '\nwhat the containers said:\n' >&2
        $COMPOSE logs --no-color --tail 30 >&2 </dev/null || true
    fi
    if remove >"$LOG" 2>&1 </dev/null; then
        echo "removed everything"
    else
        cat "$LOG" >&2
        status=1
    fi
    rm -f "$LOG"
    if [ "$status" -eq 0 ]; then echo "the demo PASSED in $SECONDS s"; else echo "the demo FAILED"; fi
    exit "$status"
}

# in_service SERVICE COMMAND...
in_service() {
    local service="$1"
    shift
    timeout --foreground 15 $COMPOSE exec -T "$service" "$@" </dev/null
}

# eventually WHAT COMMAND...: prints what the command said when it succeeded.
eventually() {
    local what="$1" deadline=$((SECONDS + PATIENCE))
    shift
    until "$@" >"$LOG" 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            cat "$LOG" >&2
            fail "not within $PATIENCE s: $what"
        fi
        sleep 0.5
    done
    cat "$LOG"
}

# The document of a client command has this in it. Blanks do not count.
node_says() {
    local node="$1" expected="$2" document
    shift 2
    document="$(in_service "$node" /weft --json "$@")" || return
    document="$(tr -d ' \n' <<<"$document")"
    case "$document" in
    *"$expected"*) printf '%-7s %s\n' "$node" "$expected" ;;
    *) echo "$node: $document" && return 1 ;;
    esac
}

is_tap() {
    local flags
    flags="$(in_service "$1" cat /sys/class/net/eth0/tun_flags)" || return
    # IFF_TAP, of linux/if_tun.h.
    [ $((flags & 2)) -ne 0 ] && in_service "$1" ip -o -4 addr show eth0
}

pings() {
    in_service "$1" ping -c 3 -i 0.2 -W 2 "$2" | sed -n "s/^round-trip/$1 pings $2:/p" | grep .
}

page() {
    [ "$(in_service "$1" wget -q -O - "http://$2/")" = "$2" ] && echo "$1 reads the page of $2"
}

look() {
    local n m
    for n in $NODES; do
        eventually "node$n sees all members" node_says "node$n" '"members_alive":3' status
        eventually "the network of node$n is sealed" node_says "node$n" '"mode":"sealed"' network inspect blue
        eventually "eth0 of web$n is a TAP device" is_tap "web$n"
    done
    for n in $NODES; do
        for m in $NODES; do
            [ "$n" = "$m" ] || eventually "web$n reaches web$m" pings "web$n" "web$m"
            [ "$n" = "$m" ] || eventually "web$n reads the page of web$m" page "web$n" "web$m"
        done
    done
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo "== images, of $($COMPOSE version --short 2>/dev/null | sed 's/^/Compose /')"
# What a demo that was killed has left.
quietly $COMPOSE down --volumes --remove-orphans --timeout 2
WEFT_BINARY="${WEFT_BINARY:-$(./binary.sh)}"
export WEFT_BINARY
# Away from the terminal's Ctrl-C: half a build leaves an image that has no name.
setsid --wait ./image.sh 2>"$LOG" || { cat "$LOG" >&2; fail "the images cannot be built"; }
echo "== up"
quietly $COMPOSE up --detach
look
echo "== restart"
quietly $COMPOSE restart --timeout 2
look
