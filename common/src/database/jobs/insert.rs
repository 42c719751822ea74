//! Inserting jobs: one in the caller's transaction, or many from many requests in one commit.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::JobId;
use crate::error::Result;
use crate::queue::NewJob;

/// Inserts one job; `false` where a kept job already has its key.
pub async fn insert(conn: &mut PgConnection, job: &NewJob, now: DateTime<Utc>) -> Result<bool> {
    let result = sqlx::query!(
        r#"
        INSERT INTO jobs (
            id, queue, kind, business_id, args, key, key_expires_at, group_key, run_at, dispatch_at, max_attempts,
            reply_to, request_id, traceparent, created_at
        )
        VALUES (
            $1, $2, $3, $4, $5, $6, $7, $8, statement_timestamp() + $9::interval, statement_timestamp() + $10::interval, $11,
            $12, $13, $14, $15
        )
        ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING
        "#,
        job.id as _,
        job.queue.as_str(),
        job.kind,
        job.business_id as _,
        job.args,
        job.key,
        job.key_expires_at,
        job.group_key,
        job.rest(now) as _,
        job.dispatch_rest(now) as _,
        job.max_attempts,
        job.reply_to,
        job.request_id,
        job.traceparent,
        now,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// What became of a job offered to [`insert_many`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It has a row now.
    New(JobId),
    /// A kept job has its key: it is this one.
    Repeat(JobId),
}

impl Accepted {
    /// The job that stands for the request.
    pub fn job_id(self) -> JobId {
        match self {
            Self::New(id) | Self::Repeat(id) => id,
        }
    }
}

/// Inserts jobs of any businesses in one statement; the answers are in the order of `jobs`. As the platform.
///
/// Offering the same job (the same id) again is a [`Accepted::Repeat`] too.
pub async fn insert_many<J: Borrow<NewJob> + Sync>(
    conn: &mut PgConnection,
    jobs: &[J],
    now: DateTime<Utc>,
) -> Result<Vec<Accepted>> {
    // Borrowed to the end: at a thousand jobs a second a copy of each argument is felt.
    let jobs: Vec<&NewJob> = jobs.iter().map(Borrow::borrow).collect();
    let jobs = jobs.as_slice();
    release_expired_keys(conn, jobs, now).await?;
    let rows = insert_rows(conn, jobs, now).await?;
    let inserted: std::collections::HashSet<Uuid> = rows.into_iter().collect();

    let missing: Vec<&NewJob> = jobs
        .iter()
        .copied()
        .filter(|job| !inserted.contains(&job.id.0))
        .collect();
    let holders = if missing.is_empty() {
        HashMap::new()
    } else {
        key_holders(conn, &missing).await?
    };
    Ok(jobs
        .iter()
        .map(|job| {
            if inserted.contains(&job.id.0) {
                Accepted::New(job.id)
            } else {
                let holder = job.key.as_ref().and_then(|key| holders.get(key)).copied();
                Accepted::Repeat(holder.map_or(job.id, JobId))
            }
        })
        .collect())
}

async fn release_expired_keys(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    now: DateTime<Utc>,
) -> Result<()> {
    let keys: Vec<String> = jobs
        .iter()
        .filter(|job| job.key_expires_at.is_some())
        .filter_map(|job| job.key.clone())
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE jobs SET key = NULL WHERE key = ANY($1) AND key_expires_at <= $2",
        &keys,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_rows(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    macro_rules! column {
        ($of:expr) => {
            jobs.iter().map($of).collect::<Vec<_>>()
        };
    }
    let rows = sqlx::query_scalar!(
        r#"
        INSERT INTO jobs (
            id, queue, kind, business_id, args, key, key_expires_at, group_key, run_at, dispatch_at, max_attempts,
            reply_to, request_id, traceparent, created_at
        )
        SELECT
            id, queue, kind, business_id, args, key, key_expires_at, group_key, statement_timestamp() + rest,
            statement_timestamp() + dispatch_rest, max_attempts, reply_to, request_id, traceparent, $15::timestamptz
        FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::jsonb[], $6::text[], $7::timestamptz[], $8::text[],
            $9::interval[], $10::interval[], $11::integer[], $12::text[], $13::text[], $14::text[]
        ) AS job (
            id, queue, kind, business_id, args, key, key_expires_at, group_key, rest, dispatch_rest, max_attempts, reply_to,
            request_id, traceparent
        )
        ON CONFLICT DO NOTHING
        RETURNING id
        "#,
        &column!(|job| job.id.0),
        &column!(|job| job.queue.as_str()) as &[&str],
        &column!(|job| job.kind.as_str()) as &[&str],
        &column!(|job| job.business_id.map(|id| id.0)) as &[Option<Uuid>],
        &column!(|job| Json(&job.args)) as &[Json<&serde_json::Value>],
        &column!(|job| job.key.as_deref()) as &[Option<&str>],
        &column!(|job| job.key_expires_at) as &[Option<DateTime<Utc>>],
        &column!(|job| job.group_key.as_deref()) as &[Option<&str>],
        &column!(|job| job.rest(now)) as &[Duration],
        &column!(|job| job.dispatch_rest(now)) as &[Duration],
        &column!(|job| job.max_attempts),
        &column!(|job| job.reply_to.as_deref()) as &[Option<&str>],
        &column!(|job| job.request_id.as_deref()) as &[Option<&str>],
        &column!(|job| job.traceparent.as_deref()) as &[Option<&str>],
        now,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

async fn key_holders(conn: &mut PgConnection, jobs: &[&NewJob]) -> Result<HashMap<String, Uuid>> {
    let keys: Vec<String> = jobs.iter().filter_map(|job| job.key.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT key AS "key!", id FROM jobs WHERE key = ANY($1)"#,
        &keys
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.id)).collect())
}
