//! Links sent by e-mail: each proves once that its reader reads the address.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::domain::{EmailProofId, UserId};
use crate::error::{Error, Result};

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofPurpose {
    /// Confirms an address.
    VerifyEmail,
    /// Sets a new password.
    ResetPassword,
}

impl ProofPurpose {
    fn name(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::VerifyEmail, Self::ResetPassword]
            .into_iter()
            .find(|purpose| purpose.name() == name)
    }

    fn lifetime(self) -> TimeDelta {
        match self {
            Self::VerifyEmail => TimeDelta::hours(24),
            Self::ResetPassword => TimeDelta::minutes(30),
        }
    }
}

/// Makes a link for the user's address as it is now; `None`: they have none. As the platform.
pub async fn insert(
    conn: &mut PgConnection,
    user_id: UserId,
    purpose: ProofPurpose,
    now: DateTime<Utc>,
) -> Result<Option<EmailProofId>> {
    let id = EmailProofId::new();
    let inserted = sqlx::query!(
        r#"
        INSERT INTO email_proofs (id, user_id, purpose, email, created_at, expires_at)
        SELECT $1, id, $3, email, $4, $5 FROM users WHERE id = $2 AND email IS NOT NULL
        "#,
        id as _,
        user_id as _,
        purpose.name(),
        now,
        now + purpose.lifetime(),
    )
    .execute(conn)
    .await?;
    Ok((inserted.rows_affected() == 1).then_some(id))
}

/// When a user may have another link: one a minute and five an hour; `None`, or in the past: now. Locks the user, so that who
/// asks next sees what this one did. As the platform.
pub async fn find_free_at(
    conn: &mut PgConnection,
    user_id: UserId,
    purpose: ProofPurpose,
) -> Result<Option<DateTime<Utc>>> {
    sqlx::query!(
        "SELECT id FROM users WHERE id = $1 FOR UPDATE",
        user_id as _
    )
    .fetch_optional(&mut *conn)
    .await?;
    let free_at = sqlx::query_scalar!(
        r#"
        WITH links AS (SELECT created_at FROM email_proofs WHERE user_id = $1 AND purpose = $2 ORDER BY created_at DESC LIMIT 5)
        SELECT greatest(
            (SELECT created_at + interval '1 minute' FROM links LIMIT 1),
            (SELECT created_at + interval '1 hour' FROM links OFFSET 4)
        )
        "#,
        user_id as _,
        purpose.name(),
    )
    .fetch_one(conn)
    .await?;
    Ok(free_at)
}

/// What a link that still works proves.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Whose.
    pub user_id: UserId,
    /// To which address it was sent.
    pub email: String,
}

/// A link that still works, of a user who has the address still. As the platform.
pub async fn find(
    conn: &mut PgConnection,
    id: EmailProofId,
    purpose: ProofPurpose,
    now: DateTime<Utc>,
) -> Result<Option<Proof>> {
    let proof = sqlx::query_as!(
        Proof,
        r#"
        SELECT email_proofs.user_id AS "user_id: _", email_proofs.email
        FROM email_proofs JOIN users ON users.id = email_proofs.user_id AND users.email = email_proofs.email
        WHERE email_proofs.id = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3 AND deactivated_at IS NULL
        "#,
        id as _,
        purpose.name(),
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(proof)
}

/// Uses a link; `false`: it no longer works. Lock its user first. As the platform.
pub async fn mark_used(
    conn: &mut PgConnection,
    id: EmailProofId,
    purpose: ProofPurpose,
    now: DateTime<Utc>,
) -> Result<bool> {
    let used = sqlx::query!(
        "UPDATE email_proofs SET used_at = $3 WHERE id = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3",
        id as _,
        purpose.name(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(used.rows_affected() == 1)
}

/// Makes all of a user's links of a purpose worthless. Lock the user first. As the platform.
pub async fn void_all(
    conn: &mut PgConnection,
    user_id: UserId,
    purpose: ProofPurpose,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE email_proofs SET used_at = $3 WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL",
        user_id as _,
        purpose.name(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What the mail with a link needs.
#[derive(Clone, Debug)]
pub struct Addressed {
    /// What the link is for.
    pub purpose: ProofPurpose,
    /// Where it goes.
    pub email: String,
    /// The user's language: `fr` or `en`.
    pub language: String,
}

/// What the mail with a link needs; `None`: the link no longer works. As the platform.
pub async fn find_addressed(
    conn: &mut PgConnection,
    id: EmailProofId,
    now: DateTime<Utc>,
) -> Result<Option<Addressed>> {
    let row = sqlx::query!(
        r#"
        SELECT purpose, email_proofs.email, language
        FROM email_proofs JOIN users ON users.id = email_proofs.user_id
        WHERE email_proofs.id = $1 AND used_at IS NULL AND expires_at > $2
        "#,
        id as _,
        now,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let purpose =
            ProofPurpose::of_name(&row.purpose).ok_or(Error::Corrupt("email_proofs.purpose"))?;
        Ok(Addressed {
            purpose,
            email: row.email,
            language: row.language,
        })
    })
    .transpose()
}

/// Deletes up to `limit` links that expired before `before`; answers how many. As the platform.
pub async fn delete_expired(
    conn: &mut PgConnection,
    limit: i64,
    before: DateTime<Utc>,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "DELETE FROM email_proofs WHERE id IN (SELECT id FROM email_proofs WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
        before,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}
