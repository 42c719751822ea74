//! Signing in by phone, with a one-time code.

use std::sync::Arc;

use common::database;
use common::database::audit::{self, Event};
use common::database::identity::phone_codes::{self, NewCode};
use common::database::identity::users::{self, NewUser, User};
use common::domain::{Language, PhoneCodeId, PhoneNumber};
use common::providers::ProviderError;
use common::providers::codes::SendCodeError;
use common::secret::{OneTimeCode, Purpose, to_hex};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;

use super::session::{self, Means, Tokens};
use crate::api::named::Named;
use crate::api::{Tag, text};
use crate::auth::{Origin, Public};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// Who wants a code.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct SendCodeRequest {
    /// With `+` and its country's code; or as it is dialled in `country`.
    phone: String,
    /// An ISO 3166 code, such as `FR`.
    country: Option<String>,
    /// Of the message; absent: `fr`.
    language: Option<Named<Language>>,
}

/// Who has one.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct VerifyCodeRequest {
    /// As it was sent to.
    phone: String,
    /// As it was sent to.
    country: Option<String>,
    /// Six digits.
    code: String,
    /// What to call them if they are new, of 1 to 120 characters; absent: the number's last digits.
    name: Option<String>,
    /// In which the platform writes to them if they are new; absent: `fr`.
    language: Option<Named<Language>>,
}

/// The answer where a code goes out.
#[derive(ApiResponse)]
enum CodeSent {
    /// If the number takes messages, a code is on its way.
    #[oai(status = 202)]
    Accepted,
}

/// The operations on codes.
pub(super) struct Codes;

#[OpenApi(prefix_path = "/auth/otp", tag = "Tag::Authentication")]
impl Codes {
    /// Send a one-time code to a phone. It works for 5 minutes and 5 tries; a later one takes its place.
    ///
    /// One a minute, five an hour and ten a day to a phone, ten an hour from an address.
    #[oai(path = "/send", method = "post", operation_id = "send_code")]
    async fn send(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: JsonBody<SendCodeRequest>,
    ) -> Result<CodeSent, ApiError> {
        let request = request.0;
        let phone = PhoneNumber::new(&request.phone, request.country.as_deref())?;
        let config = &context.config.identity.codes;
        if !phone.is_of(&config.countries) {
            let reason = "is of a country that codes are not sent to";
            return Err(ApiError::invalid("phone", reason));
        }
        let sender = match &context.codes {
            Some(sender) if config.daily_limit > 0 => sender,
            _ => {
                return Err(ApiError::not_configured(
                    "one-time codes are not set up here",
                ));
            }
        };
        let code = keep(&context, &phone, config.daily_limit, &origin).await?;
        match sender
            .send(&phone, &code, Named::or_default(request.language))
            .await
        {
            Ok(()) => Ok(CodeSent::Accepted),
            // Answered alike: who can be reached is nobody's business.
            Err(SendCodeError::Number(reason)) => {
                tracing::info!(reason, "a code was not sent");
                Ok(CodeSent::Accepted)
            }
            // It may be on its way.
            Err(SendCodeError::Provider(ProviderError::Unknown { reason, .. })) => {
                tracing::warn!(reason, "whether a code was sent is not known");
                Ok(CodeSent::Accepted)
            }
            Err(SendCodeError::Provider(error)) => {
                tracing::error!(%error, "a code was not sent");
                Err(ApiError::unavailable())
            }
        }
    }

    /// Sign in with the code that was sent to a phone. Who is new becomes a user, with a personal business.
    #[oai(path = "/verify", method = "post", operation_id = "verify_code")]
    async fn verify(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: JsonBody<VerifyCodeRequest>,
    ) -> Result<Json<Tokens>, ApiError> {
        let request = request.0;
        let phone = PhoneNumber::new(&request.phone, request.country.as_deref())?;
        let code = OneTimeCode::read(&request.code)
            .ok_or_else(|| ApiError::invalid("code", "must be six digits"))?;
        let limits = &context.limits;
        limits.take(&[limits.identity(phone.as_str())]).await?;
        let new = NewUser {
            email: None,
            email_is_verified: false,
            phone: Some(phone.as_str().to_owned()),
            password_hash: None,
            name: match &request.name {
                Some(name) => text::person_name(name)?,
                None => phone.masked(),
            },
            avatar_url: None,
            language: Named::or_default(request.language),
        };
        let now = context.clock.now();
        let mut tx = database::platform(&context.pool).await?;
        let tried = phone_codes::count_try(&mut tx, &phone, now).await?;
        let tried = tried.ok_or_else(ApiError::unauthorized)?;
        let key = context.key(Purpose::PhoneCodes);
        if !code.matches(&key, tried.id.0, &tried.code_hash) {
            record_failure(&mut tx, &context, &phone, &origin).await?;
            // A try counts whatever comes of it.
            tx.commit().await?;
            return Err(ApiError::unauthorized());
        }
        phone_codes::mark_used(&mut tx, tried.id, now).await?;
        let user = user_of(&mut tx, &context, &phone, &new, &origin).await?;
        let signed_in = session::begin_in(&mut tx, &context, &user, Means::Code, &origin).await;
        // The code is used up, even where the user was deactivated.
        tx.commit().await?;
        Ok(Json(signed_in?))
    }
}

/// Makes a code and keeps its hash, within the caps.
async fn keep(
    context: &Context,
    phone: &PhoneNumber,
    daily_limit: u32,
    origin: &Origin,
) -> Result<OneTimeCode, ApiError> {
    let (id, code) = (PhoneCodeId::new(), OneTimeCode::random());
    let hash = code.hash(&context.key(Purpose::PhoneCodes), id.0);
    let address = origin.0.address.as_deref();
    let mut tx = database::platform(&context.pool).await?;
    let free_at = phone_codes::find_free_at(&mut tx, phone, address, daily_limit).await?;
    // Read behind the locks: who waited for them comes after who had them.
    let now = context.clock.now();
    if let Some(free_at) = free_at.filter(|at| *at > now) {
        return Err(ApiError::too_many(free_at - now));
    }
    let new = NewCode {
        id,
        phone,
        hash: &hash,
        address,
    };
    phone_codes::insert(&mut tx, &new, now).await?;
    tx.commit().await?;
    Ok(code)
}

/// Who has the phone; who is new is signed up.
async fn user_of(
    conn: &mut PgConnection,
    context: &Context,
    phone: &PhoneNumber,
    new: &NewUser,
    origin: &Origin,
) -> Result<User, ApiError> {
    match users::find_by_phone(conn, phone).await? {
        Some(user) => Ok(user),
        None => session::sign_up(conn, context, new, origin).await,
    }
}

async fn record_failure(
    conn: &mut PgConnection,
    context: &Context,
    phone: &PhoneNumber,
    origin: &Origin,
) -> Result<(), ApiError> {
    let key = context.key(Purpose::Pseudonyms);
    let event = Event {
        business_id: None,
        actor: audit::Actor::Nobody,
        action: "login.failed",
        object_kind: "phone",
        object_id: to_hex(&key.tag(&[phone.as_str().as_bytes()])),
        details: json!({}),
    };
    audit::record(conn, &event, &origin.0, context.clock.now()).await?;
    Ok(())
}
