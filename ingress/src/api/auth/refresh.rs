//! Refreshing a session: each refresh token works once, and a second use tells that somebody else has it.

use chrono::TimeDelta;
use common::database::audit;
use common::database::identity::{refresh_tokens, sessions, users};
use common::database::{self};
use common::secret::{self, Purpose};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::session::{self, Tokens};
use crate::auth::Origin;
use crate::context::Context;
use crate::error::ApiError;

/// How long a used token still answers its successor: two tabs of one browser refresh at once, and answers get lost.
const GRACE: TimeDelta = TimeDelta::seconds(10);

/// New tokens for a refresh token.
///
/// # Errors
///
/// 401 where it is none, or its session is over; a reuse ends the session.
pub(super) async fn refresh(
    context: &Context,
    token: SecretString,
    origin: &Origin,
) -> Result<Tokens, ApiError> {
    let now = context.clock.now();
    let token_hash = session::hash(&token);
    let mut tx = database::platform(&context.pool).await?;
    let found = sessions::lock_by_refresh_token(&mut tx, &token_hash, now).await?;
    let found = found.ok_or_else(ApiError::unauthorized)?;

    let successor = successor(context, &token);
    let successor_hash = session::hash(&successor);
    if refresh_tokens::mark_used(&mut tx, &token_hash, now).await? {
        refresh_tokens::insert(&mut tx, &successor_hash, found.id, now).await?;
        let expires_at = session::expiry(context, now);
        sessions::extend(&mut tx, found.id, expires_at).await?;
    } else {
        let since = now - GRACE;
        if !refresh_tokens::was_just_replaced(&mut tx, &token_hash, &successor_hash, since).await? {
            sessions::revoke(&mut tx, found.id, "reuse", now).await?;
            let nobody = audit::Actor::Nobody;
            let details = json!({ "user_id": found.user_id });
            let event = session::event(nobody, "session.reused", found.id, details);
            audit::record(&mut tx, &event, &origin.0, now).await?;
            tx.commit().await?;
            context.access.forget(&context.dispatch).await;
            tracing::warn!(user.id = %found.user_id, "a refresh token was used twice: its session is over");
            return Err(ApiError::unauthorized());
        }
    }
    let user = users::find(&mut tx, found.user_id).await?;
    let user = user.ok_or_else(ApiError::unauthorized)?;
    tx.commit().await?;
    session::answer(context, &user, found.id, &successor, now)
}

/// The one token that follows `token`: derived, so that it can be told again without being kept.
fn successor(context: &Context, token: &SecretString) -> SecretString {
    let key = context.key(Purpose::RefreshTokens);
    let tag = key.tag(&[token.expose_secret().as_bytes()]);
    session::refresh_token(&secret::to_hex(&tag))
}
