//! Becoming a user, beginning a session, and what signing in answers.

use chrono::{DateTime, TimeDelta, Utc};
use common::database::audit::{self, Event};
use common::database::identity::refresh_tokens;
use common::database::identity::sessions::{self, NewSession};
use common::database::identity::users::{self, NewUser, User};
use common::domain::SessionId;
use common::{database, secret};
use poem_openapi::Object;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::api::users::UserResponse;
use crate::auth::{Origin, Subject};
use crate::context::Context;
use crate::error::ApiError;

/// What a refresh token begins with.
const REFRESH_TOKEN_PREFIX: &str = "rlr_";

/// What signing in answers.
#[derive(Object)]
#[oai(rename = "Tokens")]
pub(crate) struct Tokens {
    /// Send it as `Authorization: Bearer …`.
    access_token: String,
    /// Send it to `/auth/refresh` for new tokens. Each works once.
    refresh_token: String,
    /// `Bearer`
    token_type: String,
    /// How long the access token lives, in seconds.
    expires_in: u64,
    user: UserResponse,
}

/// How somebody signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means<'a> {
    /// They just signed up.
    SignUp,
    /// By the password that hashes to this.
    Password(&'a str),
    /// By another issuer's token.
    IdToken,
    /// On Google's page.
    Google,
    /// By a one-time code.
    Code,
}

impl Means<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::SignUp => "sign_up",
            Self::Password(_) => "password",
            Self::IdToken => "id_token",
            Self::Google => "google",
            Self::Code => "code",
        }
    }
}

/// Creates a user with a personal business, in the platform's transaction.
pub(crate) async fn sign_up(
    conn: &mut PgConnection,
    context: &Context,
    new: &NewUser,
    origin: &Origin,
) -> Result<User, ApiError> {
    let now = context.clock.now();
    let user = users::sign_up(conn, new, now).await?;
    let event = Event {
        business_id: None,
        actor: audit::Actor::User(user.id, None),
        action: "user.created",
        object_kind: "user",
        object_id: user.id.to_string(),
        details: json!({ "default_business_id": user.default_business_id }),
    };
    audit::record(conn, &event, &origin.0, now).await?;
    Ok(user)
}

/// Begins a session for `user`, who proved to be that by `means`.
///
/// # Errors
///
/// 401, as for a wrong password, where the user was deactivated.
pub(crate) async fn begin(
    context: &Context,
    user: &User,
    means: Means<'_>,
    origin: &Origin,
) -> Result<Tokens, ApiError> {
    let mut tx = database::platform(&context.pool).await?;
    let tokens = begin_in(&mut tx, context, user, means, origin).await?;
    tx.commit().await?;
    Ok(tokens)
}

/// [`begin`], within a transaction of the platform's.
pub(crate) async fn begin_in(
    conn: &mut PgConnection,
    context: &Context,
    user: &User,
    means: Means<'_>,
    origin: &Origin,
) -> Result<Tokens, ApiError> {
    let now = context.clock.now();
    let checked = match means {
        Means::Password(hash) => Some(hash),
        _ => None,
    };
    // Locks the user: who takes the right to sign in away locks it too, and then ends this session with the others.
    if !users::mark_signed_in(conn, user.id, checked, now).await? {
        return Err(ApiError::unauthorized());
    }
    let id = SessionId::new();
    let session = NewSession {
        id,
        user_id: user.id,
        impersonator_id: None,
        address: origin.0.address.clone(),
        user_agent: origin.0.user_agent.as_deref(),
        expires_at: expiry(context, now),
    };
    sessions::insert(conn, &session, now).await?;
    let refresh_token = new_refresh_token();
    refresh_tokens::insert(conn, &hash(&refresh_token), id, now).await?;
    let actor = audit::Actor::User(user.id, None);
    let event = event(
        actor,
        "session.created",
        id,
        json!({ "means": means.name() }),
    );
    audit::record(conn, &event, &origin.0, now).await?;
    let user = User {
        last_login_at: Some(now),
        ..user.clone()
    };
    answer(context, &user, id, &refresh_token, now)
}

/// The answer that hands out `refresh_token` and a new access token.
pub(super) fn answer(
    context: &Context,
    user: &User,
    session_id: SessionId,
    refresh_token: &SecretString,
    now: DateTime<Utc>,
) -> Result<Tokens, ApiError> {
    let lifetime = context.access_tokens.lifetime();
    let subject = Subject {
        user_id: user.id,
        email: user.email.clone(),
        role: user.role()?,
        session_id,
        impersonator_id: None,
    };
    let access_token = context
        .access_tokens
        .issue(&subject, lifetime, now)
        .map_err(|error| {
            tracing::error!(%error, "an access token could not be signed");
            ApiError::internal()
        })?;
    Ok(Tokens {
        access_token: access_token.expose_secret().to_owned(),
        refresh_token: refresh_token.expose_secret().to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: lifetime.as_secs(),
        user: user.clone().into(),
    })
}

/// When a session ends that is not refreshed after `now`.
pub(super) fn expiry(context: &Context, now: DateTime<Utc>) -> DateTime<Utc> {
    let lifetime = TimeDelta::from_std(context.config.identity.refresh_token_lifetime);
    lifetime
        .ok()
        .and_then(|lifetime| now.checked_add_signed(lifetime))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// What the audit log has of a session.
pub(super) fn event(
    actor: audit::Actor,
    action: &'static str,
    id: SessionId,
    details: Value,
) -> Event {
    Event {
        business_id: None,
        actor,
        action,
        object_kind: "session",
        object_id: id.to_string(),
        details,
    }
}

fn new_refresh_token() -> SecretString {
    refresh_token(&secret::random_token())
}

/// A refresh token of these 256 bits in hex.
pub(super) fn refresh_token(bits: &str) -> SecretString {
    format!("{REFRESH_TOKEN_PREFIX}{bits}").into()
}

/// What is kept of a token.
pub(super) fn hash(token: &SecretString) -> Vec<u8> {
    secret::hash(token.expose_secret())
}
