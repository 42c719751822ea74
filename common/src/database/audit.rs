//! The audit log: who did what to which object, from where. Append-only; committed with what it tells of.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{ApiKeyId, AuditEventId, BusinessId, UserId};
use crate::error::Result;

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user; with whom they acted as, where that was another.
    User(UserId, Option<UserId>),
    /// A machine.
    ApiKey(ApiKeyId),
    /// Whoever runs commands on the machine.
    Operator,
    /// Nobody known: a sign-in that failed.
    Nobody,
}

impl Actor {
    fn columns(self) -> (&'static str, Option<Uuid>, Option<Uuid>) {
        match self {
            Self::User(id, on_behalf_of) => ("user", Some(id.0), on_behalf_of.map(|user| user.0)),
            Self::ApiKey(id) => ("api_key", Some(id.0), None),
            Self::Operator => ("operator", None, None),
            Self::Nobody => ("nobody", None, None),
        }
    }
}

/// From where something was done.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The caller's address.
    pub address: Option<String>,
    /// The caller's program.
    pub user_agent: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

/// Something that was done.
#[derive(Clone, Debug)]
pub struct Event {
    /// In which business; `None`: on the platform.
    pub business_id: Option<BusinessId>,
    /// Who.
    pub actor: Actor,
    /// What: `<object>.<deed in the past tense>`, such as `api_key.created`.
    pub action: &'static str,
    /// To what kind of thing: `user`, `api_key`, …
    pub object_kind: &'static str,
    /// To which.
    pub object_id: String,
    /// More; never a secret.
    pub details: Value,
}

/// Writes an event down, in the transaction of what it tells of: the scope must be that of `event.business_id`, or the
/// platform.
pub async fn record(
    conn: &mut PgConnection,
    event: &Event,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<()> {
    let (actor_kind, actor_id, on_behalf_of) = event.actor.columns();
    sqlx::query!(
        r#"
        INSERT INTO audit_events (id, business_id, actor_kind, actor_id, on_behalf_of, action, object_kind, object_id, details,
                                  address, user_agent, request_id, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        "#,
        AuditEventId::new() as _,
        event.business_id as _,
        actor_kind,
        actor_id,
        on_behalf_of,
        event.action,
        event.object_kind,
        event.object_id,
        event.details,
        origin.address,
        origin.user_agent,
        origin.request_id,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An event as it is read.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which.
    pub id: AuditEventId,
    /// In which business; `None`: on the platform.
    pub business_id: Option<BusinessId>,
    /// `user`, `api_key`, `operator` or `nobody`.
    pub actor_kind: String,
    /// The user or API key.
    pub actor_id: Option<Uuid>,
    /// The user the actor acted as.
    pub on_behalf_of: Option<UserId>,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub object_kind: String,
    /// To which.
    pub object_id: String,
    /// More.
    pub details: Value,
    /// From where.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Which events are wanted; `None` everywhere: all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Of this action.
    pub action: Option<&'a str>,
    /// By this user or API key, or on behalf of this user.
    pub actor_id: Option<Uuid>,
    /// Of this thing.
    pub object_id: Option<&'a str>,
}

/// Events of a business, or the platform's own where it is `None`; newest first. In the scope of that business, or as the
/// platform.
pub async fn list(
    conn: &mut PgConnection,
    business_id: Option<BusinessId>,
    filter: Filter<'_>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Recorded>> {
    let events = sqlx::query_as!(
        Recorded,
        r#"
        SELECT id AS "id: _", business_id AS "business_id: _", actor_kind, actor_id, on_behalf_of AS "on_behalf_of: _", action,
               object_kind, object_id, details, address, user_agent, request_id, created_at
        FROM audit_events
        WHERE ($1::uuid IS NULL AND business_id IS NULL OR business_id = $1)
          AND ($2::uuid IS NULL OR id < $2)
          AND ($3::text IS NULL OR action = $3)
          AND ($4::uuid IS NULL OR actor_id = $4 OR on_behalf_of = $4)
          AND ($5::text IS NULL OR object_id = $5)
        ORDER BY id DESC LIMIT $6
        "#,
        business_id as _,
        after,
        filter.action,
        filter.actor_id,
        filter.object_id,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(events)
}
