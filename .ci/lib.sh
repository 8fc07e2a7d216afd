# What .ci/run and .ci/long share: steps with a headline and their seconds, and an end that says what happened.
# Sourced, with the shell at the root of the repository.

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
# A machine that builds once gains nothing from incremental builds, and debug information costs minutes.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
# Nothing here asks a question, and nothing may read what belongs to the caller.
exec </dev/null

# Every process that starts from here carries this mark, so that none can stay behind unseen.
export WEFT_CI_RUN="$$"

SUMMARY=()
CURRENT="the start"

# step NAME COMMAND...: runs the command under a headline; its failure ends the script.
step() {
    CURRENT="$1"
    shift
    printf '\n=== %s\n' "$CURRENT"
    local from=$SECONDS
    "$@"
    local took=$((SECONDS - from))
    SUMMARY+=("$(printf '%5d s  %s' "$took" "$CURRENT")")
    printf -- '--- %s: %d s\n' "$CURRENT" "$took"
}

# note TEXT: a line that must not drown in the output above the summary.
note() {
    printf 'note: %s\n' "$1"
    SUMMARY+=("$(printf '%7s  note: %s' '' "$1")")
}

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# The processes that carry this run's mark. The search runs without it, and so does not find itself.
marked() {
    env -u WEFT_CI_RUN bash -c '
        for file in $(grep -lszxF "WEFT_CI_RUN=$1" /proc/[0-9]*/environ 2>/dev/null); do
            pid="${file#/proc/}"
            pid="${pid%/environ}"
            echo "$pid $(tr "\0" " " 2>/dev/null <"/proc/$pid/cmdline")"
        done' marked "$$" 2>/dev/null
}

# What this machine's own network namespace shows: nothing of a test belongs there.
surroundings() {
    ls /sys/class/net /run/netns 2>/dev/null || true
}

nothing_left_behind() {
    local left
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        left="$(marked)"
        [ -n "$left" ] || break
        sleep 0.5
    done
    [ -z "$left" ] || fail "these processes are still there:"$'\n'"$left"
    local now
    now="$(surroundings)"
    [ "$now" = "$SURROUNDINGS" ] ||
        fail "interfaces or namespaces differ from before:"$'\n'"$(diff <(echo "$SURROUNDINGS") <(echo "$now"))"
    echo "no process, interface or namespace is left"
}

SURROUNDINGS="$(surroundings)"

# Files that end with the script, however it ends.
TEMPORARY=()

finish() {
    local status=$?
    [ ${#TEMPORARY[@]} -eq 0 ] || rm -f "${TEMPORARY[@]}"
    printf '\n'
    [ ${#SUMMARY[@]} -eq 0 ] || printf '%s\n' "${SUMMARY[@]}"
    if [ "$status" -eq 0 ]; then
        printf '%s: PASSED in %d s\n' "$0" "$SECONDS"
    else
        printf '%s: FAILED at "%s" after %d s\n' "$0" "$CURRENT" "$SECONDS"
    fi
}
trap finish EXIT
