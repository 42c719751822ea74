//! Sends a letter by mail. The secret of its link is derived here, and kept nowhere.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use common::database;
use common::database::identity::email_proofs::{self, ProofPurpose};
use common::database::identity::invitation_mail;
use common::database::jobs::run::ClaimedJob;
use common::domain::{BusinessId, EmailProofId, InvitationId, Language};
use common::providers::http;
use common::providers::mail::{Letter, Mail};
use common::queue::jobs::SendMail;
use common::secret::DerivationKey;
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};

#[async_trait]
impl Handler for SendMail {
    const TIMEOUT: Duration = Duration::from_mins(1);

    /// A mail that was sent by an attempt whose end was lost is sent again, as the same message.
    async fn run(self, context: &Context, job: &ClaimedJob) -> Result<Outcome, JobError> {
        let now = context.clock.now();
        let mail = match self {
            Self::Proof { proof_id } => proof(context, proof_id, now).await?,
            Self::Invitation {
                business_id,
                invitation_id,
            } => invitation(context, business_id, invitation_id, now).await?,
        };
        if let Some((to, (subject, text))) = mail {
            let mail = Mail {
                id: job.id.0.simple().to_string(),
                to,
                subject,
                text,
                written_at: now.into(),
            };
            context.mailer.send(&mail).await?;
        }
        Ok(Outcome::Finished(None))
    }
}

/// Whom a mail is for, its subject and its text; `None`: what it was to tell is over.
type Written = Option<(String, (String, String))>;

async fn proof(
    context: &Context,
    id: EmailProofId,
    now: DateTime<Utc>,
) -> Result<Written, JobError> {
    let mut tx = database::platform(&context.pool).await?;
    let found = email_proofs::find_addressed(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(found.map(|found| {
        let key = &context.email_proofs_key;
        let letter = match found.purpose {
            ProofPurpose::VerifyEmail => Letter::VerifyEmail {
                link: &link(context, "verify-email", key, id.0),
            }
            .write(language(&found.language)),
            ProofPurpose::ResetPassword => Letter::ResetPassword {
                link: &link(context, "reset-password", key, id.0),
            }
            .write(language(&found.language)),
        };
        (found.email, letter)
    }))
}

async fn invitation(
    context: &Context,
    business_id: BusinessId,
    id: InvitationId,
    now: DateTime<Utc>,
) -> Result<Written, JobError> {
    let mut tx = database::business(&context.pool, business_id).await?;
    let found = invitation_mail::find(&mut tx, business_id, id, now).await?;
    tx.commit().await?;
    Ok(found.map(|found| {
        let by = found.by.as_deref().map(http::one_line);
        let letter = Letter::Invitation {
            business: &http::one_line(&found.business),
            by: by.as_deref(),
            link: &link(context, "invitation", &context.invitations_key, id.0),
        };
        (found.email, letter.write(language(&found.language)))
    }))
}

fn link(context: &Context, page: &str, key: &DerivationKey, id: Uuid) -> String {
    let token = key.token(id);
    format!(
        "{}/{page}?token={}",
        context.public_url,
        token.expose_secret()
    )
}

fn language(code: &str) -> Language {
    Language::from_tag(code).unwrap_or_default()
}
