//! Conversations as people read them: chats, messages, contacts, characters. Newest first, by cursor.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{BusinessId, CharacterId, ChatId, ContactId, MessageId};
use crate::error::Result;

/// A conversation.
#[derive(Clone, Debug)]
pub struct Chat {
    /// Which.
    pub id: ChatId,
    /// Where it takes place.
    pub channel: String,
    /// With whom; `None`: a chat of the API.
    pub contact_id: Option<ContactId>,
    /// Who answers; `None`: the business's default.
    pub character_id: Option<CharacterId>,
    /// Its title.
    pub title: Option<String>,
    /// Its messages so far.
    pub message_count: i64,
    /// Since when its oldest unanswered message waits.
    pub waiting_since: Option<DateTime<Utc>>,
    /// Since when a person answers instead of the assistant.
    pub assistant_paused_at: Option<DateTime<Utc>>,
    /// Since when it is archived.
    pub archived_at: Option<DateTime<Utc>>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When its newest message came.
    pub last_message_at: DateTime<Utc>,
}

/// A business's chat.
pub async fn find_chat(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: ChatId,
) -> Result<Option<Chat>> {
    let row = sqlx::query_as!(
        Chat,
        r#"
        SELECT id AS "id: _", channel, contact_id AS "contact_id: _", character_id AS "character_id: _", title,
            last_seq AS message_count, waiting_since, assistant_paused_at, archived_at, created_at, last_message_at
        FROM chats WHERE business_id = $1 AND id = $2
        "#,
        business_id as _,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A business's chats that began before `before`, newest first, at most `limit`.
pub async fn list_chats(
    conn: &mut PgConnection,
    business_id: BusinessId,
    contact_id: Option<ContactId>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Chat>> {
    let rows = sqlx::query_as!(
        Chat,
        r#"
        SELECT id AS "id: _", channel, contact_id AS "contact_id: _", character_id AS "character_id: _", title,
            last_seq AS message_count, waiting_since, assistant_paused_at, archived_at, created_at, last_message_at
        FROM chats
        WHERE business_id = $1 AND ($2::uuid IS NULL OR contact_id = $2) AND ($3::uuid IS NULL OR id < $3)
        ORDER BY id DESC LIMIT $4
        "#,
        business_id as _,
        contact_id as _,
        before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// One item of a chat.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// Where it stands.
    pub chat_id: ChatId,
    /// Who wrote it, or whom it is for.
    pub contact_id: Option<ContactId>,
    /// Who wrote it, or whom it is for.
    pub user_id: Option<Uuid>,
    /// Its number in the chat, from 1.
    pub seq: i64,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// What it says.
    pub content: String,
    /// A picture, a voice note, a file.
    pub media_url: Option<String>,
    /// What became of it.
    pub status: String,
    /// Why it was ignored or failed.
    pub status_reason: Option<String>,
    /// What an answer rests on.
    pub sources: serde_json::Value,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// Which messages of a business to list; `None`: any.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageFilter<'a> {
    /// Of or to this contact.
    pub contact_id: Option<ContactId>,
    /// In this chat.
    pub chat_id: Option<ChatId>,
    /// `inbound` or `outbound`.
    pub direction: Option<&'a str>,
    /// Written at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Written before this time.
    pub to: Option<DateTime<Utc>>,
}

/// A business's messages older than `before`, newest first, at most `limit`.
pub async fn list_messages(
    conn: &mut PgConnection,
    business_id: BusinessId,
    filter: MessageFilter<'_>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Message>> {
    let rows = sqlx::query_as!(
        Message,
        r#"
        SELECT id AS "id: _", chat_id AS "chat_id: _", contact_id AS "contact_id: _", user_id, seq, direction, role, content,
            media_url, status, status_reason, sources, created_at
        FROM messages
        WHERE business_id = $1
            AND ($2::uuid IS NULL OR contact_id = $2)
            AND ($3::uuid IS NULL OR chat_id = $3)
            AND ($4::text IS NULL OR direction = $4)
            AND ($5::timestamptz IS NULL OR created_at >= $5)
            AND ($6::timestamptz IS NULL OR created_at < $6)
            AND ($7::uuid IS NULL OR id < $7)
        ORDER BY id DESC LIMIT $8
        "#,
        business_id as _,
        filter.contact_id as _,
        filter.chat_id as _,
        filter.direction,
        filter.from,
        filter.to,
        before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The messages of a business's chat with a number below `before_seq`, newest first, at most `limit`.
pub async fn list_chat_messages(
    conn: &mut PgConnection,
    business_id: BusinessId,
    chat_id: ChatId,
    before_seq: Option<i64>,
    limit: i64,
) -> Result<Vec<Message>> {
    let rows = sqlx::query_as!(
        Message,
        r#"
        SELECT id AS "id: _", chat_id AS "chat_id: _", contact_id AS "contact_id: _", user_id, seq, direction, role, content,
            media_url, status, status_reason, sources, created_at
        FROM messages
        WHERE business_id = $1 AND chat_id = $2 AND ($3::bigint IS NULL OR seq < $3)
        ORDER BY seq DESC LIMIT $4
        "#,
        business_id as _,
        chat_id as _,
        before_seq,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Someone who writes to a business from a channel.
#[derive(Clone, Debug)]
pub struct Contact {
    /// Which.
    pub id: ContactId,
    /// Where they write from.
    pub channel: String,
    /// The channel's own id of them.
    pub external_id: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Phone number, as the channel writes it.
    pub phone: Option<String>,
    /// The language the channel knows them by.
    pub language: Option<String>,
    /// What else the channel said.
    pub attributes: serde_json::Value,
    /// Since when they are not to be written to.
    pub opted_out_at: Option<DateTime<Utc>>,
    /// When they first wrote.
    pub created_at: DateTime<Utc>,
    /// When this was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A business's contact.
pub async fn find_contact(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: ContactId,
) -> Result<Option<Contact>> {
    let row = sqlx::query_as!(
        Contact,
        r#"
        SELECT id AS "id: _", channel, external_id, first_name, last_name, phone, language, attributes, opted_out_at,
            created_at, updated_at
        FROM contacts WHERE business_id = $1 AND id = $2
        "#,
        business_id as _,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A business's contacts older than `before`, newest first, at most `limit`.
pub async fn list_contacts(
    conn: &mut PgConnection,
    business_id: BusinessId,
    channel: Option<&str>,
    external_id: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Contact>> {
    let rows = sqlx::query_as!(
        Contact,
        r#"
        SELECT id AS "id: _", channel, external_id, first_name, last_name, phone, language, attributes, opted_out_at,
            created_at, updated_at
        FROM contacts
        WHERE business_id = $1
            AND ($2::text IS NULL OR channel = $2)
            AND ($3::text IS NULL OR external_id = $3)
            AND ($4::uuid IS NULL OR id < $4)
        ORDER BY id DESC LIMIT $5
        "#,
        business_id as _,
        channel,
        external_id,
        before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A persona, as it is listed.
#[derive(Clone, Debug)]
pub struct Character {
    /// Which.
    pub id: CharacterId,
    /// Whether it is the platform's, listed to all.
    pub is_shared: bool,
    /// Whether it answers where nothing else is chosen.
    pub is_default: bool,
    /// Its name.
    pub name: String,
    /// What it says first.
    pub greeting: Option<String>,
    /// Its model; `None`: the deployment's.
    pub model: Option<String>,
    /// `None`: the model's own default.
    pub temperature: Option<f32>,
    /// Whether it looks into the documents.
    pub uses_knowledge: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// The characters a business may choose: its own and the platform's, older than `before`, newest first.
pub async fn list_characters(
    conn: &mut PgConnection,
    business_id: BusinessId,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Character>> {
    let rows = sqlx::query_as!(
        Character,
        r#"
        SELECT characters.id AS "id: _", characters.business_id IS NULL AS "is_shared!",
            characters.id IS NOT DISTINCT FROM (
                SELECT default_character_id FROM business_settings WHERE business_settings.business_id = $1
            ) AS "is_default!",
            name, greeting, model, temperature, uses_knowledge, created_at
        FROM characters
        WHERE (business_id = $1 OR business_id IS NULL) AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        "#,
        business_id as _,
        before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
