//! Changing a password, with the one before or with a link by e-mail.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::database;
use common::database::audit::{self, Event};
use common::database::identity::email_proofs::{self, ProofPurpose};
use common::database::identity::{sessions, users};
use common::domain::{EmailAddress, SessionId, UserId};
use common::queue::Enqueued;
use common::secret::Password;
use poem::web::Data;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;

use super::email::Sent;
use super::proofs;
use crate::api::{Gone, Tag};
use crate::auth::{Actor, Origin, Public, SignedIn};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// How long an answer takes that must not tell whether there is such a user: several times what the work does.
const FORGOT_TIME: Duration = Duration::from_millis(250);

/// Who forgot their password.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct ForgotPasswordRequest {
    email: String,
}

/// A new password for who has the link.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct ResetPasswordRequest {
    /// What stands behind `token=` in the link.
    token: String,
    /// 8 to 72 bytes.
    password: String,
}

/// A new password for who knows the one before.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct ChangePasswordRequest {
    current_password: String,
    /// 8 to 72 bytes.
    password: String,
}

/// The operations on passwords.
pub(super) struct Passwords;

#[OpenApi(prefix_path = "/auth/password", tag = "Tag::Authentication")]
impl Passwords {
    /// Send a mail with a link that sets a new password.
    ///
    /// Answered alike whether or not there is such a user. One a minute and five an hour; the link works for 30 minutes, once.
    #[oai(path = "/forgot", method = "post", operation_id = "forgot_password")]
    async fn forgot(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        request: JsonBody<ForgotPasswordRequest>,
    ) -> Result<Sent, ApiError> {
        let email = EmailAddress::new(&request.0.email, "email")?;
        let limits = &context.limits;
        limits.take(&[limits.identity(email.as_str())]).await?;
        let mail = proofs::taking(FORGOT_TIME, issue_reset(&context, &email)).await?;
        // Beside the answer: it would be late where there is a mail to push.
        if let Some(mail) = mail {
            let dispatch = context.dispatch.clone();
            tokio::spawn(async move { dispatch.push(&[mail]).await });
        }
        Ok(Sent::Accepted)
    }

    /// Set a new password with the token of the link. Ends every session.
    #[oai(path = "/reset", method = "post", operation_id = "reset_password")]
    async fn reset(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: JsonBody<ResetPasswordRequest>,
    ) -> Result<Gone, ApiError> {
        let purpose = ProofPurpose::ResetPassword;
        let password = Password::new(request.0.password, "password")?;
        let id = proofs::open(&context, &request.0.token)?;
        let mut tx = database::platform(&context.pool).await?;
        let proof = email_proofs::find(&mut tx, id, purpose, context.clock.now()).await?;
        tx.commit().await?;
        let proof = proof.ok_or_else(proofs::worthless)?;
        let hash = context.passwords.hash(password).await?;

        let now = context.clock.now();
        let mut tx = database::platform(&context.pool).await?;
        // Locks the user, as those do who sign in: whoever came before is seen below, whoever comes after needs the new one.
        let set = users::set_password(&mut tx, proof.user_id, None, &hash, now).await?;
        // The link was read, so the address is.
        let is_theirs =
            set && users::mark_email_verified(&mut tx, proof.user_id, &proof.email, now).await?;
        if !is_theirs || !email_proofs::mark_used(&mut tx, id, purpose, now).await? {
            return Err(proofs::worthless());
        }
        let event = changed(
            audit::Actor::User(proof.user_id, None),
            "password.reset",
            proof.user_id,
        );
        audit::record(&mut tx, &event, &origin.0, now).await?;
        end_what_rested_on_it(&mut tx, proof.user_id, None, now).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(Gone::Done)
    }

    /// Change one's password. Ends one's other sessions.
    #[oai(path = "/change", method = "post", operation_id = "change_password")]
    async fn change(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: JsonBody<ChangePasswordRequest>,
    ) -> Result<Gone, ApiError> {
        caller.in_person()?;
        let wrong = || ApiError::invalid("current_password", "is not the current password");
        let current = Password::attempt(request.0.current_password, "current_password")?;
        let password = Password::new(request.0.password, "password")?;
        let mut tx = database::platform(&context.pool).await?;
        let before = users::find_password_hash(&mut tx, caller.user_id).await?;
        tx.commit().await?;
        if !context.passwords.verify(current, before.clone()).await? {
            return Err(wrong());
        }
        let hash = context.passwords.hash(password).await?;

        let now = context.clock.now();
        let mut tx = database::platform(&context.pool).await?;
        if !users::set_password(&mut tx, caller.user_id, before.as_deref(), &hash, now).await? {
            return Err(wrong());
        }
        let event = changed(caller.actor.for_audit(), "password.changed", caller.user_id);
        audit::record(&mut tx, &event, &origin.0, now).await?;
        let this = match caller.actor {
            Actor::User { session_id, .. } => session_id,
            Actor::ApiKey(_) => None,
        };
        end_what_rested_on_it(&mut tx, caller.user_id, this, now).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(Gone::Done)
    }
}

/// Queues the mail for who has `email`, if anybody has and may.
async fn issue_reset(
    context: &Context,
    email: &EmailAddress,
) -> Result<Option<Enqueued>, ApiError> {
    let now = context.clock.now();
    let mut tx = database::platform(&context.pool).await?;
    let user = users::find_by_email(&mut tx, email).await?;
    let Some(user) = user.filter(|user| user.deactivated_at.is_none()) else {
        return Ok(None);
    };
    match proofs::issue(&mut tx, user.id, ProofPurpose::ResetPassword, now).await {
        Ok(mail) => {
            tx.commit().await?;
            Ok(mail)
        }
        // Who asks again has had a mail.
        Err(error) if error.is_too_many() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ends the sessions of a user whose password was changed, but for `keep`, and the links that would change it again.
async fn end_what_rested_on_it(
    conn: &mut PgConnection,
    user_id: UserId,
    keep: Option<SessionId>,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    sessions::revoke_all(conn, user_id, keep, "password", now).await?;
    email_proofs::void_all(conn, user_id, ProofPurpose::ResetPassword, now).await?;
    Ok(())
}

fn changed(actor: audit::Actor, action: &'static str, user_id: UserId) -> Event {
    Event {
        business_id: None,
        actor,
        action,
        object_kind: "user",
        object_id: user_id.to_string(),
        details: json!({}),
    }
}
