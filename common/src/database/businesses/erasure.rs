//! The end of a business: nothing of it is left.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::BusinessId;
use crate::error::Result;

/// A business whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub business_id: BusinessId,
    /// When its deletion was asked for.
    pub requested_at: DateTime<Utc>,
}

/// The businesses that are to be erased. As the platform.
pub async fn list_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Due>> {
    let due = sqlx::query_as!(
        Due,
        r#"
        SELECT id AS "business_id: _", deletion_requested_at AS "requested_at!" FROM businesses
        WHERE erase_after <= $1 ORDER BY erase_after
        "#,
        now,
    )
    .fetch_all(conn)
    .await?;
    Ok(due)
}

/// Deletes up to `most` rows of the business that is set, of whatever tables; how many, 0 where none are left. The business
/// itself and its audit log stay.
pub async fn erase_rows(conn: &mut PgConnection, most: i32) -> Result<i32> {
    let erased = sqlx::query_scalar!(r#"SELECT erase_rows_of_business($1) AS "erased!""#, most)
        .fetch_one(conn)
        .await?;
    Ok(erased)
}

/// Deletes up to `most` lines of its audit log; how many. As the platform.
pub async fn erase_audit_events(
    conn: &mut PgConnection,
    business_id: BusinessId,
    most: i32,
) -> Result<i32> {
    let erased = sqlx::query_scalar!(
        r#"SELECT erase_audit_events($1, $2) AS "erased!""#,
        business_id as _,
        most
    )
    .fetch_one(conn)
    .await?;
    Ok(erased)
}

/// Deletes the business itself, if its time is over; whether it did.
pub async fn delete(
    conn: &mut PgConnection,
    business_id: BusinessId,
    now: DateTime<Utc>,
) -> Result<bool> {
    let deleted = sqlx::query!(
        "DELETE FROM businesses WHERE id = $1 AND erase_after <= $2",
        business_id as _,
        now,
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected() == 1)
}
