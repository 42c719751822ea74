//! What leaves through a channel: parts, in order, each call recorded before it is made.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{BusinessId, ChatId, DataKeyId, DeliveryId, JobId, MessageId};
use crate::error::Result;
use crate::faults::{self, Mutant};
use crate::queue::HANDOFF;
use crate::secret::WrappedKey;

/// Writes the parts of an answer, to be sent by `job_id`.
pub async fn insert(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
    message: (MessageId, i64),
    job_id: JobId,
    parts: &[String],
    now: DateTime<Utc>,
) -> Result<()> {
    let (message_id, seq) = message;
    let ids: Vec<Uuid> = parts.iter().map(|_| DeliveryId::new().0).collect();
    let numbers: Vec<i16> = (1..).take(parts.len()).collect();
    sqlx::query!(
        r#"
        INSERT INTO deliveries (id, business_id, chat_id, message_id, job_id, seq, part, body, state, created_at)
        SELECT id, $1, $2, $3, $4, $5, part, body, 'pending', $9
        FROM unnest($6::uuid[], $7::smallint[], $8::text[]) AS parts (id, part, body)
        "#,
        business_id as _,
        chat_id as _,
        message_id as _,
        job_id as _,
        seq,
        &ids,
        &numbers,
        parts,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Where and how a chat's answers go.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The chat's channel.
    pub channel: String,
    /// The channel's id of the contact; `None`: a chat of the API.
    pub external_id: Option<String>,
    /// Set: the contact wants no messages.
    pub opted_out_at: Option<DateTime<Utc>>,
    /// The business's ManyChat key, sealed.
    pub manychat_api_key: Option<Vec<u8>>,
    /// What it is sealed with; `None`: the master key, as before there were data keys.
    pub data_key: Option<WrappedKey>,
    /// `at_least_once` or `at_most_once`.
    pub delivery_policy: Option<String>,
}

/// Where and how the chat's answers go; `None`: the chat is gone.
pub async fn find_destination(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
) -> Result<Option<Destination>> {
    let row = sqlx::query!(
        r#"
        SELECT chats.channel, contacts.external_id AS "external_id?", contacts.opted_out_at AS "opted_out_at?",
            settings.manychat_api_key, settings.delivery_policy AS "delivery_policy?", data_keys.id AS "data_key_id?: DataKeyId",
            data_keys.wrapped AS "wrapped?", data_keys.master_key_id AS "master_key_id?"
        FROM chats
        LEFT JOIN contacts ON contacts.business_id = chats.business_id AND contacts.id = chats.contact_id
        LEFT JOIN business_settings AS settings ON settings.business_id = chats.business_id
        LEFT JOIN data_keys ON data_keys.business_id = chats.business_id
        WHERE chats.business_id = $1 AND chats.id = $2
        "#,
        business_id as _,
        chat_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let data_key = row.data_key_id.zip(row.wrapped).zip(row.master_key_id).map(
            |((id, wrapped), master_key_id)| WrappedKey {
                id,
                business_id,
                wrapped,
                master_key_id,
            },
        );
        Destination {
            channel: row.channel,
            external_id: row.external_id,
            opted_out_at: row.opted_out_at,
            manychat_api_key: row.manychat_api_key,
            data_key,
            delivery_policy: row.delivery_policy,
        }
    }))
}

/// A part that is not sent yet.
#[derive(Clone, Debug)]
pub struct Unsent {
    /// Which.
    pub id: DeliveryId,
    /// Its text.
    pub body: String,
    /// Whether an earlier call has no outcome: its caller died, or the channel did not answer.
    pub in_doubt: bool,
}

/// The parts of a message that are not sent, in order. Dead ones too: the job runs again because a person wants it to.
pub async fn list_unsent(
    conn: &mut PgConnection,
    business_id: BusinessId,
    message_id: MessageId,
) -> Result<Vec<Unsent>> {
    let parts = sqlx::query_as!(
        Unsent,
        r#"
        SELECT id AS "id: _", body, EXISTS (
            SELECT FROM delivery_attempts AS attempts
            WHERE attempts.business_id = $1 AND attempts.delivery_id = deliveries.id
                AND coalesce(attempts.outcome, 'unknown') = 'unknown'
        ) AS "in_doubt!"
        FROM deliveries WHERE business_id = $1 AND message_id = $2 AND state <> 'sent' ORDER BY part
        "#,
        business_id as _,
        message_id as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(parts)
}

/// Whether an answer before this one is still on its way in the chat.
pub async fn is_behind_another(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
    message_id: MessageId,
) -> Result<bool> {
    if faults::planted(Mutant::NoDeliveryOrder) {
        return Ok(false);
    }
    let behind = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM deliveries
            WHERE business_id = $1 AND chat_id = $2 AND state = 'pending'
                -- A job that ended otherwise will not send it any more, and must not hold the chat up.
                AND EXISTS (
                    SELECT FROM jobs WHERE jobs.id = deliveries.job_id AND jobs.state IN ('queued', 'running', 'failed')
                )
                AND seq < (SELECT seq FROM messages WHERE business_id = $1 AND id = $3)
        ) AS "behind!"
        "#,
        business_id as _,
        chat_id as _,
        message_id as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(behind)
}

/// Records that a call is about to be made.
pub async fn begin_attempt(
    conn: &mut PgConnection,
    business_id: BusinessId,
    delivery_id: DeliveryId,
    attempt: i32,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO delivery_attempts (delivery_id, attempt, business_id, started_at) VALUES ($1, $2, $3, $4)",
        delivery_id as _,
        attempt,
        business_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct AttemptEnd<'a> {
    /// `accepted`, `refused`, `unavailable` or `unknown`.
    pub outcome: &'static str,
    /// The channel's own words.
    pub detail: Option<&'a str>,
}

/// Records how a call ended.
pub async fn end_attempt(
    conn: &mut PgConnection,
    business_id: BusinessId,
    delivery_id: DeliveryId,
    attempt: i32,
    end: &AttemptEnd<'_>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE delivery_attempts SET finished_at = $4, outcome = $5, detail = $6
        WHERE business_id = $1 AND delivery_id = $2 AND attempt = $3
        "#,
        business_id as _,
        delivery_id as _,
        attempt,
        now,
        end.outcome,
        end.detail,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records that the channel accepted a part.
pub async fn mark_sent(
    conn: &mut PgConnection,
    business_id: BusinessId,
    delivery_id: DeliveryId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE deliveries SET state = 'sent', sent_at = $3 WHERE business_id = $1 AND id = $2",
        business_id as _,
        delivery_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives up the parts of a message that are not sent.
pub async fn mark_dead(
    conn: &mut PgConnection,
    business_id: BusinessId,
    message_id: MessageId,
) -> Result<()> {
    sqlx::query!(
        "UPDATE deliveries SET state = 'dead' WHERE business_id = $1 AND message_id = $2 AND state = 'pending'",
        business_id as _,
        message_id as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes how the message as a whole stands: `sent`, `failed` or `unknown`.
pub async fn mark_message(
    conn: &mut PgConnection,
    business_id: BusinessId,
    message_id: MessageId,
    status: &str,
    reason: Option<&str>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE messages SET status = $3, status_reason = $4 WHERE business_id = $1 AND id = $2",
        business_id as _,
        message_id as _,
        status,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes the next answer of the chat due, now that the one before it is through; returns its job.
pub async fn release_next(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
) -> Result<Option<JobId>> {
    let job_id = sqlx::query_scalar!(
        r#"
        UPDATE jobs SET run_at = statement_timestamp(), dispatch_at = statement_timestamp() + $3::interval
        WHERE business_id = $1 AND state = 'queued' AND id = (
            SELECT job_id FROM deliveries
            WHERE business_id = $1 AND chat_id = $2 AND state = 'pending' ORDER BY seq, part LIMIT 1
        )
        RETURNING id AS "id: JobId"
        "#,
        business_id as _,
        chat_id as _,
        HANDOFF as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(job_id)
}
