//! The operations by which somebody becomes a user, proves to be one, and stops.

use std::sync::Arc;

use common::database;
use common::database::audit::{self, Event};
use common::database::identity::email_proofs::ProofPurpose;
use common::database::identity::sessions;
use common::database::identity::users::{self, NewUser, User};
use common::domain::{EmailAddress, Language, UserId};
use common::secret::{Password, Purpose, to_hex};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::session::{self, Means, Tokens};
use super::{proofs, refresh};
use crate::api::named::Named;
use crate::api::text;
use crate::api::users::UserResponse;
use crate::api::{Gone, Tag};
use crate::auth::{Actor, Origin, Public, SignedIn};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;
use crate::open_id;

/// The longest token that is looked at: ID tokens of issuers with many claims have a few kilobytes.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Somebody new.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct SignUpRequest {
    email: String,
    /// 8 to 72 bytes.
    password: String,
    /// What to call them, of 1 to 120 characters; absent: the part of the address in front of the `@`.
    name: Option<String>,
    /// In which the platform writes to them; absent: `fr`.
    language: Option<Named<Language>>,
}

/// Who somebody is: by e-mail and password, or by an ID token.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    /// With `password`.
    email: Option<String>,
    /// With `email`.
    password: Option<String>,
    /// An ID token of an issuer that is accepted here, alone.
    id_token: Option<String>,
}

/// A session that is to go on.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct RefreshRequest {
    refresh_token: String,
}

#[derive(ApiResponse)]
enum SignedUp {
    /// Welcome. A mail asks to confirm the address.
    #[oai(status = 201)]
    Created(Json<Tokens>),
}

/// Signing in and out.
pub(crate) struct SignIn;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl SignIn {
    /// Sign up with e-mail and password.
    ///
    /// Makes a user and their personal business.
    #[oai(path = "/signup", method = "post", operation_id = "sign_up")]
    async fn sign_up(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: JsonBody<SignUpRequest>,
    ) -> Result<SignedUp, ApiError> {
        let request = request.0;
        let email = EmailAddress::new(&request.email, "email")?;
        let password = Password::new(request.password, "password")?;
        let name = match &request.name {
            Some(name) => text::person_name(name)?,
            None => local_part(&email),
        };
        let new = NewUser {
            email: Some(email.as_str().to_owned()),
            email_is_verified: false,
            phone: None,
            password_hash: Some(context.passwords.hash(password).await?),
            name,
            avatar_url: None,
            language: Named::or_default(request.language),
        };
        let mut tx = database::platform(&context.pool).await?;
        let user = session::sign_up(&mut tx, &context, &new, &origin).await?;
        let tokens = session::begin_in(&mut tx, &context, &user, Means::SignUp, &origin).await?;
        let now = context.clock.now();
        let mail = proofs::issue(&mut tx, user.id, ProofPurpose::VerifyEmail, now).await?;
        tx.commit().await?;
        context.dispatch.push(mail.as_slice()).await;
        Ok(SignedUp::Created(Json(tokens)))
    }

    /// Sign in with e-mail and password, or with an ID token.
    #[oai(path = "/login", method = "post", operation_id = "log_in")]
    async fn log_in(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: JsonBody<LoginRequest>,
    ) -> Result<Json<Tokens>, ApiError> {
        let tokens = match request.0 {
            LoginRequest {
                email: Some(email),
                password: Some(password),
                id_token: None,
            } => by_password(&context, &email, password, "email", &origin).await?,
            LoginRequest {
                email: None,
                password: None,
                id_token: Some(token),
            } => {
                bounded(&token, "id_token")?;
                let user = open_id::sign_in_with_id_token(&context, &token, &origin).await?;
                session::begin(&context, &user, Means::IdToken, &origin).await?
            }
            _ => {
                let reason = "must have `email` and `password`, or `id_token` alone";
                return Err(ApiError::invalid("body", reason));
            }
        };
        Ok(Json(tokens))
    }

    /// Refresh a session: new tokens for a refresh token, which works no more.
    ///
    /// For 10 seconds it answers the same successor, as long as that was not used. Used once more it ends the session.
    #[oai(path = "/refresh", method = "post", operation_id = "refresh_session")]
    async fn refresh(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: JsonBody<RefreshRequest>,
    ) -> Result<Json<Tokens>, ApiError> {
        let tokens = refreshed(&context, request.0.refresh_token, &origin).await?;
        Ok(Json(tokens))
    }

    /// Sign out: the session's tokens work no more, at once.
    #[oai(path = "/logout", method = "post", operation_id = "log_out")]
    async fn log_out(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
        origin: Origin,
    ) -> Result<Gone, ApiError> {
        // Who came with another issuer's token has no session of ours.
        let Actor::User {
            session_id: Some(id),
            ..
        } = caller.actor
        else {
            return Ok(Gone::Done);
        };
        let now = context.clock.now();
        let mut tx = database::platform(&context.pool).await?;
        if sessions::revoke(&mut tx, id, "logout", now).await? {
            let actor = caller.actor.for_audit();
            let event = session::event(actor, "session.revoked", id, json!({}));
            audit::record(&mut tx, &event, &origin.0, now).await?;
        }
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(Gone::Done)
    }

    /// Get the user who is signed in.
    #[oai(path = "/me", method = "get", operation_id = "get_signed_in_user")]
    async fn me(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
    ) -> Result<Json<UserResponse>, ApiError> {
        let mut tx = database::user(&context.pool, caller.user_id).await?;
        let user = users::find(&mut tx, caller.user_id).await?;
        tx.commit().await?;
        let user = user.ok_or_else(ApiError::unauthorized)?;
        Ok(Json(user.into()))
    }
}

/// Signs in by e-mail and password. Who is unknown, deactivated or without a password is answered as a wrong password is,
/// and as late.
pub(super) async fn by_password(
    context: &Context,
    email: &str,
    password: String,
    email_field: &'static str,
    origin: &Origin,
) -> Result<Tokens, ApiError> {
    let email = EmailAddress::new(email, email_field)?;
    let password = Password::attempt(password, "password")?;
    let limits = &context.limits;
    limits.take(&[limits.identity(email.as_str())]).await?;
    let mut tx = database::platform(&context.pool).await?;
    let user = users::find_by_email(&mut tx, &email).await?;
    // Asked of nobody too, since it takes time.
    let id = user.as_ref().map_or(UserId(Uuid::nil()), |user| user.id);
    let hash = users::find_password_hash(&mut tx, id).await?;
    tx.commit().await?;

    let matches = context.passwords.verify(password, hash.clone()).await?;
    let signed_in = match (&user, &hash) {
        (Some(user), Some(hash)) if matches => {
            session::begin(context, user, Means::Password(hash), origin).await
        }
        _ => Err(ApiError::unauthorized()),
    };
    match signed_in {
        Err(error) if error.is_unauthorized() => {
            record_failure(context, &email, user.as_ref(), origin).await?;
            Err(error)
        }
        signed_in => signed_in,
    }
}

/// Writes down that a sign-in failed. Of the address only a keyed hash: people type passwords into the wrong field.
async fn record_failure(
    context: &Context,
    email: &EmailAddress,
    user: Option<&User>,
    origin: &Origin,
) -> Result<(), ApiError> {
    let key = context.key(Purpose::Pseudonyms);
    let event = Event {
        business_id: None,
        actor: audit::Actor::Nobody,
        action: "login.failed",
        object_kind: "email",
        object_id: to_hex(&key.tag(&[email.as_str().as_bytes()])),
        details: json!({ "user_id": user.map(|user| user.id) }),
    };
    let mut tx = database::platform(&context.pool).await?;
    audit::record(&mut tx, &event, &origin.0, context.clock.now()).await?;
    tx.commit().await?;
    Ok(())
}

/// Goes on with a session.
pub(super) async fn refreshed(
    context: &Context,
    token: String,
    origin: &Origin,
) -> Result<Tokens, ApiError> {
    bounded(&token, "refresh_token")?;
    refresh::refresh(context, SecretString::from(token), origin).await
}

/// Refuses tokens longer than any.
fn bounded(token: &str, field: &'static str) -> Result<(), ApiError> {
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        let reason = format!("must have 1 to {LONGEST_TOKEN} characters");
        return Err(ApiError::invalid(field, reason));
    }
    Ok(())
}

fn local_part(email: &EmailAddress) -> String {
    let local = email.as_str().split('@').next().unwrap_or_default();
    local.to_owned()
}
