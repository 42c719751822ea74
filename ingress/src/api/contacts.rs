//! Contacts: those who write to the business.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database;
use common::database::history::{self, Contact};
use common::domain::ContactId;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use super::Tag;
use super::page::{Page, PageRequest};
use crate::auth::{Allowed, can};
use crate::context::Context;
use crate::error::ApiError;

/// Where contacts write from.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "lowercase")]
enum Channel {
    /// The HTTP API.
    Api,
    /// WhatsApp through ManyChat.
    Manychat,
    /// WhatsApp through Meta's Cloud API.
    Whatsapp,
}

impl Channel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Manychat => "manychat",
            Self::Whatsapp => "whatsapp",
        }
    }
}

/// Someone who writes to the business from a channel.
#[derive(Debug, Object)]
#[oai(rename = "Contact")]
struct ContactResponse {
    id: Uuid,
    /// Where they write from: `api`, `manychat` or `whatsapp`.
    channel: String,
    /// The channel's own id of them.
    external_id: String,
    first_name: Option<String>,
    last_name: Option<String>,
    phone: Option<String>,
    language: Option<String>,
    /// What else the channel said of them.
    attributes: Value,
    /// Since when they are not to be written to; null: they may be.
    opted_out_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Contact> for ContactResponse {
    fn from(contact: Contact) -> Self {
        Self {
            id: contact.id.0,
            channel: contact.channel,
            external_id: contact.external_id,
            first_name: contact.first_name,
            last_name: contact.last_name,
            phone: contact.phone,
            language: contact.language,
            attributes: contact.attributes,
            opted_out_at: contact.opted_out_at,
            created_at: contact.created_at,
            updated_at: contact.updated_at,
        }
    }
}

/// The operations on contacts.
pub(crate) struct Contacts;

#[OpenApi(prefix_path = "/contacts", tag = "Tag::Conversations")]
impl Contacts {
    /// List contacts.
    #[oai(path = "/", method = "get", operation_id = "list_contacts")]
    async fn list(
        &self,
        caller: Allowed<can::ReadConversations>,
        context: Data<&Arc<Context>>,
        /// Only of this channel.
        channel: Query<Option<Channel>>,
        /// Only with this id of the channel's.
        external_id: Query<Option<String>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<ContactResponse>>, ApiError> {
        let page = PageRequest::new(limit.0, cursor.0.as_deref())?;
        if external_id.0.as_ref().is_some_and(|id| id.contains('\0')) {
            return Err(ApiError::invalid(
                "external_id",
                "must not have NUL characters",
            ));
        }
        let channel = channel.0.map(Channel::as_str);
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let external_id = external_id.0.as_deref();
        let rows = history::list_contacts(
            &mut tx,
            caller.business_id,
            channel,
            external_id,
            page.after,
            page.rows(),
        )
        .await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |contact| contact.id.0)))
    }

    /// Get a contact.
    #[oai(path = "/:id", method = "get", operation_id = "get_contact")]
    async fn get(
        &self,
        caller: Allowed<can::ReadConversations>,
        context: Data<&Arc<Context>>,
        id: Path<Uuid>,
    ) -> Result<Json<ContactResponse>, ApiError> {
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let contact = history::find_contact(&mut tx, caller.business_id, ContactId(id.0)).await?;
        tx.commit().await?;
        Ok(Json(
            contact
                .ok_or_else(|| ApiError::not_found("contact"))?
                .into(),
        ))
    }
}
