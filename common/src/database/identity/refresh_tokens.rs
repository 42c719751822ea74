//! Refresh tokens, by their hashes: every one a session had, so that the use of an old one is known for what it is.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::SessionId;
use crate::error::Result;

/// Keeps a session's new token. As the platform.
pub async fn insert(
    conn: &mut PgConnection,
    token_hash: &[u8],
    session_id: SessionId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO refresh_tokens (token_hash, session_id, created_at) VALUES ($1, $2, $3)",
        token_hash,
        session_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks a token as used, if it was not; whether it was not. As the platform.
pub async fn mark_used(
    conn: &mut PgConnection,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<bool> {
    let marked = sqlx::query!(
        "UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1 AND used_at IS NULL",
        token_hash,
        now,
    )
    .execute(conn)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Whether a token was used after `since`, and its successor never. As the platform.
pub async fn was_just_replaced(
    conn: &mut PgConnection,
    token_hash: &[u8],
    successor_hash: &[u8],
    since: DateTime<Utc>,
) -> Result<bool> {
    let replaced = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM refresh_tokens AS used JOIN refresh_tokens AS successor ON successor.session_id = used.session_id
            WHERE used.token_hash = $1 AND used.used_at > $3 AND successor.token_hash = $2 AND successor.used_at IS NULL
        ) AS "replaced!"
        "#,
        token_hash,
        successor_hash,
        since,
    )
    .fetch_one(conn)
    .await?;
    Ok(replaced)
}
