//! Writing what a contact sent into their chat.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::jobs::JobState;
use crate::domain::{BusinessId, Channel, ChatId, ContactId, JobId};
use crate::error::{Error, Result};
use crate::queue::jobs::{InboundContact, ReceiveMessage};

/// Makes the contact known, or better known, and locks their row. What the channel does not say stays as it was.
pub async fn upsert_contact(
    conn: &mut PgConnection,
    business_id: BusinessId,
    channel: Channel,
    contact: &InboundContact,
    now: DateTime<Utc>,
) -> Result<ContactId> {
    let id = sqlx::query_scalar!(
        r#"
        INSERT INTO contacts AS known (
            id, business_id, channel, external_id, first_name, last_name, phone, language, attributes, created_at, updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
        ON CONFLICT (business_id, channel, external_id) DO UPDATE SET
            first_name = coalesce(excluded.first_name, known.first_name),
            last_name = coalesce(excluded.last_name, known.last_name),
            phone = coalesce(excluded.phone, known.phone),
            language = coalesce(excluded.language, known.language),
            attributes = known.attributes || excluded.attributes,
            updated_at = excluded.updated_at
        RETURNING id AS "id: ContactId"
        "#,
        ContactId::new() as _,
        business_id as _,
        channel.as_str(),
        contact.external_id,
        contact.first_name,
        contact.last_name,
        contact.phone,
        contact.language,
        serde_json::Value::Object(contact.attributes.clone()),
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(id)
}

/// A chat whose row is locked.
#[derive(Clone, Debug)]
pub struct LockedChat {
    /// Which.
    pub id: ChatId,
    /// The number of its newest message.
    pub last_seq: i64,
    /// The turn that is due or under way.
    pub turn_job_id: Option<JobId>,
    /// When its oldest unanswered message came.
    pub waiting_since: Option<DateTime<Utc>>,
}

/// The contact's chat, made at their first message; its row is locked.
pub async fn upsert_chat(
    conn: &mut PgConnection,
    business_id: BusinessId,
    channel: Channel,
    contact_id: ContactId,
    now: DateTime<Utc>,
) -> Result<LockedChat> {
    let chat = sqlx::query_as!(
        LockedChat,
        r#"
        INSERT INTO chats (id, business_id, channel, contact_id, created_at, last_message_at)
        VALUES ($1, $2, $3, $4, $5, $5)
        ON CONFLICT (business_id, contact_id) DO UPDATE SET last_message_at = excluded.last_message_at, archived_at = NULL
        RETURNING id AS "id: _", last_seq, turn_job_id AS "turn_job_id: _", waiting_since
        "#,
        ChatId::new() as _,
        business_id as _,
        channel.as_str(),
        contact_id as _,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(chat)
}

/// Ends every `receive_message` of the group that has not ended, whoever runs it, and returns them in order: the caller
/// writes them. Whoever else runs one of them finds that nothing is left to do.
pub async fn absorb(
    conn: &mut PgConnection,
    business_id: BusinessId,
    group_key: &str,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<(JobId, ReceiveMessage)>> {
    let mut rows = sqlx::query!(
        r#"
        UPDATE jobs
        SET state = 'succeeded', lease_until = NULL, wait_reason = NULL, finished_at = $3, expires_at = $4
        WHERE id IN (
            SELECT id FROM jobs
            WHERE business_id = $1 AND group_key = $2 AND state IN ('queued', 'running', 'failed')
            ORDER BY id FOR UPDATE
        )
        RETURNING id AS "id: JobId", args
        "#,
        business_id as _,
        group_key,
        now,
        expires_at,
    )
    .fetch_all(conn)
    .await?;
    rows.sort_by_key(|row| row.id);
    rows.into_iter()
        .map(|row| {
            let message =
                serde_json::from_value(row.args).map_err(|_| Error::Corrupt("receive_message"))?;
            Ok((row.id, message))
        })
        .collect()
}

/// Numbers and inserts inbound messages, in order; returns how many were new.
pub async fn insert_messages(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat: &LockedChat,
    contact_id: ContactId,
    messages: &[ReceiveMessage],
) -> Result<u64> {
    let ids: Vec<Uuid> = messages
        .iter()
        .map(|message| message.message_id.0)
        .collect();
    let seqs: Vec<i64> = (chat.last_seq + 1..).take(messages.len()).collect();
    let contents: Vec<String> = messages
        .iter()
        .map(|message| message.text.clone())
        .collect();
    let media_urls: Vec<Option<String>> = messages
        .iter()
        .map(|message| message.media_url.clone())
        .collect();
    let external_ids: Vec<Option<String>> = messages
        .iter()
        .map(|message| message.external_id.clone())
        .collect();
    let received: Vec<DateTime<Utc>> = messages.iter().map(|message| message.received_at).collect();
    let result = sqlx::query!(
        r#"
        INSERT INTO messages (
            id, business_id, chat_id, contact_id, seq, direction, role, content, media_url, external_id, status, created_at
        )
        SELECT id, $1, $2, $3, seq, 'inbound', 'user', content, media_url, external_id, 'received', created_at
        FROM unnest($4::uuid[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
            AS incoming (id, seq, content, media_url, external_id, created_at)
        ON CONFLICT DO NOTHING
        "#,
        business_id as _,
        chat.id as _,
        contact_id as _,
        &ids,
        &seqs,
        &contents,
        &media_urls as &[Option<String>],
        &external_ids as &[Option<String>],
        &received,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

/// Where the chat's turn stands, if it has one.
pub async fn turn_state(
    conn: &mut PgConnection,
    business_id: BusinessId,
    job_id: JobId,
) -> Result<Option<JobState>> {
    let state = sqlx::query_scalar!(
        r#"SELECT state AS "state: JobState" FROM jobs WHERE business_id = $1 AND id = $2"#,
        business_id as _,
        job_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(state)
}

/// Lets a turn that has not begun wait for `rest` from now: the burst goes on.
pub async fn postpone_turn(
    conn: &mut PgConnection,
    business_id: BusinessId,
    job_id: JobId,
    rest: Duration,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE jobs SET run_at = statement_timestamp() + $3::interval, dispatch_at = statement_timestamp() + $3::interval
        WHERE business_id = $1 AND id = $2 AND state = 'queued' AND attempt = 0
        "#,
        business_id as _,
        job_id as _,
        rest as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes how the chat stands after messages came.
pub async fn update_chat(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
    last_seq: i64,
    turn_job_id: Option<JobId>,
    waiting_since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE chats SET last_seq = $3, turn_job_id = $4, waiting_since = $5, last_message_at = $6
        WHERE business_id = $1 AND id = $2
        "#,
        business_id as _,
        chat_id as _,
        last_seq,
        turn_job_id as _,
        waiting_since,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}
