//! Messages: a business's conversation history.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database;
use common::database::history::{self, Message, MessageFilter};
use common::domain::{ChatId, ContactId};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use super::Tag;
use super::page::{Page, PageRequest};
use crate::auth::{Allowed, can};
use crate::context::Context;
use crate::error::ApiError;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "lowercase")]
enum Direction {
    /// To the business.
    Inbound,
    /// From the business.
    Outbound,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// One item of a chat.
#[derive(Debug, Object)]
#[oai(rename = "Message")]
pub(super) struct MessageResponse {
    id: Uuid,
    chat_id: Uuid,
    /// Who wrote it, or whom it is for; null: a chat of the API.
    contact_id: Option<Uuid>,
    /// Who wrote it, or whom it is for; null: a contact's.
    user_id: Option<Uuid>,
    /// `inbound` or `outbound`.
    direction: String,
    /// `user`, `assistant` or `system`.
    role: String,
    content: String,
    /// A picture, a voice note, a file.
    media_url: Option<String>,
    /// Inbound: `received`, `answered`, `ignored`; outbound: `pending`, `sent`, `failed`, `unknown`.
    status: String,
    /// Why it was ignored or failed.
    status_reason: Option<String>,
    /// What an answer rests on, as in the answer to `POST /query`.
    sources: Value,
    created_at: DateTime<Utc>,
}

impl From<Message> for MessageResponse {
    fn from(message: Message) -> Self {
        Self {
            id: message.id.0,
            chat_id: message.chat_id.0,
            contact_id: message.contact_id.map(|id| id.0),
            user_id: message.user_id,
            direction: message.direction,
            role: message.role,
            content: message.content,
            media_url: message.media_url,
            status: message.status,
            status_reason: message.status_reason,
            sources: message.sources,
            created_at: message.created_at,
        }
    }
}

/// The operations on messages.
pub(crate) struct Messages;

#[OpenApi(prefix_path = "/messages", tag = "Tag::Conversations")]
impl Messages {
    /// List messages of all chats.
    #[oai(path = "/", method = "get", operation_id = "list_messages")]
    #[expect(
        clippy::too_many_arguments,
        reason = "one a filter, as poem-openapi documents them"
    )]
    async fn list(
        &self,
        caller: Allowed<can::ReadConversations>,
        context: Data<&Arc<Context>>,
        /// Only of or to this contact.
        contact_id: Query<Option<Uuid>>,
        /// Only in this chat.
        chat_id: Query<Option<Uuid>>,
        /// Only those.
        direction: Query<Option<Direction>>,
        /// Only written at this time or later.
        from: Query<Option<DateTime<Utc>>>,
        /// Only written before this time.
        to: Query<Option<DateTime<Utc>>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<MessageResponse>>, ApiError> {
        let page = PageRequest::new(limit.0, cursor.0.as_deref())?;
        let filter = MessageFilter {
            contact_id: contact_id.0.map(ContactId),
            chat_id: chat_id.0.map(ChatId),
            direction: direction.0.map(Direction::as_str),
            from: from.0,
            to: to.0,
        };
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let rows =
            history::list_messages(&mut tx, caller.business_id, filter, page.after, page.rows())
                .await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |message| message.id.0)))
    }
}
