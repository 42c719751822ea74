//! Who users are to other issuers of tokens.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::sessions::Holder;
use super::users::{self, User};
use crate::domain::{Role, UserId};
use crate::error::{Error, Result};

/// Whom somebody is with us; `None`: unknown, or deactivated. As the platform.
pub async fn find_holder(
    conn: &mut PgConnection,
    issuer: &str,
    subject: &str,
) -> Result<Option<Holder>> {
    let row = sqlx::query!(
        r#"
        SELECT users.id AS "id: UserId", users.role
        FROM user_identities JOIN users ON users.id = user_identities.user_id
        WHERE issuer = $1 AND subject = $2 AND users.deactivated_at IS NULL
        "#,
        issuer,
        subject,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Holder {
            user_id: row.id,
            role: Role::of_name(&row.role).ok_or(Error::Corrupt("users.role"))?,
            impersonator_id: None,
        })
    })
    .transpose()
}

/// The user somebody is with us, deactivated or not, once nobody else is about to make them one: until the transaction ends
/// others who ask for the same person wait. As the platform.
pub async fn find_user_for_update(
    conn: &mut PgConnection,
    issuer: &str,
    subject: &str,
) -> Result<Option<User>> {
    sqlx::query!(
        r#"SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0)) AS "locked!: ()""#,
        issuer,
        subject,
    )
    .execute(&mut *conn)
    .await?;
    let id = sqlx::query_scalar!(
        r#"SELECT user_id AS "id: UserId" FROM user_identities WHERE issuer = $1 AND subject = $2"#,
        issuer,
        subject,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match id {
        Some(id) => users::find(conn, id).await,
        None => Ok(None),
    }
}

/// Makes `subject` of `issuer` and the user one. As the platform.
pub async fn insert(
    conn: &mut PgConnection,
    issuer: &str,
    subject: &str,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO user_identities (issuer, subject, user_id, created_at) VALUES ($1, $2, $3, $4)",
        issuer,
        subject,
        user_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}
