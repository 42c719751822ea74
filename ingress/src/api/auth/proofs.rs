//! Links sent by e-mail.

use std::time::Duration;

use chrono::{DateTime, Utc};
use common::database::identity::email_proofs::{self, ProofPurpose};
use common::domain::{EmailProofId, UserId};
use common::queue::jobs::SendMail;
use common::queue::{self, Enqueued, NewJob};
use common::secret::Purpose;
use sqlx::PgConnection;

use crate::context::Context;
use crate::error::ApiError;

/// Makes a link and queues the mail that carries it, to be pushed after the commit; `None`: the user has no address.
///
/// # Errors
///
/// 429 where the user had one in the last minute, or five in the last hour.
pub(super) async fn issue(
    conn: &mut PgConnection,
    user_id: UserId,
    purpose: ProofPurpose,
    now: DateTime<Utc>,
) -> Result<Option<Enqueued>, ApiError> {
    let free_at = email_proofs::find_free_at(conn, user_id, purpose).await?;
    if let Some(wait) = free_at
        .map(|at| at - now)
        .filter(|wait| wait.num_milliseconds() > 0)
    {
        return Err(ApiError::too_many(wait));
    }
    let Some(proof_id) = email_proofs::insert(conn, user_id, purpose, now).await? else {
        return Ok(None);
    };
    let job = NewJob::new(&SendMail::Proof { proof_id });
    Ok(queue::enqueue(conn, &job, now).await?)
}

/// The link `token` came with.
///
/// # Errors
///
/// 400 where it is none of ours.
pub(super) fn open(context: &Context, token: &str) -> Result<EmailProofId, ApiError> {
    let id = context.key(Purpose::EmailProofs).open_token(token);
    id.map(EmailProofId).ok_or_else(worthless)
}

/// 400: the link does not work, or no more; which, is not told.
pub(super) fn worthless() -> ApiError {
    ApiError::invalid(
        "token",
        "does not work: it has expired, was used, or never was",
    )
}

/// `work`, in `time` where it takes less: how long it took tells nothing then.
pub(super) async fn taking<T>(time: Duration, work: impl Future<Output = T>) -> T {
    tokio::join!(work, tokio::time::sleep(time)).0
}
