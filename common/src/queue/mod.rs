//! Work for later: a job is a row in PostgreSQL, committed with what caused it; Redis only says what to do next.
//!
//! The life of a job: [`enqueue`] inserts the row in the caller's transaction; after the commit the caller offers its id to
//! Redis ([`Dispatch::push`]); a worker's [`consumer`] pops it and the worker's runner claims the row. Whatever Redis
//! refuses, loses or never hears of, the scheduler's dispatcher offers again. This module alone names apalis.

pub mod consumer;
pub mod job;
pub mod jobs;
pub mod kinds;
pub mod names;
pub mod pools;
pub mod probes;
pub mod push;
pub mod replies;
pub mod script;
pub mod slot;
pub mod steer;
pub mod waiting;
pub mod wake;

pub use job::{Enqueued, Job, NewJob};
pub use names::QueueName;
pub use push::Dispatch;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::database::jobs as rows;
use crate::error::Result;

/// How long the dispatcher leaves a row alone that its creator is about to push itself.
///
/// A push takes about a millisecond; a creator that died in between costs its job this much.
pub const HANDOFF: Duration = Duration::from_millis(100);

/// How long a dispatched row may wait for a worker to claim it before it is offered again.
pub const REDISPATCH_AFTER: Duration = Duration::from_secs(2);

/// How long a claim holds without renewal. With the dispatcher's tick it bounds how long a dead worker's jobs rest: 3 s.
pub const LEASE: Duration = Duration::from_millis(2_400);

/// Inserts `job` in the caller's transaction; `None` where a kept job already has its key.
///
/// Offer the result to [`Dispatch::push`] after the commit.
pub async fn enqueue(
    conn: &mut PgConnection,
    job: &NewJob,
    now: DateTime<Utc>,
) -> Result<Option<Enqueued>> {
    let inserted = rows::insert(conn, job, now).await?;
    Ok(inserted.then(|| job.enqueued(now)))
}
