//! An OpenID Connect issuer: discovery, keys that rotate, the authorization-code flow with PKCE; and signs whatever it is told
//! to, also what no issuer would.
//!
//! Whoever comes to sign in is signed in at once, as the person it was told of last.

mod keys;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{Clock, secret};
use poem::http::{StatusCode, header};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Form, Json, Query};
use poem::{EndpointExt, IntoResponse, Response, Route, Server, get, handler, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub use keys::{SigningKey, unsigned};

/// The client that signs people in here.
pub const CLIENT: (&str, &str) = ("relais", "a secret of the client");

/// What a code stands for.
struct Grant {
    challenge: String,
    redirect_uri: String,
    nonce: String,
}

struct State {
    keys: Vec<SigningKey>,
    person: Value,
    grants: HashMap<String, Grant>,
    /// What the issuer says in place of the nonce it was given.
    nonce: Option<String>,
    is_away: bool,
    fetches: usize,
}

struct Shared {
    issuer: String,
    state: Mutex<State>,
    clock: Clock,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An ID token's claims for `audience`, valid for an hour.
    fn claims(&self, audience: &str, person: &Value) -> Value {
        let now = self.clock.now().timestamp();
        let mut claims =
            json!({ "iss": self.issuer, "aud": audience, "iat": now, "exp": now + 3_600 });
        merge(&mut claims, person);
        claims
    }
}

/// Puts the members of `more` into `claims`; null takes one away.
fn merge(claims: &mut Value, more: &Value) {
    let (Some(claims), Some(more)) = (claims.as_object_mut(), more.as_object()) else {
        return;
    };
    for (name, value) in more {
        match value {
            Value::Null => claims.remove(name),
            value => claims.insert(name.clone(), value.clone()),
        };
    }
}

/// A running simulator; it ends when dropped.
pub struct OpenIdSimulator {
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for OpenIdSimulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl OpenIdSimulator {
    /// Listens at a free port, with one RSA key.
    pub async fn start(clock: Clock) -> std::io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let acceptor = TcpListener::bind(address).into_acceptor().await?;
        let address = acceptor
            .local_addr()
            .first()
            .and_then(|address| address.as_socket_addr().copied());
        let address = address.ok_or_else(|| std::io::Error::other("not a TCP address"))?;
        let shared = Arc::new(Shared {
            issuer: format!("http://{address}"),
            state: Mutex::new(State {
                keys: vec![SigningKey::rsa("first", 1)],
                person: json!({ "sub": "somebody" }),
                grants: HashMap::new(),
                nonce: None,
                is_away: false,
                fetches: 0,
            }),
            clock,
        });
        let app = Route::new()
            .at("/.well-known/openid-configuration", get(configuration))
            .at("/jwks", get(jwks))
            // Where Supabase has them.
            .at("/auth/v1/.well-known/jwks.json", get(jwks))
            .at("/authorize", get(authorize))
            .at("/token", post(token))
            .data(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(app).await.ok();
        });
        Ok(Self { shared, serving })
    }

    /// Its `iss`.
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// Publishes these keys and no others.
    pub fn publish(&self, keys: impl IntoIterator<Item = SigningKey>) {
        self.shared.lock().keys = keys.into_iter().collect();
    }

    /// Answers 503 from now on, or no more.
    pub fn set_away(&self, is_away: bool) {
        self.shared.lock().is_away = is_away;
    }

    /// How often the keys were asked for.
    pub fn fetches(&self) -> usize {
        self.shared.lock().fetches
    }

    /// Who signs in from now on, as claims of the ID token.
    pub fn set_person(&self, person: Value) {
        self.shared.lock().person = person;
    }

    /// Says another nonce than it was given.
    pub fn set_nonce(&self, nonce: &str) {
        self.shared.lock().nonce = Some(nonce.to_owned());
    }

    /// The claims of an ID token for [`CLIENT`], changed by `more`, where null takes a claim away.
    pub fn claims(&self, more: &Value) -> Value {
        self.shared.claims(CLIENT.0, more)
    }

    /// An ID token with [`Self::claims`], signed with the first published key.
    pub fn token(&self, more: &Value) -> String {
        let claims = self.claims(more);
        self.shared.lock().keys[0].sign(&claims)
    }
}

fn unavailable() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

#[handler]
fn configuration(Data(shared): Data<&Arc<Shared>>) -> Response {
    if shared.lock().is_away {
        return unavailable();
    }
    let issuer = &shared.issuer;
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
    }))
    .into_response()
}

#[handler]
fn jwks(Data(shared): Data<&Arc<Shared>>) -> Response {
    let mut state = shared.lock();
    state.fetches += 1;
    if state.is_away {
        return unavailable();
    }
    let keys: Vec<Value> = state.keys.iter().map(SigningKey::jwk).collect();
    Json(json!({ "keys": keys }))
        .with_header(header::CACHE_CONTROL, "public, max-age=600")
        .into_response()
}

#[derive(Deserialize)]
struct Authorize {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    scope: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
}

#[handler]
fn authorize(
    Data(shared): Data<&Arc<Shared>>,
    Query(asked): Query<Authorize>,
) -> Result<Response, poem::Error> {
    let is_right = asked.response_type == "code"
        && asked.client_id == CLIENT.0
        && asked.scope.split(' ').any(|scope| scope == "openid")
        && asked.code_challenge_method == "S256";
    if !is_right {
        return Err(poem::Error::from_status(StatusCode::BAD_REQUEST));
    }
    let code = secret::random_token();
    let mut state = shared.lock();
    let location = format!(
        "{}?code={code}&state={}&scope=openid&iss={}",
        asked.redirect_uri, asked.state, shared.issuer
    );
    let grant = Grant {
        challenge: asked.code_challenge,
        redirect_uri: asked.redirect_uri,
        nonce: asked.nonce,
    };
    state.grants.insert(code, grant);
    Ok(StatusCode::FOUND
        .with_header(header::LOCATION, location)
        .into_response())
}

#[derive(Deserialize)]
struct Exchange {
    grant_type: String,
    code: String,
    redirect_uri: String,
    client_id: String,
    client_secret: String,
    code_verifier: String,
}

#[handler]
fn token(Data(shared): Data<&Arc<Shared>>, Form(exchange): Form<Exchange>) -> Response {
    let refused = |error: &str| {
        Json(json!({ "error": error }))
            .with_status(StatusCode::BAD_REQUEST)
            .into_response()
    };
    if (exchange.client_id.as_str(), exchange.client_secret.as_str()) != CLIENT {
        return refused("invalid_client");
    }
    let mut state = shared.lock();
    if state.is_away {
        return unavailable();
    }
    // Whatever comes of it, a code is good for one try.
    let Some(grant) = state.grants.remove(&exchange.code) else {
        return refused("invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(secret::hash(&exchange.code_verifier));
    if exchange.grant_type != "authorization_code"
        || grant.redirect_uri != exchange.redirect_uri
        || grant.challenge != challenge
    {
        return refused("invalid_grant");
    }
    let mut claims = shared.claims(CLIENT.0, &state.person);
    claims["nonce"] = state.nonce.clone().unwrap_or(grant.nonce).into();
    let id_token = state.keys[0].sign(&claims);
    let tokens = json!({ "access_token": "opaque", "expires_in": 3_599, "token_type": "Bearer", "id_token": id_token });
    Json(tokens).into_response()
}
