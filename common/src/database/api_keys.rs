//! A business's API keys, as those who manage them see them. How one is let in is in [`super::access`].

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{ApiKeyId, BusinessId, UserId};
use crate::error::Result;

/// An API key, without its secret.
#[derive(Clone, Debug)]
pub struct ApiKeyView {
    /// Which.
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// What it may do, by name.
    pub scopes: Vec<String>,
    /// Who made it; `None`: the operator, or somebody since erased.
    pub created_by: Option<UserId>,
    /// The key it was rotated to.
    pub replaced_by: Option<ApiKeyId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working; `None`: when it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute; `None`: never.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Since when it does not work; `None`: it was not revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKeyView {
    /// Whether it works.
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| at > now)
    }
}

/// The business's keys, revoked ones too, newest first, after `after`.
pub async fn list(
    conn: &mut PgConnection,
    business_id: BusinessId,
    after: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKeyView>> {
    let keys = sqlx::query_as!(
        ApiKeyView,
        r#"
        SELECT id AS "id: _", name, scopes, created_by AS "created_by: _", replaced_by AS "replaced_by: _", created_at,
               expires_at, last_used_at, revoked_at
        FROM api_keys WHERE business_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
        "#,
        business_id as _,
        after as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// One of the business's keys, held until the transaction ends.
pub async fn find_for_update(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: ApiKeyId,
) -> Result<Option<ApiKeyView>> {
    let key = sqlx::query_as!(
        ApiKeyView,
        r#"
        SELECT id AS "id: _", name, scopes, created_by AS "created_by: _", replaced_by AS "replaced_by: _", created_at,
               expires_at, last_used_at, revoked_at
        FROM api_keys WHERE business_id = $1 AND id = $2 FOR UPDATE
        "#,
        business_id as _,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(key)
}

/// How many of the business's keys work.
pub async fn count_valid(
    conn: &mut PgConnection,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!" FROM api_keys
        WHERE business_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
        "#,
        business_id as _,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// Stops a key.
pub async fn mark_revoked(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: ApiKeyId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE api_keys SET revoked_at = $3 WHERE business_id = $1 AND id = $2 AND revoked_at IS NULL",
        business_id as _,
        id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes by which key another was replaced, and when it stops working.
pub async fn mark_replaced(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: ApiKeyId,
    replaced_by: ApiKeyId,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE api_keys SET replaced_by = $3, expires_at = least(expires_at, $4)
        WHERE business_id = $1 AND id = $2
        "#,
        business_id as _,
        id as _,
        replaced_by as _,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}
