# Sourced by the scripts here: a relais with fresh data, and how to say what was seen.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
relais=${RELAIS:-$root/target/debug/relais}
work=$(mktemp -d "${TMPDIR:-/tmp}/relais-peers.XXXXXX")
started=()

stop() {
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap stop EXIT

# start NAME COMMAND…: in the background; what it writes is in $work/NAME.log.
start() {
    local name=$1
    shift
    "$@" >"$work/$name.log" 2>&1 &
    started+=($!)
}

# until_up URL NAME: waits for an answer, at most two minutes.
until_up() {
    for _ in $(seq 240); do
        if curl --silent --fail --output /dev/null "$1"; then return; fi
        sleep 0.5
    done
    echo "FAIL $2 does not answer at $1" >&2
    tail -n 20 "$work/$2.log" >&2
    exit 1
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start_relais NAME [VARIABLE=VALUE…]: sets $base.
start_relais() {
    local name=$1 port
    shift
    port=$(free_port)
    base=http://127.0.0.1:$port
    mkdir -p "$work/$name"
    # From an empty folder: no .env is read.
    start "$name" env -C "$work/$name" RELAIS_BIND="127.0.0.1:$port" RELAIS_DATA_DIR="$work/$name/data" "$@" "$relais"
    until_up "$base/health/detailed" "$name"
}

# demo NAME KEY: a value of the demo business.
demo() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/$1/data/demo.json" "$2"
}

# check WHAT EXPECTED FOUND
check() {
    if [ "$2" != "$3" ]; then
        echo "FAIL $1: expected $2, found $3" >&2
        exit 1
    fi
    echo "ok   $1: $3"
}

# status TOKEN [PATH]: of a GET with a bearer token.
status() {
    curl --silent --output /dev/null --write-out '%{http_code}' -H "Authorization: Bearer $1" "$base${2:-/api/v1/documents}"
}
