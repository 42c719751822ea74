//! The dead letters: grouped by what killed them, tried again or discarded in batches. As the platform.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::selection::{Lane, Selection};
use crate::domain::JobId;
use crate::error::Result;
use crate::queue::QueueName;
use crate::queue::kinds::KINDS;

/// Dead jobs of one queue and kind that one error killed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DeadGroup {
    /// Names the error, in any queue and kind.
    pub fingerprint: String,
    /// Where they waited.
    pub queue: String,
    /// What kind.
    pub kind: String,
    /// How many.
    pub jobs: i64,
    /// Of how many businesses; the platform is none.
    pub businesses: i64,
    /// When the first died.
    pub first_at: Option<DateTime<Utc>>,
    /// When the last died.
    pub last_at: Option<DateTime<Utc>>,
    /// The error, without what differs from job to job.
    pub error: String,
    /// The one that died last.
    pub example: JobId,
}

/// The groups of the dead jobs of `selection`, the largest first.
pub async fn list_groups(
    conn: &mut PgConnection,
    selection: &Selection,
    limit: i64,
) -> Result<Vec<DeadGroup>> {
    let rows = sqlx::query_as!(
        DeadGroup,
        r#"
        WITH grouped AS (
            SELECT queue, kind, error_fingerprint, count(*) AS jobs, min(finished_at) AS first_at, max(finished_at) AS last_at,
                count(DISTINCT lane) FILTER (WHERE lane <> $5) AS businesses
            FROM jobs
            WHERE state = 'dead' AND ($1::text IS NULL OR queue = $1) AND ($2::text IS NULL OR kind = $2)
                AND ($3::uuid IS NULL OR lane = $3) AND ($4::text IS NULL OR error_fingerprint = $4)
            GROUP BY queue, kind, error_fingerprint
            ORDER BY jobs DESC, last_at DESC LIMIT $6
        )
        SELECT grouped.error_fingerprint AS "fingerprint!", grouped.queue, grouped.kind, jobs AS "jobs!",
            businesses AS "businesses!", first_at, last_at, error_pattern(coalesce(example.last_error, '')) AS "error!",
            example.id AS "example: _"
        FROM grouped
        CROSS JOIN LATERAL (
            SELECT id, last_error FROM jobs
            WHERE state = 'dead' AND queue = grouped.queue AND kind = grouped.kind
                AND error_fingerprint = grouped.error_fingerprint AND ($3::uuid IS NULL OR lane = $3)
            ORDER BY finished_at DESC LIMIT 1
        ) AS example
        ORDER BY jobs DESC, last_at DESC
        "#,
        selection.queue.map(QueueName::as_str),
        selection.kind,
        selection.lane.map(|lane| lane.0),
        selection.fingerprint,
        Lane::PLATFORM.0,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The dead jobs of `selection`, in the order they died.
pub async fn list_ids(
    conn: &mut PgConnection,
    selection: &Selection,
    limit: i64,
) -> Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar!(
        r#"
        SELECT id FROM jobs
        WHERE state = 'dead' AND ($1::text IS NULL OR queue = $1) AND ($2::text IS NULL OR kind = $2)
            AND ($3::uuid IS NULL OR lane = $3) AND ($4::text IS NULL OR error_fingerprint = $4)
        ORDER BY finished_at, id LIMIT $5
        "#,
        selection.queue.map(QueueName::as_str),
        selection.kind,
        selection.lane.map(|lane| lane.0),
        selection.fingerprint,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids)
}

/// A job that a person has steered.
#[derive(Clone, Debug)]
pub struct Steered {
    /// Which.
    pub id: Uuid,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Who waits for its end.
    pub reply_to: Option<String>,
}

/// Attempts of a kind this version does not know.
const ATTEMPTS_OF_UNKNOWN: i32 = 8;

/// How dead jobs begin again.
#[derive(Clone, Copy, Debug)]
pub struct Revival<'a> {
    /// Attempts each gets; `None`: as many as its kind has.
    pub attempts: Option<i32>,
    /// When the first is due, from now.
    pub after: Duration,
    /// How long after it the next is due, and so on.
    pub apart: Duration,
    /// What the person says.
    pub note: Option<&'a str>,
}

/// Gives those of `ids` that are dead their attempts again, due one after the other in the order of `ids`.
pub async fn revive(
    conn: &mut PgConnection,
    ids: &[Uuid],
    revival: Revival<'_>,
) -> Result<Vec<Steered>> {
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let attempts: Vec<i32> = KINDS.iter().map(|kind| kind.max_attempts).collect();
    let rows = sqlx::query_as!(
        Steered,
        r#"
        UPDATE jobs
        SET state = 'queued', max_attempts = attempt + coalesce($2, picked.attempts, $3), run_at = picked.due_at,
            dispatch_at = picked.due_at, wait_reason = 'tried again by hand', note = $4, finished_at = NULL, expires_at = NULL
        FROM (
            SELECT jobs.id, known.attempts,
                statement_timestamp() + $5::interval + (wanted.place - 1) * $6::interval AS due_at
            FROM jobs
            JOIN unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, place) ON wanted.id = jobs.id
            LEFT JOIN unnest($7::text[], $8::integer[]) AS known (kind, attempts) ON known.kind = jobs.kind
            WHERE jobs.state = 'dead'
            -- Everybody locks in the same order.
            ORDER BY jobs.id FOR UPDATE OF jobs
        ) AS picked
        WHERE jobs.id = picked.id
        RETURNING jobs.id, queue, kind, reply_to
        "#,
        ids,
        revival.attempts,
        ATTEMPTS_OF_UNKNOWN,
        revival.note,
        revival.after as _,
        revival.apart as _,
        &kinds as &[&str],
        &attempts,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Calls off those of `ids` that are dead or wait; what they died of stays, beside what the person says.
pub async fn discard(
    conn: &mut PgConnection,
    ids: &[Uuid],
    note: Option<&str>,
    retention: Duration,
) -> Result<Vec<Steered>> {
    let rows = sqlx::query_as!(
        Steered,
        r#"
        UPDATE jobs
        SET state = 'cancelled', note = $2, wait_reason = NULL, finished_at = statement_timestamp(),
            expires_at = statement_timestamp() + $3::interval
        WHERE id IN (
            SELECT id FROM jobs WHERE id = ANY($1) AND state IN ('queued', 'failed', 'dead') ORDER BY id FOR UPDATE
        )
        RETURNING id, queue, kind, reply_to
        "#,
        ids,
        note,
        retention as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
