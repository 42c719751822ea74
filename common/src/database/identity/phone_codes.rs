//! One-time codes, and how many were sent.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::domain::{PhoneCodeId, PhoneNumber};
use crate::error::Result;

/// How long a code works.
pub const LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// When another code may be sent to `phone`, asked for from `address`; `None`, or in the past: now.
///
/// One a minute, five an hour and ten a day to a phone; ten an hour from an address; `daily_limit` a day in total, which those
/// who ask at once may pass by as many as they are. Locks the phone and the address, so that who asks next sees what this one
/// did. As the platform.
pub async fn find_free_at(
    conn: &mut PgConnection,
    phone: &PhoneNumber,
    address: Option<&str>,
    daily_limit: u32,
) -> Result<Option<DateTime<Utc>>> {
    for locked in [Some(phone.as_str()), address].into_iter().flatten() {
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended('phone_codes/' || $1, 0))",
            locked,
        )
        .fetch_one(&mut *conn)
        .await?;
    }
    let free_at = sqlx::query_scalar!(
        r#"
        WITH
            of_phone AS (SELECT created_at FROM phone_codes WHERE phone = $1 ORDER BY created_at DESC LIMIT 10),
            of_address AS (SELECT created_at FROM phone_codes WHERE address = $2 ORDER BY created_at DESC LIMIT 10),
            of_all AS (SELECT created_at FROM phone_codes ORDER BY created_at DESC LIMIT $3)
        SELECT greatest(
            (SELECT created_at + interval '1 minute' FROM of_phone LIMIT 1),
            (SELECT created_at + interval '1 hour' FROM of_phone OFFSET 4 LIMIT 1),
            (SELECT created_at + interval '1 day' FROM of_phone OFFSET 9),
            (SELECT created_at + interval '1 hour' FROM of_address OFFSET 9),
            (SELECT created_at + interval '1 day' FROM of_all OFFSET $3 - 1)
        )
        "#,
        phone.as_str(),
        address,
        i64::from(daily_limit.max(1)),
    )
    .fetch_one(conn)
    .await?;
    Ok(free_at)
}

/// A code to be sent.
#[derive(Clone, Copy, Debug)]
pub struct NewCode<'a> {
    /// Which.
    pub id: PhoneCodeId,
    /// Where to.
    pub phone: &'a PhoneNumber,
    /// What is kept of it.
    pub hash: &'a [u8],
    /// From where it was asked for; `None`: unknown.
    pub address: Option<&'a str>,
}

/// Keeps a code: the phone's earlier ones work no more. As the platform.
pub async fn insert(conn: &mut PgConnection, code: &NewCode<'_>, now: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO phone_codes (id, phone, code_hash, address, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
        "#,
        code.id as _,
        code.phone.as_str(),
        code.hash,
        code.address,
        now,
        now + LIFETIME,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A code that somebody tries.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Which.
    pub id: PhoneCodeId,
    /// What is kept of it.
    pub code_hash: Vec<u8>,
}

/// Counts a try of a phone's code, before it is compared; `None`: there is none that works. Commit it whatever comes of it.
/// As the platform.
pub async fn count_try(
    conn: &mut PgConnection,
    phone: &PhoneNumber,
    now: DateTime<Utc>,
) -> Result<Option<Tried>> {
    let tried = sqlx::query_as!(
        Tried,
        r#"
        UPDATE phone_codes SET tries = tries + 1
        WHERE id = (SELECT id FROM phone_codes WHERE phone = $1 ORDER BY created_at DESC, id DESC LIMIT 1)
          AND tries < 5 AND used_at IS NULL AND expires_at > $2
        RETURNING id AS "id: _", code_hash
        "#,
        phone.as_str(),
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(tried)
}

/// Marks a code as used: it works no more. As the platform.
pub async fn mark_used(conn: &mut PgConnection, id: PhoneCodeId, now: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "UPDATE phone_codes SET used_at = $2 WHERE id = $1",
        id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes up to `limit` codes that were sent before `before`; answers how many. As the platform.
pub async fn delete_sent(
    conn: &mut PgConnection,
    limit: i64,
    before: DateTime<Utc>,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "DELETE FROM phone_codes WHERE id IN (SELECT id FROM phone_codes WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
        before,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}
