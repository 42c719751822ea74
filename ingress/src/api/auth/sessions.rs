//! One's own sessions: where one is signed in, and no more.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::database;
use common::database::audit;
use common::database::identity::sessions::{self, Session};
use common::domain::SessionId;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::json;
use uuid::Uuid;

use super::session;
use crate::api::page::{Page, PageRequest};
use crate::api::{Gone, Tag};
use crate::auth::{Actor, Origin, SignedIn};
use crate::context::Context;
use crate::error::ApiError;

/// A sign-in that is not over.
#[derive(Debug, Object)]
#[oai(rename = "Session")]
struct SessionResponse {
    id: Uuid,
    /// Whether it is the one of this request.
    current: bool,
    /// Whether somebody of support acts as the user in it.
    impersonated: bool,
    /// From where it was begun; null: unknown.
    address: Option<String>,
    /// With what it was begun; null: not said.
    user_agent: Option<String>,
    created_at: DateTime<Utc>,
    /// When it ends unless it is refreshed.
    expires_at: DateTime<Utc>,
}

/// A session, and which one asks.
struct Seen(Session, Option<SessionId>);

impl From<Seen> for SessionResponse {
    fn from(Seen(session, asking): Seen) -> Self {
        Self {
            id: session.id.0,
            current: asking == Some(session.id),
            impersonated: session.is_impersonated,
            address: session.address,
            user_agent: session.user_agent,
            created_at: session.created_at,
            expires_at: session.expires_at,
        }
    }
}

/// The operations on sessions.
pub(super) struct Sessions;

#[OpenApi(prefix_path = "/auth/sessions", tag = "Tag::Authentication")]
impl Sessions {
    /// List one's sessions.
    #[oai(path = "/", method = "get", operation_id = "list_sessions")]
    async fn list(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
        /// 1 to 100, 50 by default.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<SessionResponse>>, ApiError> {
        caller.in_person()?;
        let asking = match caller.actor {
            Actor::User { session_id, .. } => session_id,
            Actor::ApiKey(_) => None,
        };
        let page = PageRequest::<Uuid>::new(limit.0, cursor.0.as_deref())?;
        let (user_id, now) = (caller.user_id, context.clock.now());
        let mut tx = database::user(&context.pool, user_id).await?;
        let rows = sessions::list(&mut tx, user_id, page.after, page.rows(), now).await?;
        tx.commit().await?;
        let rows = rows.into_iter().map(|row| Seen(row, asking)).collect();
        Ok(Json(page.page(rows, |Seen(row, _)| row.id.0)))
    }

    /// End one of one's sessions: its tokens work no more, at once.
    #[oai(path = "/:id", method = "delete", operation_id = "end_session")]
    async fn end(
        &self,
        caller: SignedIn,
        context: Data<&Arc<Context>>,
        origin: Origin,
        id: Path<Uuid>,
    ) -> Result<Gone, ApiError> {
        caller.in_person()?;
        let (id, now) = (SessionId(id.0), context.clock.now());
        let mut tx = database::platform(&context.pool).await?;
        if !sessions::revoke_own(&mut tx, id, caller.user_id, "logout", now).await? {
            return Err(ApiError::not_found("session"));
        }
        let actor = caller.actor.for_audit();
        let event = session::event(actor, "session.revoked", id, json!({}));
        audit::record(&mut tx, &event, &origin.0, now).await?;
        tx.commit().await?;
        context.access.forget(&context.dispatch).await;
        Ok(Gone::Done)
    }
}
