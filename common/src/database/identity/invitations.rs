//! Who was asked to become a member.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::domain::{BusinessId, InvitationId, MemberRole, UserId};
use crate::error::{Error, Result};

/// How long an invitation may be accepted.
pub const VALID_FOR: TimeDelta = TimeDelta::days(7);

/// An invitation that is open.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Which.
    pub id: InvitationId,
    /// Whom; lower case.
    pub email: String,
    /// As what: [`MemberRole::name`].
    pub role: String,
    /// Who did; `None`: somebody since erased.
    pub invited_by: Option<UserId>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Until when it may be accepted.
    pub expires_at: DateTime<Utc>,
}

/// Invites `email`; an earlier invitation that ran out makes room.
///
/// # Errors
///
/// [`Error::Conflict`] where they are invited already.
pub async fn insert(
    conn: &mut PgConnection,
    business_id: BusinessId,
    email: &str,
    role: MemberRole,
    invited_by: Option<UserId>,
    now: DateTime<Utc>,
) -> Result<Invitation> {
    sqlx::query!(
        r#"
        UPDATE invitations SET revoked_at = $3
        WHERE business_id = $1 AND email = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at <= $3
        "#,
        business_id as _,
        email,
        now,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_as!(
        Invitation,
        r#"
        INSERT INTO invitations (id, business_id, email, role, invited_by, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        RETURNING id AS "id: _", email, role, invited_by AS "invited_by: _", created_at, expires_at
        "#,
        InvitationId::new() as _,
        business_id as _,
        email,
        role.name(),
        invited_by as _,
        now,
        now + VALID_FOR,
    )
    .fetch_one(conn)
    .await
    .map_err(|error| {
        match error
            .as_database_error()
            .and_then(|error| error.constraint())
        {
            Some("invitations_open_key") => Error::Conflict("there is an open invitation already"),
            _ => error.into(),
        }
    })
}

/// The business's open invitations, newest first, after `after`.
pub async fn list(
    conn: &mut PgConnection,
    business_id: BusinessId,
    after: Option<InvitationId>,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Invitation>> {
    let invitations = sqlx::query_as!(
        Invitation,
        r#"
        SELECT id AS "id: _", email, role, invited_by AS "invited_by: _", created_at, expires_at FROM invitations
        WHERE business_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $4
          AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        "#,
        business_id as _,
        after as _,
        limit,
        now,
    )
    .fetch_all(conn)
    .await?;
    Ok(invitations)
}

/// How many of them there are.
pub async fn count(
    conn: &mut PgConnection,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!" FROM invitations
        WHERE business_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $2
        "#,
        business_id as _,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// Whether a member of the business has this address.
pub async fn is_member(
    conn: &mut PgConnection,
    business_id: BusinessId,
    email: &str,
) -> Result<bool> {
    let is_member = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM memberships JOIN users ON users.id = memberships.user_id WHERE business_id = $1 AND users.email = $2
        ) AS "is_member!"
        "#,
        business_id as _,
        email,
    )
    .fetch_one(conn)
    .await?;
    Ok(is_member)
}

/// Takes an open invitation back; whether there was one.
pub async fn mark_revoked(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: InvitationId,
    now: DateTime<Utc>,
) -> Result<bool> {
    let revoked = sqlx::query!(
        r#"
        UPDATE invitations SET revoked_at = $3
        WHERE business_id = $1 AND id = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $3
        "#,
        business_id as _,
        id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// What an invitation leads to.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Into which business.
    pub business_id: BusinessId,
    /// Whom it was sent to.
    pub email: String,
    /// As what: [`MemberRole::name`].
    pub role: String,
}

/// Uses an open invitation up; `None`: it is no more, or its business is being deleted. As the platform.
pub async fn mark_accepted(
    conn: &mut PgConnection,
    id: InvitationId,
    now: DateTime<Utc>,
) -> Result<Option<Accepted>> {
    let accepted = sqlx::query_as!(
        Accepted,
        r#"
        UPDATE invitations SET accepted_at = $2
        FROM businesses
        WHERE invitations.id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $2
          AND businesses.id = invitations.business_id AND deletion_requested_at IS NULL
        RETURNING business_id AS "business_id: _", email, role
        "#,
        id as _,
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(accepted)
}
