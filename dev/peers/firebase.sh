#!/usr/bin/env bash
# Firebase's own emulator: its tokens are not signed, and let in only where the development switch is on.
source "$(dirname "$0")/common.sh"

npm install --silent --prefix "$work/npm" firebase-tools@15
port=$(free_port)
cat >"$work/npm/firebase.json" <<JSON
{"emulators":{"auth":{"host":"127.0.0.1","port":$port},"ui":{"enabled":false},"hub":{"port":$(free_port)},
 "logging":{"port":$(free_port)},"singleProjectMode":true}}
JSON
start emulator env -C "$work/npm" CI=1 node node_modules/firebase-tools/lib/bin/firebase.js \
    emulators:start --only auth --project demo-relais
until_up "http://127.0.0.1:$port/" emulator

sign_up() {
    curl --silent -H 'Content-Type: application/json' \
        -d "{\"email\":\"$1\",\"password\":\"correct horse\",\"returnSecureToken\":true}" \
        "http://127.0.0.1:$port/identitytoolkit.googleapis.com/v1/accounts:signUp?key=any" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["idToken"])'
}
ada=$(sign_up ada@example.org)
check 'the emulator does not sign' '' "${ada##*.}"

start_relais without FIREBASE_PROJECT_ID=demo-relais
check 'without the switch' 401 "$(status "$ada")"
start_relais with FIREBASE_PROJECT_ID=demo-relais FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:$port"
check 'with it' 200 "$(status "$ada")"
check 'somebody else' 200 "$(status "$(sign_up bea@example.org)")"
check 'a signature put on' 401 "$(status "${ada}c2lnbmVk")"
start_relais another FIREBASE_PROJECT_ID=demo-another FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:$port"
check 'for another project' 401 "$(status "$ada")"
if FIREBASE_PROJECT_ID=production FIREBASE_AUTH_EMULATOR_HOST=x RELAIS_DATA_DIR="$work/none" \
    env -C "$work" "$relais" >"$work/refused.log" 2>&1; then
    check 'the switch on a real project' 'no start' 'a start'
fi
echo "ok   the switch on a real project: $(grep -o 'FIREBASE_AUTH_EMULATOR_HOST makes.*' "$work/refused.log" | head -1)"
