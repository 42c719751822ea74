//! Sessions: what an access token stands for, until it is revoked.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Role, SessionId, UserId};
use crate::error::{Error, Result};

/// Who a valid session belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The user it acts as.
    pub user_id: UserId,
    /// Their role on the platform, as of now.
    pub role: Role,
    /// Who acts as the user; `None`: the user.
    pub impersonator_id: Option<UserId>,
}

/// Whom a session belongs to; `None`: it is over, or its user (or who acts for them) was deactivated. As the platform.
pub async fn find_holder(
    conn: &mut PgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> Result<Option<Holder>> {
    let row = sqlx::query!(
        r#"
        SELECT sessions.user_id AS "user_id: UserId", users.role, impersonator_id AS "impersonator_id: UserId"
        FROM sessions JOIN users ON users.id = sessions.user_id
        LEFT JOIN users AS impersonators ON impersonators.id = sessions.impersonator_id
        WHERE sessions.id = $1 AND revoked_at IS NULL AND expires_at > $2
          AND users.deactivated_at IS NULL AND impersonators.deactivated_at IS NULL
        "#,
        id as _,
        now,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Holder {
            user_id: row.user_id,
            role: Role::of_name(&row.role).ok_or(Error::Corrupt("users.role"))?,
            impersonator_id: row.impersonator_id,
        })
    })
    .transpose()
}

/// A sign-in.
#[derive(Clone, Debug)]
pub struct NewSession<'a> {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// Who acts as the user; `None`: the user.
    pub impersonator_id: Option<UserId>,
    /// From where.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<&'a str>,
    /// When it ends unless it is refreshed.
    pub expires_at: DateTime<Utc>,
}

/// Begins a session. As the platform.
pub async fn insert(
    conn: &mut PgConnection,
    session: &NewSession<'_>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO sessions (id, user_id, impersonator_id, address, user_agent, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        "#,
        session.id as _,
        session.user_id as _,
        session.impersonator_id as _,
        session.address,
        session.user_agent,
        now,
        session.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a session for `reason` (`logout`, `reuse`); whether it had not ended before. As the platform.
pub async fn revoke(
    conn: &mut PgConnection,
    id: SessionId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    let revoked = sqlx::query!(
        "UPDATE sessions SET revoked_at = $3, revoked_for = $2 WHERE id = $1 AND revoked_at IS NULL",
        id as _,
        reason,
        now,
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// Ends every session of a user, and those in which they act for others, for `reason` (`password`, `deactivation`); but for
/// `keep`. Answers how many. As the platform.
pub async fn revoke_all(
    conn: &mut PgConnection,
    user_id: UserId,
    keep: Option<SessionId>,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<u64> {
    let revoked = sqlx::query!(
        r#"
        UPDATE sessions SET revoked_at = $4, revoked_for = $3
        WHERE (user_id = $1 OR impersonator_id = $1) AND revoked_at IS NULL AND ($2::uuid IS NULL OR id <> $2)
        "#,
        user_id as _,
        keep as _,
        reason,
        now,
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected())
}

/// Ends every session in which the user acts for another, or another acts for them. As the platform.
pub async fn end_impersonations(
    conn: &mut PgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE sessions SET revoked_at = $2, revoked_for = 'role'
        WHERE impersonator_id IS NOT NULL AND (user_id = $1 OR impersonator_id = $1) AND revoked_at IS NULL
        "#,
        user_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whose a session that can be refreshed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refreshable {
    /// Which.
    pub id: SessionId,
    /// The user's.
    pub user_id: UserId,
}

/// The valid session a refresh token was made for, locked until the transaction ends: of those who refresh it at once, each
/// sees what the one before did. As the platform.
pub async fn lock_by_refresh_token(
    conn: &mut PgConnection,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Refreshable>> {
    let session = sqlx::query_as!(
        Refreshable,
        r#"
        SELECT sessions.id AS "id: _", sessions.user_id AS "user_id: _"
        FROM refresh_tokens
        JOIN sessions ON sessions.id = refresh_tokens.session_id
        JOIN users ON users.id = sessions.user_id
        WHERE token_hash = $1 AND revoked_at IS NULL AND expires_at > $2 AND deactivated_at IS NULL
        FOR UPDATE OF sessions
        "#,
        token_hash,
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(session)
}

/// Puts a session's end off. As the platform.
pub async fn extend(
    conn: &mut PgConnection,
    id: SessionId,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE sessions SET expires_at = $2 WHERE id = $1",
        id as _,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A session as its user sees it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// From where it was begun; `None`: unknown.
    pub address: Option<String>,
    /// With what it was begun; `None`: not said.
    pub user_agent: Option<String>,
    /// Whether another acts as the user in it.
    pub is_impersonated: bool,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// When it ends unless it is refreshed.
    pub expires_at: DateTime<Utc>,
}

/// A user's valid sessions, the newest first, behind `after`. As that user.
pub async fn list(
    conn: &mut PgConnection,
    user_id: UserId,
    after: Option<Uuid>,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Session>> {
    let sessions = sqlx::query_as!(
        Session,
        r#"
        SELECT id AS "id: _", address, user_agent, impersonator_id IS NOT NULL AS "is_impersonated!", created_at, expires_at
        FROM sessions
        WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND ($3::uuid IS NULL OR id < $3)
        ORDER BY id DESC LIMIT $4
        "#,
        user_id as _,
        now,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(sessions)
}

/// Ends a session of `user_id`'s for `reason`; `false`: there is none, or it is over. As the platform.
pub async fn revoke_own(
    conn: &mut PgConnection,
    id: SessionId,
    user_id: UserId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    let revoked = sqlx::query!(
        r#"
        UPDATE sessions SET revoked_at = $4, revoked_for = $3
        WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $4
        "#,
        id as _,
        user_id as _,
        reason,
        now,
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// Deletes up to `limit` sessions that ended before `before`, with their refresh tokens: those that were revoked, too, rest
/// until they would have ended. Answers how many. As the platform.
pub async fn delete_ended(
    conn: &mut PgConnection,
    limit: i64,
    before: DateTime<Utc>,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
        before,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}
