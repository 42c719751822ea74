//! Choosing what Redis is told to do next: fairly across businesses, a bounded batch at a time. As the platform.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Result;
use crate::queue::{QueueName, REDISPATCH_AFTER};

/// One fair round over the lanes of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Which queue.
    pub queue: QueueName,
    /// The last lane the round before served: this one begins behind it.
    pub after_lane: Uuid,
    /// Lanes looked at, at most.
    pub lanes: i32,
    /// Jobs taken, at most.
    pub jobs: i64,
    /// Jobs of one lane that may run at once.
    pub lane_cap: i64,
}

/// What a round took.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The jobs, interleaved: the first of every lane, as many as its weight, then the next of every lane, and so on.
    pub jobs: Vec<Uuid>,
    /// Where the next round begins; [`Uuid::nil`]: from the start.
    pub after_lane: Uuid,
}

/// Takes a round: at most a lane's weight of due jobs each, and marks them as offered.
///
/// The lanes are found by skipping along the index, so a backlog of a million in one lane costs no more than one job.
pub async fn take_round(
    conn: &mut PgConnection,
    round: Round,
    now: DateTime<Utc>,
) -> Result<Taken> {
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
        ),
        seen AS (SELECT max(n) AS lanes, (array_agg(lane ORDER BY n DESC))[1] AS last FROM lanes),
        picked AS MATERIALIZED (
            SELECT due.id, lanes.lane, (due.rank - 1) / share.weight AS turn, lanes.n
            FROM lanes
            CROSS JOIN seen
            LEFT JOIN businesses ON businesses.id = lanes.lane
            CROSS JOIN LATERAL (SELECT coalesce(businesses.dispatch_weight, 1) AS weight) AS share
            CROSS JOIN LATERAL (
                SELECT count(*) AS running FROM jobs WHERE queue = $1 AND lane = lanes.lane AND state = 'running'
            ) AS busy
            CROSS JOIN LATERAL (
                SELECT waiting.id, row_number() OVER () AS rank
                FROM (
                    SELECT id FROM jobs
                    WHERE queue = $1 AND lane = lanes.lane AND state IN ('queued', 'failed') AND dispatch_at <= $6
                    ORDER BY priority, dispatch_at, id
                    LIMIT greatest(0, least(share.weight * ceil($4::bigint / seen.lanes::float8)::bigint, $5 - busy.running))
                    FOR UPDATE SKIP LOCKED
                ) AS waiting
            ) AS due
            ORDER BY turn, lanes.n
            LIMIT $4
        ),
        marked AS (
            UPDATE jobs SET dispatch_at = $7 FROM picked WHERE jobs.id = picked.id
            RETURNING jobs.id
        )
        SELECT picked.id AS "id?", picked.lane AS "lane?", seen.lanes, seen.last
        FROM seen
        LEFT JOIN (picked JOIN marked ON marked.id = picked.id) ON true
        ORDER BY picked.turn, picked.n
        "#,
        round.queue.as_str(),
        round.after_lane,
        round.lanes,
        round.jobs,
        round.lane_cap,
        now,
        now + REDISPATCH_AFTER,
    )
    .fetch_all(conn)
    .await?;

    let jobs: Vec<Uuid> = rows.iter().filter_map(|row| row.id).collect();
    let room_left = i64::try_from(jobs.len()).is_ok_and(|taken| taken < round.jobs);
    let seen_all = rows
        .first()
        .and_then(|row| row.lanes)
        .is_none_or(|lanes| lanes < round.lanes);
    let after_lane = if !room_left {
        // The lanes behind the last one served come next.
        rows.iter().filter_map(|row| row.lane).max()
    } else if seen_all {
        None
    } else {
        rows.first().and_then(|row| row.last)
    };
    Ok(Taken {
        jobs,
        after_lane: after_lane.unwrap_or_default(),
    })
}

/// A queue with waiting jobs.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its name.
    pub queue: String,
    /// When its first job may be offered; past: it is due.
    pub next_at: DateTime<Utc>,
}

/// The queues that have waiting jobs and are not paused, with the time of their next. One probe of an index a queue.
pub async fn list_waiting(conn: &mut PgConnection, queues: &[String]) -> Result<Vec<Waiting>> {
    let rows = sqlx::query_as!(
        Waiting,
        r#"
        SELECT queue AS "queue!", next.dispatch_at AS "next_at!"
        FROM unnest($1::text[]) AS queue
        CROSS JOIN LATERAL (
            SELECT dispatch_at FROM jobs
            WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed')
            ORDER BY dispatch_at LIMIT 1
        ) AS next
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
pub async fn reap(conn: &mut PgConnection, limit: i64, now: DateTime<Utc>) -> Result<Vec<Orphan>> {
    let rows = sqlx::query_as!(
        Orphan,
        r#"
        UPDATE jobs
        SET state = 'failed', last_error = 'its worker stopped answering', lease_until = NULL, run_at = least(run_at, $1),
            dispatch_at = $1
        WHERE id IN (
            SELECT id FROM jobs WHERE state = 'running' AND lease_until < $1
            ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING id, kind
        "#,
        now,
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

/// How a queue stands: the first thing to look at, and what autoscaling follows.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// Its name.
    pub queue: String,
    /// Due jobs that wait, counted up to [`BACKLOG_COUNTED`].
    pub depth: i64,
    /// Jobs that run.
    pub running: i64,
    /// How long the oldest due job has waited; zero: none does.
    pub age: TimeDelta,
}

/// Where counting a backlog stops: beyond it the exact figure changes no decision and costs a scan.
pub const BACKLOG_COUNTED: i64 = 100_000;

/// How every queue stands.
pub async fn backlogs(
    conn: &mut PgConnection,
    queues: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<Backlog>> {
    let rows = sqlx::query!(
        r#"
        SELECT queue AS "queue!", due.depth AS "depth!", busy.running AS "running!", oldest.run_at AS "oldest?"
        FROM unnest($1::text[]) AS queue
        CROSS JOIN LATERAL (
            SELECT count(*) AS depth FROM (
                SELECT FROM jobs
                WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed') AND run_at <= $2
                LIMIT $3
            ) AS counted
        ) AS due
        CROSS JOIN LATERAL (
            SELECT count(*) AS running FROM jobs WHERE jobs.queue = queue.queue AND state = 'running'
        ) AS busy
        LEFT JOIN LATERAL (
            SELECT run_at FROM jobs
            WHERE jobs.queue = queue.queue AND state IN ('queued', 'failed') AND run_at <= $2
            ORDER BY dispatch_at LIMIT 1
        ) AS oldest ON true
        "#,
        queues,
        now,
        BACKLOG_COUNTED,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Backlog {
            queue: row.queue,
            depth: row.depth,
            running: row.running,
            age: row.oldest.map_or(TimeDelta::zero(), |oldest| {
                (now - oldest).max(TimeDelta::zero())
            }),
        })
        .collect())
}
