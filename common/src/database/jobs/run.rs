//! Running jobs: claim, renew, end. Every end is guarded by the attempt, the fencing token: one that lost its lease changes nothing.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{BusinessId, JobId};
use crate::error::Result;

/// A job this process may run: the claim.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    /// Which.
    pub id: JobId,
    /// What kind.
    pub kind: String,
    /// The queue it came from.
    pub queue: String,
    /// Whose work it is; `None`: the platform's own.
    pub business_id: Option<BusinessId>,
    /// Its arguments.
    pub args: serde_json::Value,
    /// Counts from 1; the fencing token.
    pub attempt: i32,
    /// Attempts before it is dead.
    pub max_attempts: i32,
    /// Who waits for its end.
    pub reply_to: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// The trace it continues.
    pub traceparent: Option<String>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was to run.
    pub run_at: DateTime<Utc>,
    /// Until when the claim holds unless it is renewed, by the clock of who claimed.
    pub lease_until: DateTime<Utc>,
}

/// How far the clocks of two machines may differ: a job that is due by the dispatcher's is not refused by the worker's.
const CLOCK_SKEW: TimeDelta = TimeDelta::milliseconds(250);

/// Claims those of `ids` that wait and are due, for `worker`. The others run elsewhere, ended, are not due, or their
/// queue is paused: leave them.
pub async fn claim(
    conn: &mut PgConnection,
    ids: &[Uuid],
    worker: &str,
    lease_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<ClaimedJob>> {
    let rows = sqlx::query_as!(
        ClaimedJob,
        r#"
        UPDATE jobs
        SET state = 'running', attempt = attempt + 1, worker = $2, lease_until = $3, started_at = $4, wait_reason = NULL
        WHERE id IN (
            SELECT id FROM jobs
            WHERE id = ANY($1) AND state IN ('queued', 'failed') AND run_at <= $5
                AND NOT EXISTS (SELECT FROM queue_pauses WHERE queue_pauses.queue = jobs.queue)
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id AS "id: _", kind, queue, business_id AS "business_id: _", args, attempt, max_attempts, reply_to,
            request_id, traceparent, created_at, run_at, lease_until AS "lease_until!"
        "#,
        ids,
        worker,
        lease_until,
        now,
        now + CLOCK_SKEW,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Makes a job that was just inserted in this transaction `worker`'s own, to be run right after the commit.
pub async fn claim_inserted(
    conn: &mut PgConnection,
    id: JobId,
    worker: &str,
    lease: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Option<ClaimedJob>> {
    Ok(claim(conn, &[id.0], worker, now + lease, now).await?.pop())
}

/// Holds the leases of `jobs` (id, attempt) until `lease_until`; returns those that are still `worker`'s.
///
/// A row that somebody has locked is left for the next time: waiting for it would cost all the others their leases.
pub async fn renew(
    conn: &mut PgConnection,
    jobs: &[(Uuid, i32)],
    worker: &str,
    lease_until: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let (ids, attempts): (Vec<Uuid>, Vec<i32>) = jobs.iter().copied().unzip();
    sqlx::query!(
        r#"
        UPDATE jobs SET lease_until = $4 WHERE id IN (
            SELECT jobs.id FROM jobs
            JOIN unnest($1::uuid[], $2::integer[]) AS held (id, attempt)
                ON jobs.id = held.id AND jobs.attempt = held.attempt
            WHERE jobs.worker = $3 AND jobs.state = 'running'
            FOR UPDATE OF jobs SKIP LOCKED
        )
        "#,
        &ids,
        &attempts,
        worker,
        lease_until,
    )
    .execute(&mut *conn)
    .await?;
    let rows = sqlx::query_scalar!(
        r#"
        SELECT jobs.id FROM jobs
        JOIN unnest($1::uuid[], $2::integer[]) AS held (id, attempt) ON jobs.id = held.id AND jobs.attempt = held.attempt
        WHERE jobs.worker = $3 AND jobs.state = 'running'
        "#,
        &ids,
        &attempts,
        worker,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Whether the attempt still holds its job; if so nobody takes it before this transaction ends.
pub async fn hold(conn: &mut PgConnection, job: &ClaimedJob) -> Result<bool> {
    let held = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE id = $1 AND attempt = $2 AND state = 'running' FOR UPDATE",
        job.id as _,
        job.attempt,
    )
    .fetch_optional(conn)
    .await?;
    Ok(held.is_some())
}

/// Ends the job well, in the transaction of its effects; `false`: the lease was lost, so roll the effects back.
pub async fn succeed(
    conn: &mut PgConnection,
    job: &ClaimedJob,
    result: Option<&serde_json::Value>,
    retention: Duration,
    now: DateTime<Utc>,
) -> Result<bool> {
    let ended = succeed_many(
        conn,
        &[(job.id.0, job.attempt, result.cloned())],
        retention,
        now,
    )
    .await?;
    Ok(!ended.is_empty())
}

/// Ends jobs without effects of their own; returns those whose lease held. Each: id, attempt, result.
pub async fn succeed_many(
    conn: &mut PgConnection,
    jobs: &[(Uuid, i32, Option<serde_json::Value>)],
    retention: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let attempts: Vec<i32> = jobs.iter().map(|job| job.1).collect();
    let results: Vec<Option<serde_json::Value>> = jobs.iter().map(|job| job.2.clone()).collect();
    let rows = sqlx::query_scalar!(
        r#"
        UPDATE jobs
        SET state = 'succeeded', result = ended.result, lease_until = NULL, finished_at = $4, expires_at = $5
        FROM (
            SELECT jobs.id, ended.result FROM jobs
            JOIN unnest($1::uuid[], $2::integer[], $3::jsonb[]) AS ended (id, attempt, result)
                ON jobs.id = ended.id AND jobs.attempt = ended.attempt
            WHERE jobs.state = 'running'
            -- Everybody locks in the same order.
            ORDER BY jobs.id FOR UPDATE OF jobs
        ) AS ended
        WHERE jobs.id = ended.id
        RETURNING jobs.id
        "#,
        &ids,
        &attempts,
        &results as &[Option<serde_json::Value>],
        now,
        now + retention,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// How an attempt that did not succeed leaves the row.
#[derive(Clone, Debug)]
pub enum Setback<'a> {
    /// Try again at `run_at`.
    Retry {
        /// When.
        run_at: DateTime<Utc>,
        /// What went wrong.
        error: &'a str,
    },
    /// Nothing went wrong: it is not its turn. Costs no attempt.
    Wait {
        /// When to look again, at the latest.
        run_at: DateTime<Utc>,
        /// Why, for people.
        reason: &'a str,
    },
    /// Give up: rest among the dead.
    Dead {
        /// What went wrong.
        error: &'a str,
    },
    /// Give the job back untouched: this worker stops.
    Release,
}

/// Records `setback`; `false`: the lease was lost.
pub async fn set_back(
    conn: &mut PgConnection,
    job: &ClaimedJob,
    setback: &Setback<'_>,
    retention: Duration,
    now: DateTime<Utc>,
) -> Result<bool> {
    let (state, run_at, error, reason, extra_attempts) = match setback {
        Setback::Retry { run_at, error } => {
            (super::JobState::Failed, *run_at, Some(*error), None, 0)
        }
        Setback::Wait { run_at, reason } => {
            (super::JobState::Queued, *run_at, None, Some(*reason), 1)
        }
        Setback::Dead { error } => (super::JobState::Dead, job.run_at, Some(*error), None, 0),
        Setback::Release => (
            super::JobState::Queued,
            now,
            None,
            Some("its worker stopped"),
            1,
        ),
    };
    let ended = (state == super::JobState::Dead).then_some(now);
    let result = sqlx::query!(
        r#"
        UPDATE jobs
        SET state = $3, run_at = $4, dispatch_at = $4, last_error = coalesce($5, last_error), wait_reason = $6,
            max_attempts = max_attempts + $7, lease_until = NULL, finished_at = $8, expires_at = $9
        WHERE id = $1 AND attempt = $2 AND state = 'running'
        "#,
        job.id as _,
        job.attempt,
        state as _,
        run_at,
        error,
        reason,
        extra_attempts,
        ended,
        // The dead wait for a person far longer than the others are kept.
        ended.map(|at| at + retention * 4),
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}
