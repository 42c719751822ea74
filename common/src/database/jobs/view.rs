//! Looking at jobs and steering them, for people.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::JobState;
use crate::domain::{BusinessId, JobId};
use crate::error::Result;

/// A job as its owner sees it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Which.
    pub id: JobId,
    /// What kind.
    pub kind: String,
    /// What it is doing.
    pub state: JobState,
    /// Attempts begun.
    pub attempt: i32,
    /// What its last failed attempt met.
    pub last_error: Option<String>,
    /// What it brought.
    pub result: Option<serde_json::Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A business's job.
pub async fn find(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: JobId,
) -> Result<Option<JobView>> {
    let row = sqlx::query_as!(
        JobView,
        r#"
        SELECT id AS "id: _", kind, state AS "state: _", attempt, last_error, result, created_at, finished_at
        FROM jobs WHERE business_id = $1 AND id = $2
        "#,
        business_id as _,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Calls off a job that does not run yet; `false`: it runs, ended, or is not the business's.
pub async fn cancel(
    conn: &mut PgConnection,
    business_id: BusinessId,
    id: JobId,
    retention: Duration,
    now: DateTime<Utc>,
) -> Result<bool> {
    let result = sqlx::query!(
        r#"
        UPDATE jobs SET state = 'cancelled', finished_at = $3, expires_at = $4
        WHERE business_id = $1 AND id = $2 AND state IN ('queued', 'failed')
        "#,
        business_id as _,
        id as _,
        now,
        now + retention,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}
