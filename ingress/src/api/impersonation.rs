//! Acting for a user: a short token that says who acts for whom.

use std::sync::Arc;
use std::time::Duration;

use common::database::identity::{sessions, users};
use common::database::{self, audit};
use common::domain::{Role, SessionId, UserId};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::Tag;
use super::text;
use super::users::{UserResponse, about};
use crate::auth::{Origin, Staff, Subject, can};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// How long a token is good for: it is for looking at one problem.
const LIFETIME: Duration = Duration::from_mins(15);

/// Why somebody acts for a user.
#[derive(Debug, Deserialize, Object)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct ImpersonationRequest {
    /// 1 to 500 characters, for the audit log: a ticket's number, or what the user asked for.
    reason: String,
}

/// A token that acts for a user.
#[derive(Debug, Object)]
struct Impersonation {
    access_token: String,
    /// `Bearer`
    token_type: String,
    /// Seconds. There is no refresh token.
    expires_in: u64,
    user: UserResponse,
}

#[derive(ApiResponse)]
enum Begun {
    /// The token sees and does what the user does, but for credentials, members and payments.
    #[oai(status = 201)]
    Created(Json<Impersonation>),
}

/// The operation.
pub(crate) struct Impersonations;

#[OpenApi(prefix_path = "/users", tag = "Tag::Users")]
impl Impersonations {
    /// Act for a user.
    ///
    /// Only for users without a role on the platform. Every request made with the token is in the audit log, with who made
    /// it. It ends after 15 minutes, or with `POST /auth/logout`.
    #[oai(
        path = "/:id/impersonate",
        method = "post",
        operation_id = "impersonate_user"
    )]
    async fn begin(
        &self,
        caller: Staff<can::Impersonate>,
        context: Data<&Arc<Context>>,
        origin: Origin,
        id: Path<Uuid>,
        request: JsonBody<ImpersonationRequest>,
    ) -> Result<Begun, ApiError> {
        let reason = text::line("reason", &request.0.reason, 500)?;
        let now = context.clock.now();
        let mut tx = database::platform(&context.pool).await?;
        let user = users::find(&mut tx, UserId(id.0)).await?;
        let user = user.ok_or_else(|| ApiError::not_found("user"))?;
        if user.role()? != Role::User || user.id == caller.user_id {
            return Err(common::Error::Conflict("nobody acts for support or admins").into());
        }
        if user.deactivated_at.is_some() {
            return Err(common::Error::Conflict("the user is deactivated").into());
        }
        let session = sessions::NewSession {
            id: SessionId::new(),
            user_id: user.id,
            impersonator_id: Some(caller.user_id),
            address: origin.0.address.clone(),
            user_agent: origin.0.user_agent.as_deref(),
            expires_at: now + LIFETIME,
        };
        sessions::insert(&mut tx, &session, now).await?;
        let details = json!({ "reason": reason, "session_id": session.id.0 });
        let event = about(
            "impersonation.begun",
            caller.actor.for_audit(),
            user.id,
            details,
        );
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        let subject = Subject {
            user_id: user.id,
            email: user.email.clone(),
            role: Role::User,
            session_id: session.id,
            impersonator_id: Some(caller.user_id),
        };
        let token = context
            .access_tokens
            .issue(&subject, LIFETIME, now)
            .map_err(|error| {
                tracing::error!(%error, "no token could be signed");
                ApiError::internal()
            })?;
        Ok(Begun::Created(Json(Impersonation {
            access_token: token.expose_secret().to_owned(),
            token_type: "Bearer".to_owned(),
            expires_in: LIFETIME.as_secs(),
            user: user.into(),
        })))
    }
}
