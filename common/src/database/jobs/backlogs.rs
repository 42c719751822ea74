//! How it all stands: what waits, for how long and whose it is, what runs, what is dead. As the platform.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::selection::Lane;
use crate::error::Result;

/// How a queue stands: the first thing to look at, and what autoscaling follows.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// Its name.
    pub queue: String,
    /// Due jobs that wait, counted up to [`COUNTED`].
    pub depth: i64,
    /// Jobs that are not due yet, counted up to [`COUNTED`].
    pub later: i64,
    /// Jobs that run.
    pub running: i64,
    /// How long the oldest due job has waited; zero: none does.
    pub age: TimeDelta,
    /// How long the longest attempt has run; zero: none does.
    pub longest: TimeDelta,
    /// How long ago the first lease ran out that nobody has freed; zero: none has.
    pub lease_overdue: TimeDelta,
    /// Why a person paused it; `None`: it is not paused.
    pub paused: Option<String>,
    /// Since when it is paused.
    pub paused_at: Option<DateTime<Utc>>,
}

/// Where counting stops: beyond it the exact figure changes no decision and costs a scan.
pub const COUNTED: i64 = 100_000;

/// How each of `queues` stands, in their order.
pub async fn list(conn: &mut PgConnection, queues: &[String]) -> Result<Vec<Backlog>> {
    let rows = sqlx::query!(
        r#"
        SELECT queue.queue AS "queue!", due.depth AS "depth!", later.depth AS "later!", busy.running AS "running!",
            oldest.run_at AS "oldest?", busy.started_at, busy.lease_until,
            queue_pauses.reason AS "paused?", queue_pauses.paused_at AS "paused_at?", statement_timestamp() AS "now!"
        FROM unnest($1::text[]) WITH ORDINALITY AS queue (queue, place)
        CROSS JOIN LATERAL (
            SELECT count(*) AS depth FROM (
                SELECT FROM jobs
                WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed') AND run_at <= statement_timestamp()
                LIMIT $2
            ) AS counted
        ) AS due
        CROSS JOIN LATERAL (
            SELECT count(*) AS depth FROM (
                SELECT FROM jobs
                WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed') AND run_at > statement_timestamp()
                LIMIT $2
            ) AS counted
        ) AS later
        CROSS JOIN LATERAL (
            SELECT count(*) AS running, min(started_at) AS started_at, min(lease_until) AS lease_until
            FROM jobs WHERE jobs.queue = queue.queue AND state = 'running'
        ) AS busy
        LEFT JOIN LATERAL (
            SELECT run_at FROM jobs
            WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed') AND run_at <= statement_timestamp()
            ORDER BY run_at LIMIT 1
        ) AS oldest ON true
        LEFT JOIN queue_pauses ON queue_pauses.queue = queue.queue
        ORDER BY queue.place
        "#,
        queues,
        COUNTED,
    )
    .fetch_all(conn)
    .await?;
    let since = |now: DateTime<Utc>, then: Option<DateTime<Utc>>| {
        then.map_or(TimeDelta::zero(), |then| {
            (now - then).max(TimeDelta::zero())
        })
    };
    Ok(rows
        .into_iter()
        .map(|row| Backlog {
            queue: row.queue,
            depth: row.depth,
            later: row.later,
            running: row.running,
            age: since(row.now, row.oldest),
            longest: since(row.now, row.started_at),
            lease_overdue: since(row.now, row.lease_until),
            paused: row.paused,
            paused_at: row.paused_at,
        })
        .collect())
}

/// The dead jobs of each of `queues`, counted up to [`COUNTED`]: less often than the rest, for many of them cost a scan.
pub async fn count_dead(
    conn: &mut PgConnection,
    queues: &[String],
) -> Result<HashMap<String, i64>> {
    let rows = sqlx::query!(
        r#"
        SELECT queue AS "queue!", dead.depth AS "depth!"
        FROM unnest($1::text[]) AS queue
        CROSS JOIN LATERAL (
            SELECT count(*) AS depth FROM (
                SELECT FROM jobs WHERE jobs.queue = queue.queue AND state = 'dead' LIMIT $2
            ) AS counted
        ) AS dead
        "#,
        queues,
        COUNTED,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.queue, row.depth)).collect())
}

/// The backlog of one business in one queue.
#[derive(Clone, Debug)]
pub struct BusinessBacklog {
    /// Where they wait.
    pub queue: String,
    /// Whose they are.
    pub lane: Lane,
    /// Due jobs that wait, among the [`LOOKED_AT`] of the queue that wait longest.
    pub depth: i64,
    /// How long the oldest of them has waited.
    pub age: TimeDelta,
}

/// Jobs of a queue that are looked at for whose they are: enough to find who waits longest, and no scan of a flood.
pub const LOOKED_AT: i64 = 10_000;

/// The `limit` backlogs whose oldest job has waited longest, by business and queue.
pub async fn list_oldest_businesses(
    conn: &mut PgConnection,
    queues: &[String],
    limit: i64,
) -> Result<Vec<BusinessBacklog>> {
    let rows = sqlx::query!(
        r#"
        SELECT queue.queue AS "queue!", waiting.lane AS "lane!: Uuid", count(*) AS "depth!",
            statement_timestamp() - min(waiting.run_at) AS "age!"
        FROM unnest($1::text[]) AS queue
        CROSS JOIN LATERAL (
            SELECT lane, run_at FROM jobs
            WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed') AND run_at <= statement_timestamp()
            ORDER BY run_at LIMIT $2
        ) AS waiting
        GROUP BY queue.queue, waiting.lane
        ORDER BY min(waiting.run_at) LIMIT $3
        "#,
        queues,
        LOOKED_AT,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| BusinessBacklog {
            queue: row.queue,
            lane: Lane(row.lane),
            depth: row.depth,
            // A difference of two times: days count 24 hours, and it has no months.
            age: TimeDelta::microseconds(row.age.microseconds)
                + TimeDelta::days(row.age.days.into()),
        })
        .collect())
}

/// Running jobs by worker process.
pub async fn count_running_by_worker(conn: &mut PgConnection) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"
        SELECT coalesce(worker, '') AS "worker!", count(*) AS "running!"
        FROM jobs WHERE state = 'running' GROUP BY 1
        "#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.worker, row.running))
        .collect())
}
