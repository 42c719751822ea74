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
