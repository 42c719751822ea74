//! Running jobs: claim, renew, end. Every end is guarded by the attempt, the fencing token: one that lost its lease changes nothing.
//!
//! Leases and due times are set and read by one clock, the database's: those of two machines may differ by more than a
//! lease. A holder counts by its own stopwatch from before it asked, so that it never believes in its lease longer than the
//! database does.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::JobState;
use crate::domain::{BusinessId, JobId};
use crate::error::Result;
use crate::faults::{self, Mutant};
use crate::queue::LEASE;

/// A job this process may run: the claim.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    /// Which.
    pub id: JobId,
    /// What kind.
    pub kind: String,
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
    /// When it was to run.
    pub run_at: DateTime<Utc>,
    /// When this attempt began.
    pub started_at: DateTime<Utc>,
    /// When the claim was sent, by this process's stopwatch: the lease holds for [`LEASE`] from then, unless it is renewed.
    pub asked_at: Instant,
}

/// Claims those of `ids` that wait and are due, for `worker`. The others run elsewhere, ended, are not due, or their
/// queue is paused: leave them.
pub async fn claim(conn: &mut PgConnection, ids: &[Uuid], worker: &str) -> Result<Vec<ClaimedJob>> {
    let asked_at = Instant::now();
    let lease = if faults::planted(Mutant::LongLease) {
        Duration::from_mins(10)
    } else {
        LEASE
    };
    let rows = sqlx::query!(
        r#"
        UPDATE jobs
        SET state = 'running', attempt = attempt + 1, worker = $2, lease_until = statement_timestamp() + $3::interval,
            started_at = statement_timestamp(), wait_reason = NULL
        WHERE id IN (
            SELECT id FROM jobs
            WHERE id = ANY($1) AND state::text IN ('queued', 'failed') AND run_at <= statement_timestamp()
                AND NOT EXISTS (SELECT FROM queue_pauses WHERE queue_pauses.queue = jobs.queue)
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id AS "id: JobId", kind, business_id AS "business_id: BusinessId", args, attempt, max_attempts, reply_to,
            request_id, traceparent, run_at, started_at AS "started_at!"
        "#,
        ids,
        worker,
        lease as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ClaimedJob {
            id: row.id,
            kind: row.kind,
            business_id: row.business_id,
            args: row.args,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            reply_to: row.reply_to,
            request_id: row.request_id,
            traceparent: row.traceparent,
            run_at: row.run_at,
            started_at: row.started_at,
            asked_at,
        })
        .collect())
}

/// Makes a job that was just inserted in this transaction `worker`'s own, to be run right after the commit.
pub async fn claim_inserted(
    conn: &mut PgConnection,
    id: JobId,
    worker: &str,
) -> Result<Option<ClaimedJob>> {
    Ok(claim(conn, &[id.0], worker).await?.pop())
}

/// Holds the leases of `jobs` (id, attempt) for another [`LEASE`]; returns those that are still `worker`'s.
///
/// A row that somebody has locked is left for the next time: waiting for it would cost all the others their leases.
pub async fn renew(
    conn: &mut PgConnection,
    jobs: &[(Uuid, i32)],
    worker: &str,
) -> Result<Vec<Uuid>> {
    let (ids, attempts): (Vec<Uuid>, Vec<i32>) = jobs.iter().copied().unzip();
    sqlx::query!(
        r#"
        UPDATE jobs SET lease_until = statement_timestamp() + $4::interval WHERE id IN (
            SELECT jobs.id FROM jobs
            JOIN unnest($1::uuid[], $2::integer[]) AS held (id, attempt)
                ON jobs.id = held.id AND jobs.attempt = held.attempt
            WHERE jobs.worker = $3 AND jobs.state::text = 'running'
            FOR UPDATE OF jobs SKIP LOCKED
        )
        "#,
        &ids,
        &attempts,
        worker,
        LEASE as _,
    )
    .execute(&mut *conn)
    .await?;
    let rows = sqlx::query_scalar!(
        r#"
        SELECT jobs.id FROM jobs
        JOIN unnest($1::uuid[], $2::integer[]) AS held (id, attempt) ON jobs.id = held.id AND jobs.attempt = held.attempt
        WHERE jobs.worker = $3 AND jobs.state::text = 'running'
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
    if faults::planted(Mutant::NoFence) {
        return Ok(true);
    }
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
) -> Result<bool> {
    let ended = succeed_many(conn, &[(job.id.0, job.attempt, result.cloned())], retention).await?;
    Ok(!ended.is_empty())
}

/// Ends jobs without effects of their own; returns those whose lease held. Each: id, attempt, result.
pub async fn succeed_many(
    conn: &mut PgConnection,
    jobs: &[(Uuid, i32, Option<serde_json::Value>)],
    retention: Duration,
) -> Result<Vec<Uuid>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let attempts: Vec<i32> = jobs.iter().map(|job| job.1).collect();
    let results: Vec<Option<serde_json::Value>> = jobs.iter().map(|job| job.2.clone()).collect();
    let rows = sqlx::query_scalar!(
        r#"
        UPDATE jobs
        SET state = 'succeeded', result = ended.result, lease_until = NULL, finished_at = statement_timestamp(),
            expires_at = statement_timestamp() + $4::interval
        FROM (
            SELECT * FROM unnest($1::uuid[], $2::integer[], $3::jsonb[]) AS ended (id, attempt, result)
            -- Everybody locks in the same order.
            ORDER BY id
        ) AS ended
        WHERE jobs.id = ended.id AND jobs.attempt = ended.attempt AND jobs.state::text = 'running'
        RETURNING jobs.id
        "#,
        &ids,
        &attempts,
        &results as &[Option<serde_json::Value>],
        retention as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// How an attempt that did not succeed leaves the row.
#[derive(Clone, Debug)]
pub enum Setback<'a> {
    /// Try again.
    Retry {
        /// After how long.
        rest: Duration,
        /// What went wrong.
        error: &'a str,
    },
    /// Nothing went wrong: it is not its turn. Costs no attempt.
    Wait {
        /// When to look again, at the latest.
        rest: Duration,
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
) -> Result<bool> {
    let (state, rest, error, reason, extra_attempts) = match setback {
        Setback::Retry { rest, error } => (JobState::Failed, Some(*rest), Some(*error), None, 0),
        Setback::Wait { rest, reason } => (JobState::Queued, Some(*rest), None, Some(*reason), 1),
        Setback::Dead { error } => (JobState::Dead, None, Some(*error), None, 0),
        Setback::Release => (
            JobState::Queued,
            Some(Duration::ZERO),
            None,
            Some("its worker stopped"),
            1,
        ),
    };
    let error = error.filter(|_| !faults::planted(Mutant::NoReason));
    // The dead wait for a person far longer than the others are kept.
    let kept = (state == JobState::Dead).then_some(retention * 4);
    let result = sqlx::query!(
        r#"
        UPDATE jobs
        SET state = $3, run_at = coalesce(statement_timestamp() + $4::interval, run_at),
            dispatch_at = coalesce(statement_timestamp() + $4::interval, dispatch_at),
            last_error = coalesce($5, last_error), wait_reason = $6, max_attempts = max_attempts + $7, lease_until = NULL,
            finished_at = CASE WHEN $8::interval IS NOT NULL THEN statement_timestamp() END,
            expires_at = statement_timestamp() + $8::interval
        WHERE id = $1 AND attempt = $2 AND state = 'running'
        "#,
        job.id as _,
        job.attempt,
        state as _,
        rest.map(micros) as _,
        error,
        reason,
        extra_attempts,
        kept as _,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Cut to the microseconds an interval has.
fn micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
