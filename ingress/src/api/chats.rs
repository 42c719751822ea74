//! Chats and their messages.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database::{self, history};
use common::domain::{ChatId, ContactId};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::Tag;
use super::messages::MessageResponse;
use super::page::{Page, PageRequest};
use crate::auth::{Allowed, can};
use crate::context::Context;
use crate::error::ApiError;

/// A conversation.
#[derive(Debug, Object)]
#[oai(rename = "Chat")]
struct ChatResponse {
    id: Uuid,
    /// Where it takes place: `api`, `manychat` or `whatsapp`.
    channel: String,
    /// With whom; null: a chat of the API.
    contact_id: Option<Uuid>,
    /// Who answers; null: the business's default.
    character_id: Option<Uuid>,
    title: Option<String>,
    message_count: i64,
    /// Since when its oldest unanswered message waits; null: none does.
    waiting_since: Option<DateTime<Utc>>,
    /// Since when a person answers instead of the assistant; null: the assistant does.
    assistant_paused_at: Option<DateTime<Utc>>,
    archived_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    last_message_at: DateTime<Utc>,
}

impl From<history::Chat> for ChatResponse {
    fn from(chat: history::Chat) -> Self {
        Self {
            id: chat.id.0,
            channel: chat.channel,
            contact_id: chat.contact_id.map(|id| id.0),
            character_id: chat.character_id.map(|id| id.0),
            title: chat.title,
            message_count: chat.message_count,
            waiting_since: chat.waiting_since,
            assistant_paused_at: chat.assistant_paused_at,
            archived_at: chat.archived_at,
            created_at: chat.created_at,
            last_message_at: chat.last_message_at,
        }
    }
}

/// The operations on chats.
pub(crate) struct Chats;

#[OpenApi(prefix_path = "/chats", tag = "Tag::Conversations")]
impl Chats {
    /// List chats.
    #[oai(path = "/", method = "get", operation_id = "list_chats")]
    async fn list(
        &self,
        caller: Allowed<can::ReadConversations>,
        context: Data<&Arc<Context>>,
        /// Only with this contact.
        contact_id: Query<Option<Uuid>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<ChatResponse>>, ApiError> {
        let page = PageRequest::new(limit.0, cursor.0.as_deref())?;
        let contact_id = contact_id.0.map(ContactId);
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let rows = history::list_chats(
            &mut tx,
            caller.business_id,
            contact_id,
            page.after,
            page.rows(),
        )
        .await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |chat| chat.id.0)))
    }

    /// Get a chat.
    #[oai(path = "/:id", method = "get", operation_id = "get_chat")]
    async fn get(
        &self,
        caller: Allowed<can::ReadConversations>,
        context: Data<&Arc<Context>>,
        id: Path<Uuid>,
    ) -> Result<Json<ChatResponse>, ApiError> {
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let chat = history::find_chat(&mut tx, caller.business_id, ChatId(id.0)).await?;
        tx.commit().await?;
        Ok(Json(
            chat.ok_or_else(|| ApiError::not_found("chat"))?.into(),
        ))
    }

    /// List a chat's messages.
    #[oai(
        path = "/:id/messages",
        method = "get",
        operation_id = "list_chat_messages"
    )]
    async fn messages(
        &self,
        caller: Allowed<can::ReadConversations>,
        context: Data<&Arc<Context>>,
        id: Path<Uuid>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<MessageResponse>>, ApiError> {
        let page = PageRequest::<i64>::new(limit.0, cursor.0.as_deref())?;
        let id = ChatId(id.0);
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let chat = history::find_chat(&mut tx, caller.business_id, id).await?;
        chat.ok_or_else(|| ApiError::not_found("chat"))?;
        let rows =
            history::list_chat_messages(&mut tx, caller.business_id, id, page.after, page.rows())
                .await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |message| message.seq)))
    }
}
