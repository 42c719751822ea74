//! A turn: what it reads before the model is asked, what it writes after.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::receive::LockedChat;
use crate::domain::{BusinessId, ChatId, ContactId, JobId, MessageId};
use crate::error::Result;
use crate::providers::Usage;

/// Locks a chat's row.
pub async fn lock_chat(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
) -> Result<Option<LockedChat>> {
    let chat = sqlx::query_as!(
        LockedChat,
        r#"
        SELECT id AS "id: _", last_seq, turn_job_id AS "turn_job_id: _", waiting_since
        FROM chats WHERE business_id = $1 AND id = $2 FOR UPDATE
        "#,
        business_id as _,
        chat_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(chat)
}

/// What a turn goes by.
#[derive(Clone, Debug)]
pub struct TurnSetting {
    /// The chat's channel.
    pub channel: String,
    /// With whom; `None`: a chat of the API.
    pub contact_id: Option<ContactId>,
    /// The language the channel knows the contact by.
    pub contact_language: Option<String>,
    /// Set: the contact wants no messages.
    pub opted_out_at: Option<DateTime<Utc>>,
    /// Set: a person answers in this chat.
    pub assistant_paused_at: Option<DateTime<Utc>>,
    /// The business's language.
    pub language: Option<String>,
    /// Words that end the conversation, folded.
    pub opt_out_words: Option<Vec<String>>,
    /// The persona's instructions; the platform's default persona's, where the business chose none.
    pub system_prompt: Option<String>,
    /// The persona's model.
    pub model: Option<String>,
    /// The persona's temperature.
    pub temperature: Option<f32>,
    /// Whether the persona searches the documents.
    pub uses_knowledge: Option<bool>,
}

/// What the chat's turn goes by: chat, contact, settings and persona in one read.
pub async fn find_setting(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
) -> Result<TurnSetting> {
    let setting = sqlx::query_as!(
        TurnSetting,
        r#"
        SELECT chats.channel, chats.contact_id AS "contact_id: _", contacts.language AS "contact_language?",
            contacts.opted_out_at AS "opted_out_at?", chats.assistant_paused_at, settings.language AS "language?",
            settings.opt_out_words AS "opt_out_words?", persona.system_prompt AS "system_prompt?", persona.model,
            persona.temperature, persona.uses_knowledge AS "uses_knowledge?"
        FROM chats
        LEFT JOIN contacts ON contacts.business_id = chats.business_id AND contacts.id = chats.contact_id
        LEFT JOIN business_settings AS settings ON settings.business_id = chats.business_id
        LEFT JOIN LATERAL (
            SELECT * FROM characters
            WHERE id = coalesce(chats.character_id, settings.default_character_id)
                OR (coalesce(chats.character_id, settings.default_character_id) IS NULL AND business_id IS NULL)
            ORDER BY id LIMIT 1
        ) AS persona ON true
        WHERE chats.business_id = $1 AND chats.id = $2
        "#,
        business_id as _,
        chat_id as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(setting)
}

/// A message of the conversation as a turn reads it.
#[derive(Clone, Debug)]
pub struct TurnMessage {
    /// Which.
    pub id: MessageId,
    /// Its number in the chat.
    pub seq: i64,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// Its text.
    pub content: String,
    /// Its picture, voice note or file.
    pub media_url: Option<String>,
}

/// Inbound messages no turn has answered, oldest first.
pub async fn list_unanswered(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
) -> Result<Vec<TurnMessage>> {
    let messages = sqlx::query_as!(
        TurnMessage,
        r#"
        SELECT id AS "id: _", seq, role, content, media_url FROM messages
        WHERE business_id = $1 AND chat_id = $2 AND direction = 'inbound' AND turn_job_id IS NULL
        ORDER BY seq LIMIT 50
        "#,
        business_id as _,
        chat_id as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(messages)
}

/// The last messages before number `before`, oldest first.
pub async fn list_history(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
    before: i64,
    limit: i64,
) -> Result<Vec<TurnMessage>> {
    let mut messages = sqlx::query_as!(
        TurnMessage,
        r#"
        SELECT id AS "id: _", seq, role, content, media_url FROM messages
        WHERE business_id = $1 AND chat_id = $2 AND seq < $3 AND status <> 'ignored'
        ORDER BY seq DESC LIMIT $4
        "#,
        business_id as _,
        chat_id as _,
        before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    messages.reverse();
    Ok(messages)
}

/// How a turn leaves the messages it took.
#[derive(Clone, Copy, Debug)]
pub enum TurnEnd<'a> {
    /// They have an answer.
    Answered,
    /// They get none, for this reason.
    Ignored(&'a str),
}

/// Marks the messages a turn took.
pub async fn mark_taken(
    conn: &mut PgConnection,
    business_id: BusinessId,
    ids: &[Uuid],
    job_id: JobId,
    end: TurnEnd<'_>,
) -> Result<()> {
    let (status, reason) = match end {
        TurnEnd::Answered => ("answered", None),
        TurnEnd::Ignored(reason) => ("ignored", Some(reason)),
    };
    sqlx::query!(
        r#"
        UPDATE messages SET turn_job_id = $3, status = $4, status_reason = $5
        WHERE business_id = $1 AND id = ANY($2)
        "#,
        business_id as _,
        ids,
        job_id as _,
        status,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks a contact's row.
pub async fn lock_contact(
    conn: &mut PgConnection,
    business_id: BusinessId,
    contact_id: ContactId,
) -> Result<()> {
    sqlx::query!(
        "SELECT id FROM contacts WHERE business_id = $1 AND id = $2 FOR UPDATE",
        business_id as _,
        contact_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

/// Says of the unanswered messages that came before `before` that the turn could not answer them, and why.
pub async fn mark_failed(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
    job_id: JobId,
    before: DateTime<Utc>,
    reason: &str,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE messages SET turn_job_id = $3, status = 'failed', status_reason = $5
        WHERE business_id = $1 AND chat_id = $2 AND direction = 'inbound' AND turn_job_id IS NULL AND created_at <= $4
        "#,
        business_id as _,
        chat_id as _,
        job_id as _,
        before,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes back what [`mark_failed`] said: the turn was revived.
pub async fn take_back(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
    job_id: JobId,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE messages SET turn_job_id = NULL, status = 'received', status_reason = NULL
        WHERE business_id = $1 AND chat_id = $2 AND turn_job_id = $3 AND direction = 'inbound' AND status = 'failed'
        "#,
        business_id as _,
        chat_id as _,
        job_id as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An answer to be written.
#[derive(Clone, Debug)]
pub struct Reply<'a> {
    /// Its id.
    pub id: MessageId,
    /// For whom; `None`: a chat of the API.
    pub contact_id: Option<ContactId>,
    /// Its number in the chat.
    pub seq: i64,
    /// Its text, as delivered.
    pub content: &'a str,
    /// What it is drawn from.
    pub sources: &'a serde_json::Value,
    /// The turn that wrote it.
    pub job_id: JobId,
    /// `pending` where a channel must deliver it, `sent` where the reader fetches it.
    pub status: &'static str,
}

/// Writes an answer.
pub async fn insert_reply(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
    reply: &Reply<'_>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO messages (
            id, business_id, chat_id, contact_id, seq, direction, role, content, status, turn_job_id, sources, created_at
        )
        VALUES ($1, $2, $3, $4, $5, 'outbound', 'assistant', $6, $7, $8, $9, $10)
        "#,
        reply.id as _,
        business_id as _,
        chat_id as _,
        reply.contact_id as _,
        reply.seq,
        reply.content,
        reply.status,
        reply.job_id as _,
        reply.sources,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A model call to be recorded.
#[derive(Clone, Debug)]
pub struct ModelCall {
    /// Who answered.
    pub provider: &'static str,
    /// Which of its models.
    pub model: String,
    /// What it cost.
    pub usage: Usage,
    /// How long it took.
    pub duration_ms: i32,
}

/// Records a model call.
pub async fn insert_model_call(
    conn: &mut PgConnection,
    business_id: BusinessId,
    job_id: JobId,
    call: &ModelCall,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO model_calls (id, business_id, job_id, provider, model, input_tokens, output_tokens, duration_ms, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        "#,
        Uuid::now_v7(),
        business_id as _,
        job_id as _,
        call.provider,
        call.model,
        i32::try_from(call.usage.input_tokens).unwrap_or(i32::MAX),
        i32::try_from(call.usage.output_tokens).unwrap_or(i32::MAX),
        call.duration_ms,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether messages wait that no turn has taken, and since when.
pub async fn waiting_since(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
) -> Result<Option<DateTime<Utc>>> {
    let oldest = sqlx::query_scalar!(
        r#"
        SELECT created_at FROM messages
        WHERE business_id = $1 AND chat_id = $2 AND direction = 'inbound' AND turn_job_id IS NULL
        ORDER BY seq LIMIT 1
        "#,
        business_id as _,
        chat_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(oldest)
}

/// Records that a contact wants messages no more, or again.
pub async fn set_opted_out(
    conn: &mut PgConnection,
    business_id: BusinessId,
    contact_id: ContactId,
    opted_out_at: Option<DateTime<Utc>>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE contacts SET opted_out_at = $3 WHERE business_id = $1 AND id = $2",
        business_id as _,
        contact_id as _,
        opted_out_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}
