#!/usr/bin/env bash
# Google's part played by oauth2-mock-server: the code flow, and its RS256 tokens as bearers.
source "$(dirname "$0")/common.sh"

npm install --silent --prefix "$work/npm" oauth2-mock-server@8
port=$(free_port)
control=$(free_port)
issuer=http://localhost:$port

# Its own server, with a door to turn its keys and to sign other claims.
cat >"$work/npm/server.mjs" <<'JS'
import { createServer } from 'node:http';
import { OAuth2Server } from 'oauth2-mock-server';

const [port, control] = process.argv.slice(2).map(Number);
const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.start(port, 'localhost');
let kid;
createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/turn') kid = (await server.issuer.keys.generate('RS256')).kid;
  const claims = JSON.parse(url.searchParams.get('claims') ?? '{}');
  const token = await server.issuer.buildToken({
    kid,
    scopesOrTransform: (_header, payload) => Object.assign(payload, claims),
  });
  response.end(token);
}).listen(control, '127.0.0.1');
JS
start issuer node "$work/npm/server.mjs" "$port" "$control"
until_up "$issuer/.well-known/openid-configuration" issuer
start_relais relais GOOGLE_ISSUER="$issuer" GOOGLE_CLIENT_ID=relais GOOGLE_CLIENT_SECRET=any OIDC_ISSUERS="$issuer|mobile"

jar=$work/cookies
page=$(curl --silent --cookie-jar "$jar" --output /dev/null --write-out '%{redirect_url}' "$base/api/v1/auth/google?return_to=/docs")
check 'begins on the issuer'"'"'s page' "$issuer/authorize" "${page%%\?*}"
back=$(curl --silent --output /dev/null --write-out '%{redirect_url}' "$page")
check 'comes back to the callback' "$base/api/v1/auth/google/callback" "${back%%\?*}"
check 'without the cookie' 400 "$(curl --silent --output /dev/null --write-out '%{http_code}' "$back")"
answer=$(curl --silent --cookie "$jar" "$back")
who=$(python3 -c 'import json, sys; answer = json.loads(sys.argv[1]); print(bool(answer["user"]["id"]), answer["return_to"])' "$answer")
check 'is a user, and goes on' 'True /docs' "$who"
check 'the same code again' 401 "$(curl --silent --cookie "$jar" --output /dev/null --write-out '%{http_code}' "$back")"

token() {
    curl --silent --get --data-urlencode "claims=$1" "http://127.0.0.1:$control/${2:-}"
}
check 'a token for this client' 200 "$(status "$(token '{"aud":"relais","sub":"ada"}')")"
check 'one for our other client' 200 "$(status "$(token '{"aud":"mobile","sub":"ada"}')")"
check 'one for somebody else' 401 "$(status "$(token '{"aud":"other","sub":"ada"}')")"
check 'one of another issuer' 401 "$(status "$(token '{"aud":"relais","sub":"ada","iss":"https://evil.example"}')")"
check 'one that has expired' 401 "$(status "$(token '{"aud":"relais","sub":"ada","exp":1700000000}')")"
good=$(token '{"aud":"relais","sub":"ada"}')
check 'one whose signature was changed' 401 "$(status "${good%?????}AAAAA")"
new=$(token '{"aud":"relais","sub":"ada"}' turn)
check 'a new key, a moment after the last was fetched' 401 "$(status "$new")"
sleep 31
check 'a new key, later' 200 "$(status "$new")"
echo 'ok   all of it'
