//! Characters: who may answer.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database;
use common::database::history::{self, Character};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::Tag;
use super::page::{Page, PageRequest};
use crate::auth::{Allowed, can};
use crate::context::Context;
use crate::error::ApiError;

/// A persona.
#[derive(Debug, Object)]
#[oai(rename = "Character")]
struct CharacterResponse {
    id: Uuid,
    name: String,
    /// What it says first; null: it waits.
    greeting: Option<String>,
    /// Null: the deployment's.
    model: Option<String>,
    /// Null: the model's own default.
    temperature: Option<f32>,
    /// Whether it looks into the documents.
    uses_knowledge: bool,
    /// Whether it is the platform's, listed to all.
    is_shared: bool,
    /// Whether it answers where nothing else is chosen.
    is_default: bool,
    created_at: DateTime<Utc>,
}

impl From<Character> for CharacterResponse {
    fn from(character: Character) -> Self {
        Self {
            id: character.id.0,
            name: character.name,
            greeting: character.greeting,
            model: character.model,
            temperature: character.temperature,
            uses_knowledge: character.uses_knowledge,
            is_shared: character.is_shared,
            is_default: character.is_default,
            created_at: character.created_at,
        }
    }
}

/// The operations on characters.
pub(crate) struct Characters;

#[OpenApi(prefix_path = "/config/characters", tag = "Tag::Conversations")]
impl Characters {
    /// List characters: the business's own and the platform's.
    #[oai(path = "/", method = "get", operation_id = "list_characters")]
    async fn list(
        &self,
        caller: Allowed<can::ReadConversations>,
        context: Data<&Arc<Context>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<CharacterResponse>>, ApiError> {
        let page = PageRequest::new(limit.0, cursor.0.as_deref())?;
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let rows =
            history::list_characters(&mut tx, caller.business_id, page.after, page.rows()).await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |character| character.id.0)))
    }
}
