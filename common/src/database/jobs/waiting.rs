//! What the rows say of why a job waits; [`crate::queue::waiting`] makes a sentence of it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::JobState;
use crate::domain::{BusinessId, JobId};
use crate::error::Result;

/// Where counting the jobs ahead stops.
pub const AHEAD_COUNTED: i64 = 1_000;

/// A waiting job, and what is around it.
#[derive(Clone, Debug)]
pub struct WaitingJob {
    /// Which.
    pub id: JobId,
    /// Where it waits.
    pub queue: String,
    /// What kind.
    pub kind: String,
    /// `queued` or `failed`.
    pub state: JobState,
    /// Attempts begun.
    pub attempt: i32,
    /// Attempts before it is dead.
    pub max_attempts: i32,
    /// Not before.
    pub run_at: DateTime<Utc>,
    /// When the dispatcher offers it, or offers it again.
    pub dispatch_at: DateTime<Utc>,
    /// What its last attempt said it waits for.
    pub wait_reason: Option<String>,
    /// What its last failed attempt met.
    pub last_error: Option<String>,
    /// Why its queue is paused; `None`: it is not.
    pub paused: Option<String>,
    /// Since when its queue is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Jobs of its business that run in its queue.
    pub running: i64,
    /// Due jobs of its business and queue before it, counted up to [`AHEAD_COUNTED`].
    pub ahead: i64,
    /// Jobs of everybody that run in its queue; `None`: that is not the reader's business.
    pub running_of_all: Option<i64>,
    /// The database's time, by which all of this is due or not.
    pub now: DateTime<Utc>,
}

/// Those of `ids` that wait. With a business, only its own and what concerns it; without, as the platform.
pub async fn list(
    conn: &mut PgConnection,
    business_id: Option<BusinessId>,
    ids: &[Uuid],
) -> Result<Vec<WaitingJob>> {
    let rows = sqlx::query_as!(
        WaitingJob,
        r#"
        SELECT jobs.id AS "id: _", jobs.queue, kind, state AS "state: _", attempt, max_attempts, run_at, dispatch_at,
            wait_reason, last_error, queue_pauses.reason AS "paused?", queue_pauses.paused_at AS "paused_at?",
            busy.running AS "running!", before.jobs AS "ahead!", everybody.running AS "running_of_all?",
            statement_timestamp() AS "now!"
        FROM jobs
        LEFT JOIN queue_pauses ON queue_pauses.queue = jobs.queue
        CROSS JOIN LATERAL (
            SELECT count(*) AS running FROM jobs AS other
            WHERE other.queue = jobs.queue AND other.lane = jobs.lane AND other.state = 'running'
        ) AS busy
        CROSS JOIN LATERAL (
            SELECT count(*) AS jobs FROM (
                SELECT FROM jobs AS other
                WHERE other.queue = jobs.queue AND other.lane = jobs.lane AND other.state IN ('queued', 'failed')
                    AND other.run_at <= statement_timestamp()
                    AND (other.priority, other.run_at, other.id) < (jobs.priority, jobs.run_at, jobs.id)
                LIMIT $3
            ) AS counted
        ) AS before
        LEFT JOIN LATERAL (
            SELECT count(*) AS running FROM jobs AS other WHERE other.queue = jobs.queue AND other.state = 'running'
        ) AS everybody ON $1::uuid IS NULL
        WHERE ($1::uuid IS NULL OR jobs.business_id = $1) AND jobs.id = ANY($2) AND state IN ('queued', 'failed')
        "#,
        business_id as _,
        ids,
        AHEAD_COUNTED + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
