//! Choosing what Redis is told to do next: fairly across businesses, a bounded batch at a time. As the platform.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Result;
use crate::queue::{QueueName, REDISPATCH_AFTER};

/// Which lanes of a queue to look at, and how far.
#[derive(Clone, Debug)]
pub struct Look {
    /// Which queue.
    pub queue: QueueName,
    /// Only lanes behind this one; [`Uuid::nil`]: from the first.
    pub after_lane: Uuid,
    /// Lanes, at most.
    pub lanes: i32,
    /// Jobs there is room for.
    pub room: i64,
    /// Lanes of which more than an equal share of the room is wanted, and how many.
    pub wanted: (Vec<Uuid>, Vec<i64>),
}

/// A lane with waiting jobs.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Its business, or the last of all ids for the platform.
    pub id: Uuid,
    /// Its share, relative to others.
    pub weight: i16,
    /// Its jobs that run.
    pub running: i64,
    /// Its first due jobs; fewer than there are where [`Self::is_cut`].
    pub due: Vec<Uuid>,
    /// Whether more may be due.
    pub is_cut: bool,
}

/// The next lanes of a queue, in order of id, each with its first due jobs.
///
/// The lanes are found by skipping along the index, so a backlog of a million in one lane costs no more than one job.
pub async fn list_due(conn: &mut PgConnection, look: Look) -> Result<Vec<Lane>> {
    let rows = sqlx::query!(
        r#"
        WITH RECURSIVE lanes (lane, n) AS (
            (
                SELECT lane, 1 FROM jobs
                WHERE queue = $1 AND state IN ('queued', 'failed') AND lane > $2
                ORDER BY lane LIMIT 1
            )
            UNION ALL
            SELECT next.lane, lanes.n + 1
            FROM lanes, LATERAL (
                SELECT lane FROM jobs
                WHERE queue = $1 AND state IN ('queued', 'failed') AND lane > lanes.lane
                ORDER BY lane LIMIT 1
            ) AS next
            WHERE lanes.n < $3
        )
        SELECT lanes.lane AS "id!", share.weight AS "weight!", busy.running AS "running!", due.ids AS "due!", part.jobs AS "part!"
        FROM lanes
        CROSS JOIN (SELECT count(*) AS lanes FROM lanes) AS seen
        LEFT JOIN businesses ON businesses.id = lanes.lane
        CROSS JOIN LATERAL (SELECT coalesce(businesses.dispatch_weight, 1::smallint) AS weight) AS share
        CROSS JOIN LATERAL (
            SELECT count(*) AS running FROM jobs WHERE queue = $1 AND lane = lanes.lane AND state = 'running'
        ) AS busy
        CROSS JOIN LATERAL (
            SELECT least($4, greatest(
                $5, share.weight * ceil($4::bigint / seen.lanes::float8)::bigint,
                (SELECT wanted.jobs FROM unnest($6::uuid[], $7::bigint[]) AS wanted (lane, jobs) WHERE wanted.lane = lanes.lane)
            )) AS jobs
        ) AS part
        CROSS JOIN LATERAL (
            SELECT array(
                SELECT id FROM jobs
                WHERE queue = $1 AND lane = lanes.lane AND state IN ('queued', 'failed')
                    AND run_at <= statement_timestamp() AND dispatch_at <= statement_timestamp()
                ORDER BY priority, run_at, id
                LIMIT part.jobs
            ) AS ids
        ) AS due
        ORDER BY lanes.lane
        "#,
        look.queue.as_str(),
        look.after_lane,
        look.lanes,
        look.room,
        LEAST_OF_A_LANE,
        &look.wanted.0,
        &look.wanted.1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Lane {
            id: row.id,
            weight: row.weight,
            running: row.running,
            is_cut: i64::try_from(row.due.len()).is_ok_and(|due| due == row.part),
            due: row.due,
        })
        .collect())
}

/// Jobs of a lane looked at even where many share the room.
const LEAST_OF_A_LANE: i64 = 2;

/// Marks jobs as offered, for [`REDISPATCH_AFTER`]; answers those that were still waiting and due, and that nobody else is
/// marking.
pub async fn mark_offered(conn: &mut PgConnection, ids: &[Uuid]) -> Result<HashSet<Uuid>> {
    let rows = sqlx::query_scalar!(
        r#"
        UPDATE jobs SET dispatch_at = statement_timestamp() + $2::interval
        WHERE id IN (
            SELECT id FROM jobs
            WHERE id = ANY($1) AND state::text IN ('queued', 'failed') AND dispatch_at <= statement_timestamp()
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id
        "#,
        ids,
        REDISPATCH_AFTER as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().collect())
}

/// A queue with waiting jobs.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its name.
    pub queue: String,
    /// Whether a job is due, be it on its way to a worker already.
    pub is_due: bool,
    /// Its jobs that run.
    pub running: i64,
    /// In how many seconds the next of the others is; `None`: there are no others.
    pub next_in: Option<f64>,
}

/// The queues that have waiting jobs and are not paused, with the time of their next. Two probes of an index a queue.
pub async fn list_waiting(conn: &mut PgConnection, queues: &[String]) -> Result<Vec<Waiting>> {
    let rows = sqlx::query_as!(
        Waiting,
        r#"
        SELECT queue AS "queue!", first.is_due AS "is_due!",
            (SELECT count(*) FROM jobs WHERE jobs.queue = queue.queue AND state = 'running') AS "running!",
            (
                SELECT extract(epoch FROM run_at - statement_timestamp())::float8 FROM jobs
                WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed') AND run_at > statement_timestamp()
                ORDER BY run_at LIMIT 1
            ) AS next_in
        FROM unnest($1::text[]) AS queue
        CROSS JOIN LATERAL (
            SELECT run_at <= statement_timestamp() AS is_due FROM jobs
            WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed')
            ORDER BY run_at LIMIT 1
        ) AS first
        WHERE NOT EXISTS (SELECT FROM queue_pauses WHERE queue_pauses.queue = queue.queue)
        "#,
        queues,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A job whose worker stopped answering.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// Which.
    pub id: Uuid,
    /// What kind.
    pub kind: String,
}

/// Frees the jobs whose lease ran out, to be tried again at once.
///
/// One that had its last attempt is freed too: the worker that claims it sees so, and gives it up with what its kind does
/// at the end.
pub async fn reap(conn: &mut PgConnection, limit: i64) -> Result<Vec<Orphan>> {
    let rows = sqlx::query_as!(
        Orphan,
        r#"
        UPDATE jobs
        SET state = 'failed', last_error = 'its worker stopped answering', lease_until = NULL,
            run_at = least(run_at, statement_timestamp()), dispatch_at = statement_timestamp()
        WHERE id IN (
            SELECT id FROM jobs WHERE state = 'running' AND lease_until < statement_timestamp()
            ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        RETURNING id, kind
        "#,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Deletes ended jobs past their time; returns how many, at most `limit`.
pub async fn delete_expired(
    conn: &mut PgConnection,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<u64> {
    let result = sqlx::query!(
        r#"
        DELETE FROM jobs WHERE id IN (
            SELECT id FROM jobs WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        "#,
        now,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
