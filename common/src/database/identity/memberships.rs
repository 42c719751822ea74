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
    /// Whether the business is being deleted: then all it can be is restored.
    pub is_being_deleted: bool,
}

/// The user's membership of `asked_for`, else of their default business; `None`: they are in none such. As the platform.
pub async fn find(
    conn: &mut PgConnection,
    user_id: UserId,
    asked_for: Option<BusinessId>,
) -> Result<Option<Membership>> {
    let row = sqlx::query!(
        r#"
        SELECT memberships.business_id AS "business_id: BusinessId", memberships.role, requests_per_minute,
               businesses.deletion_requested_at IS NOT NULL AS "is_being_deleted!"
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
        Ok(Membership {
            business_id: row.business_id,
            role: role_of(&row.role)?,
            requests_per_minute: row.requests_per_minute,
            is_being_deleted: row.is_being_deleted,
        })
    })
    .transpose()
}

/// A member, as others of the business see them.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// [`MemberRole::name`]
    pub role: String,
    /// What they are called.
    pub name: String,
    /// `None`: signed up otherwise.
    pub email: Option<String>,
    /// A picture; `None`: none.
    pub avatar_url: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// The business's members, those whose user is older first, after `after`.
pub async fn list(
    conn: &mut PgConnection,
    business_id: BusinessId,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<Member>> {
    let members = sqlx::query_as!(
        Member,
        r#"
        SELECT user_id AS "user_id: _", memberships.role, users.name, users.email, users.avatar_url, memberships.created_at
        FROM memberships JOIN users ON users.id = memberships.user_id
        WHERE business_id = $1 AND ($2::uuid IS NULL OR user_id > $2) ORDER BY user_id LIMIT $3
        "#,
        business_id as _,
        after as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(members)
}

/// One of them.
pub async fn find_member(
    conn: &mut PgConnection,
    business_id: BusinessId,
    user_id: UserId,
) -> Result<Option<Member>> {
    let member = sqlx::query_as!(
        Member,
        r#"
        SELECT user_id AS "user_id: _", memberships.role, users.name, users.email, users.avatar_url, memberships.created_at
        FROM memberships JOIN users ON users.id = memberships.user_id
        WHERE business_id = $1 AND user_id = $2
        "#,
        business_id as _,
        user_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(member)
}

/// As what the user is in the business; `None`: they are not.
pub async fn find_role(
    conn: &mut PgConnection,
    business_id: BusinessId,
    user_id: UserId,
) -> Result<Option<MemberRole>> {
    let role = sqlx::query_scalar!(
        "SELECT role FROM memberships WHERE business_id = $1 AND user_id = $2",
        business_id as _,
        user_id as _,
    )
    .fetch_optional(conn)
    .await?;
    role.map(|role| role_of(&role)).transpose()
}

/// How many members, and how many owners among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub members: i64,
    /// Owners.
    pub owners: i64,
}

/// How many the business has.
pub async fn count(conn: &mut PgConnection, business_id: BusinessId) -> Result<Counts> {
    let counts = sqlx::query_as!(
        Counts,
        r#"
        SELECT count(*) AS "members!", count(*) FILTER (WHERE role = 'owner') AS "owners!"
        FROM memberships WHERE business_id = $1
        "#,
        business_id as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(counts)
}

/// How many businesses the user owns, those being deleted left out; nobody makes it more until the transaction ends. As the
/// platform.
pub async fn count_owned(conn: &mut PgConnection, user_id: UserId) -> Result<i64> {
    sqlx::query!(
        "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE",
        user_id as _
    )
    .fetch_optional(&mut *conn)
    .await?;
    let count = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!" FROM memberships JOIN businesses ON businesses.id = memberships.business_id
        WHERE user_id = $1 AND role = 'owner' AND deletion_requested_at IS NULL
        "#,
        user_id as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// Gives a member another role.
pub async fn update_role(
    conn: &mut PgConnection,
    business_id: BusinessId,
    user_id: UserId,
    role: MemberRole,
) -> Result<()> {
    sqlx::query!(
        "UPDATE memberships SET role = $3 WHERE business_id = $1 AND user_id = $2",
        business_id as _,
        user_id as _,
        role.name(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a membership.
pub async fn delete(
    conn: &mut PgConnection,
    business_id: BusinessId,
    user_id: UserId,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM memberships WHERE business_id = $1 AND user_id = $2",
        business_id as _,
        user_id as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whoever has `business_id` by default (of all, or `user_id` alone) gets the first other business they are in, if any: for
/// when it is theirs no more. As the platform.
pub async fn move_default(
    conn: &mut PgConnection,
    business_id: BusinessId,
    user_id: Option<UserId>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE users SET updated_at = $3, default_business_id = (
            SELECT businesses.id FROM memberships JOIN businesses ON businesses.id = memberships.business_id
            WHERE memberships.user_id = users.id AND businesses.id <> $1 AND deletion_requested_at IS NULL
            ORDER BY memberships.created_at, businesses.id LIMIT 1
        )
        WHERE default_business_id = $1 AND ($2::uuid IS NULL OR users.id = $2)
        "#,
        business_id as _,
        user_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes `business_id` the default of a user who has none. As the platform.
pub async fn set_missing_default(
    conn: &mut PgConnection,
    business_id: BusinessId,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET default_business_id = $2, updated_at = $3 WHERE id = $1 AND default_business_id IS NULL",
        user_id as _,
        business_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn role_of(name: &str) -> Result<MemberRole> {
    MemberRole::of_name(name).ok_or(Error::Corrupt("memberships.role"))
}
