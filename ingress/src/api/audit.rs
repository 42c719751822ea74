//! The audit log.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database;
use common::database::audit::{self, Filter, Recorded};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use super::Tag;
use super::page::{Page, PageRequest};
use super::text;
use crate::auth::{Allowed, Staff, can};
use crate::context::Context;
use crate::error::ApiError;

/// The longest filter.
const LONGEST: usize = 100;

/// Something that was done.
#[derive(Debug, Object)]
#[oai(rename = "AuditEvent")]
struct EventResponse {
    id: Uuid,
    /// Null: on the platform.
    business_id: Option<Uuid>,
    /// `user`, `api_key`, `operator` (at the command line) or `nobody` (a sign-in that failed).
    actor_kind: String,
    actor_id: Option<Uuid>,
    /// The user the actor acted as; null: for themselves.
    on_behalf_of: Option<Uuid>,
    /// `<object>.<deed>`, such as `api_key.created`.
    action: String,
    object_kind: String,
    object_id: String,
    details: Value,
    /// The caller's address.
    address: Option<String>,
    user_agent: Option<String>,
    /// `X-Request-Id` of the request.
    request_id: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<Recorded> for EventResponse {
    fn from(event: Recorded) -> Self {
        Self {
            id: event.id.0,
            business_id: event.business_id.map(|id| id.0),
            actor_kind: event.actor_kind,
            actor_id: event.actor_id,
            on_behalf_of: event.on_behalf_of.map(|id| id.0),
            action: event.action,
            object_kind: event.object_kind,
            object_id: event.object_id,
            details: event.details,
            address: event.address,
            user_agent: event.user_agent,
            request_id: event.request_id,
            created_at: event.created_at,
        }
    }
}

/// The operations on the audit log.
pub(crate) struct AuditLog;

#[OpenApi(tag = "Tag::Audit")]
impl AuditLog {
    /// List what was done in the business.
    #[oai(path = "/audit", method = "get", operation_id = "list_audit_events")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the query"
    )]
    async fn of_business(
        &self,
        caller: Allowed<can::ReadAudit>,
        context: Data<&Arc<Context>>,
        /// Only this action.
        action: Query<Option<String>>,
        /// Only by this user or API key, or on behalf of this user.
        actor_id: Query<Option<Uuid>>,
        /// Only about this thing.
        object_id: Query<Option<String>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<EventResponse>>, ApiError> {
        let page = PageRequest::<Uuid>::new(limit.0, cursor.0.as_deref())?;
        let wanted = Wanted::read(action.0, actor_id.0, object_id.0)?;
        let mut tx = database::business(&context.pool, caller.business_id).await?;
        let rows = audit::list(
            &mut tx,
            Some(caller.business_id),
            wanted.filter(),
            page.after,
            page.rows(),
        )
        .await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |event| event.id.0)))
    }

    /// List what was done on the platform: sign-ins, roles, impersonations.
    #[oai(
        path = "/admin/audit",
        method = "get",
        operation_id = "list_platform_audit_events"
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the query"
    )]
    async fn of_platform(
        &self,
        _caller: Staff<can::ReadPlatformAudit>,
        context: Data<&Arc<Context>>,
        /// Only this action.
        action: Query<Option<String>>,
        /// Only by this user, or on behalf of this user.
        actor_id: Query<Option<Uuid>>,
        /// Only about this thing.
        object_id: Query<Option<String>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<EventResponse>>, ApiError> {
        let page = PageRequest::<Uuid>::new(limit.0, cursor.0.as_deref())?;
        let wanted = Wanted::read(action.0, actor_id.0, object_id.0)?;
        let mut tx = database::platform(&context.pool).await?;
        let rows = audit::list(&mut tx, None, wanted.filter(), page.after, page.rows()).await?;
        tx.commit().await?;
        Ok(Json(page.page(rows, |event| event.id.0)))
    }
}

/// Which events are asked for.
struct Wanted {
    action: Option<String>,
    actor_id: Option<Uuid>,
    object_id: Option<String>,
}

impl Wanted {
    fn read(
        action: Option<String>,
        actor_id: Option<Uuid>,
        object_id: Option<String>,
    ) -> Result<Self, ApiError> {
        let word = |field, word: Option<String>| {
            word.map(|word| text::line(field, &word, LONGEST))
                .transpose()
        };
        Ok(Self {
            action: word("action", action)?,
            actor_id,
            object_id: word("object_id", object_id)?,
        })
    }

    fn filter(&self) -> Filter<'_> {
        Filter {
            action: self.action.as_deref(),
            actor_id: self.actor_id,
            object_id: self.object_id.as_deref(),
        }
    }
}
