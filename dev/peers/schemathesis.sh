#!/usr/bin/env bash
# The whole API against its own OpenAPI document, with input nobody thought of. `schemathesis.sh --max-examples 100` and the
# like go to schemathesis as they are.
source "$(dirname "$0")/common.sh"

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'schemathesis==4.32.*'
# Limits would answer in place of what is to be tried.
start_relais relais RATE_LIMIT_REQUESTS=1000000 RATE_LIMIT_SIGN_INS=1000000 RATE_LIMIT_SIGN_INS_PER_IDENTITY=1000000
"$work/venv/bin/schemathesis" run "$base/api/v1/openapi.json" --url "$base/api/v1" \
    --header "Authorization: Bearer $(demo relais api_key)" --header "X-Webhook-Secret: $(demo relais webhook_secret)" \
    --phases examples,coverage,fuzzing --max-examples 40 --continue-on-failure --request-timeout 70 --workers 2 \
    "$@"
