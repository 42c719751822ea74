//! Proving to read an e-mail address.

use std::sync::Arc;

use common::database;
use common::database::audit::{self, Event};
use common::database::identity::email_proofs::{self, ProofPurpose};
use common::database::identity::users;
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use serde_json::json;

use super::proofs;
use crate::api::{Gone, Tag};
use crate::auth::{Origin, Public, SignedIn};
use crate::body::JsonBody;
use crate::context::Context;
use crate::error::ApiError;

/// The token of a link.
#[derive(Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct VerifyEmailRequest {
    /// What stands behind `token=` in the link.
    token: String,
}

/// The answer where a mail goes out.
#[derive(ApiResponse)]
pub(super) enum Sent {
    /// If there is somebody to send it to, a mail is on its way.
    #[oai(status = 202)]
    Accepted,
}

/// The operations on addresses.
pub(super) struct Email;

#[OpenApi(prefix_path = "/auth/email/verify", tag = "Tag::Authentication")]
impl Email {
    /// Send a mail with a link that confirms one's address.
    ///
    /// One a minute and five an hour. The link works for 24 hours, once.
    #[oai(
        path = "/send",
        method = "post",
        operation_id = "send_email_verification"
    )]
    async fn send(&self, caller: SignedIn, context: Data<&Arc<Context>>) -> Result<Sent, ApiError> {
        caller.in_person()?;
        let now = context.clock.now();
        let mut tx = database::platform(&context.pool).await?;
        let user = users::find(&mut tx, caller.user_id).await?;
        let user = user.ok_or_else(ApiError::unauthorized)?;
        if user.email_verified_at.is_some() {
            return Err(ApiError::conflict("the address is confirmed already"));
        }
        let mail = proofs::issue(&mut tx, user.id, ProofPurpose::VerifyEmail, now).await?;
        let mail = mail.ok_or_else(|| ApiError::conflict("there is no address to confirm"))?;
        tx.commit().await?;
        context.dispatch.push(&[mail]).await;
        Ok(Sent::Accepted)
    }

    /// Confirm an address with the token of the link.
    #[oai(path = "/", method = "post", operation_id = "verify_email")]
    async fn verify(
        &self,
        _caller: Public,
        context: Data<&Arc<Context>>,
        origin: Origin,
        request: JsonBody<VerifyEmailRequest>,
    ) -> Result<Gone, ApiError> {
        let purpose = ProofPurpose::VerifyEmail;
        let id = proofs::open(&context, &request.0.token)?;
        let now = context.clock.now();
        let mut tx = database::platform(&context.pool).await?;
        let proof = email_proofs::find(&mut tx, id, purpose, now).await?;
        let proof = proof.ok_or_else(proofs::worthless)?;
        let verified =
            users::mark_email_verified(&mut tx, proof.user_id, &proof.email, now).await?;
        if !verified || !email_proofs::mark_used(&mut tx, id, purpose, now).await? {
            return Err(proofs::worthless());
        }
        let event = Event {
            business_id: None,
            actor: audit::Actor::User(proof.user_id, None),
            action: "email.verified",
            object_kind: "user",
            object_id: proof.user_id.to_string(),
            details: json!({}),
        };
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        Ok(Gone::Done)
    }
}
