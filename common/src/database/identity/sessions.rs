//! Sessions: what an access token stands for, until it is revoked.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

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
