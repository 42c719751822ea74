//! Who is in which business.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{BusinessId, MemberRole, UserId};
use crate::error::{Error, Result};

/// Makes a user a member.
///
/// # Errors
///
/// [`Error::Conflict`] where they are one already.
pub async fn insert(
    conn: &mut PgConnection,
    business_id: BusinessId,
    user_id: UserId,
    role: MemberRole,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO memberships (business_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)",
        business_id as _,
        user_id as _,
        role.name(),
        now,
    )
    .execute(conn)
    .await
    .map_err(|error| {
        match error
            .as_database_error()
            .and_then(|error| error.constraint())
        {
            Some("memberships_pkey") => Error::Conflict("the user is already a member"),
            _ => error.into(),
        }
    })?;
    Ok(())
}

/// What a user may do in a business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Which.
    pub business_id: BusinessId,
    /// As what.
    pub role: MemberRole,
    /// Requests a minute that may ask a model, by the business's plan.
    pub requests_per_minute: i32,
}

/// The user's membership of `asked_for`, else of their default business; `None`: they are in none such. As the platform.
pub async fn find(
    conn: &mut PgConnection,
    user_id: UserId,
    asked_for: Option<BusinessId>,
) -> Result<Option<Membership>> {
    let row = sqlx::query!(
        r#"
        SELECT memberships.business_id AS "business_id: BusinessId", memberships.role, requests_per_minute
        FROM memberships JOIN users ON users.id = memberships.user_id
        JOIN businesses ON businesses.id = memberships.business_id JOIN plans ON plans.name = businesses.plan
        WHERE memberships.user_id = $1 AND memberships.business_id = coalesce($2, users.default_business_id)
        "#,
        user_id as _,
        asked_for as _,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let role = MemberRole::of_name(&row.role).ok_or(Error::Corrupt("memberships.role"))?;
        Ok(Membership {
            business_id: row.business_id,
            role,
            requests_per_minute: row.requests_per_minute,
        })
    })
    .transpose()
}
