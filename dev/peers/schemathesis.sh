#!/usr/bin/env bash
# The whole API against its own OpenAPI document, with input nobody thought of: as an API key, as a user, and as an admin of the
# platform. `schemathesis.sh --max-examples 200` and the like go to schemathesis as they are.
source "$(dirname "$0")/common.sh"

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'schemathesis==4.32.*'
# Limits would answer in place of what is to be tried. The emulator's switch is the shortest way to be a user.
start_relais relais RATE_LIMIT_REQUESTS=1000000 RATE_LIMIT_SIGN_INS=1000000 RATE_LIMIT_SIGN_INS_PER_IDENTITY=1000000 \
    FIREBASE_PROJECT_ID=demo-relais FIREBASE_AUTH_EMULATOR_HOST=none

# user NAME: a token of somebody of that name, good for a day.
user() {
    python3 - "$1" <<'PYTHON'
import base64, json, sys, time
name, now = sys.argv[1], int(time.time())
claims = {"iss": "https://securetoken.google.com/demo-relais", "aud": "demo-relais", "sub": name, "name": name, "iat": now,
          "exp": now + 86400, "email": name + "@example.org", "email_verified": True}
part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
print(part({"alg": "none"}) + "." + part(claims) + ".")
PYTHON
}

# attack AS TOKEN ARGUMENTS…
attack() {
    local as=$1 token=$2
    shift 2
    echo "as $as"
    # What a schema cannot say is refused as well, with reasons: that good input is accepted is for our own tests.
    env -C "$work" "$work/venv/bin/schemathesis" run "$base/api/v1/openapi.json" --url "$base/api/v1" \
        --header "Authorization: Bearer $token" --header "X-Webhook-Secret: $(demo relais webhook_secret)" \
        --phases examples,coverage,fuzzing --max-examples 40 --exclude-checks positive_data_acceptance \
        --continue-on-failure --request-timeout 70 --workers 2 --warnings off "$@"
}

attack 'an API key' "$(demo relais api_key)" "$@"
attack 'a user' "$(user ada)" "$@"
admin=$(user admin)
check 'signs up' 200 "$(status "$admin")"
stores() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/relais/data/$1.json" "$2"
}
DATABASE_URL=$(stores stores database_url) REDIS_URL=$(stores stores redis_url) JWT_SECRET=$(stores secrets jwt_secret) \
    RELAIS_MASTER_KEY=$(stores secrets master_key) "$relais" user role --email admin@example.org --role admin
# Until the ingress hears of it.
sleep 6
attack 'an admin of the platform' "$admin" "$@"
