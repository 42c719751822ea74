//! What a person does to jobs and queues: try again, discard, pause, resume. The command line calls it, and so may an API.

use std::collections::BTreeMap;
use std::time::Duration;

use fred::interfaces::PubsubInterface;
use sqlx::PgPool;
use uuid::Uuid;

use super::push::DISPATCH_CHANNEL;
use super::{Dispatch, QueueName};
use crate::database::jobs::dead::{self, Revival, Steered};
use crate::database::{self, queues};
use crate::error::Result;

/// Jobs steered in one statement: short enough that nobody waits behind it.
const BATCH: usize = 500;

/// How jobs that were dead begin again.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Jobs that become due in a second; `None`: all at once. A cause that is still there then kills few before it is seen.
    pub rate: Option<u32>,
    /// Attempts each gets; `None`: as many as its kind has.
    pub attempts: Option<i32>,
    /// What the person says.
    pub note: Option<String>,
}

/// What was done, by queue and kind.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Jobs steered, by queue and kind.
    pub jobs: BTreeMap<(String, String), usize>,
    /// Those of the ids that were steered.
    pub ids: Vec<Uuid>,
    /// When the last of them is due, counted from the first.
    pub spread: Duration,
}

impl Report {
    /// How many.
    pub fn total(&self) -> usize {
        self.ids.len()
    }

    fn add(&mut self, steered: &[Steered]) {
        for job in steered {
            *self
                .jobs
                .entry((job.queue.clone(), job.kind.clone()))
                .or_default() += 1;
            self.ids.push(job.id);
        }
    }
}

/// Tries the dead ones of `ids` again, in their order, and wakes the dispatcher. Others are left alone.
pub async fn retry(
    pool: &PgPool,
    dispatch: &Dispatch,
    ids: &[Uuid],
    retry: &Retry,
) -> Result<Report> {
    let apart = retry
        .rate
        .map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
    // As exact as PostgreSQL's intervals are.
    let apart = Duration::from_micros(u64::try_from(apart.as_micros()).unwrap_or(u64::MAX));
    let mut report = Report::default();
    for batch in ids.chunks(BATCH) {
        let revival = Revival {
            attempts: retry.attempts,
            after: apart * u32::try_from(report.total()).unwrap_or(u32::MAX),
            apart,
            note: retry.note.as_deref(),
        };
        let mut tx = database::platform(pool).await?;
        let revived = dead::revive(&mut tx, batch, revival).await?;
        tx.commit().await?;
        report.add(&revived);
        ring(dispatch).await;
    }
    report.spread = apart * u32::try_from(report.total().saturating_sub(1)).unwrap_or(u32::MAX);
    Ok(report)
}

/// Calls off those of `ids` that are dead or wait, and tells who waits for their end. Others are left alone.
pub async fn discard(
    pool: &PgPool,
    dispatch: &Dispatch,
    ids: &[Uuid],
    note: Option<&str>,
    retention: Duration,
) -> Result<Report> {
    let mut report = Report::default();
    for batch in ids.chunks(BATCH) {
        let mut tx = database::platform(pool).await?;
        let discarded = dead::discard(&mut tx, batch, note, retention).await?;
        tx.commit().await?;
        for job in &discarded {
            if let Some(channel) = &job.reply_to {
                dispatch.reply(channel, job.id).await;
            }
        }
        report.add(&discarded);
    }
    Ok(report)
}

/// Starts nothing of `queue` any more until it is resumed; what runs goes on. `false`: it is paused already.
pub async fn pause(pool: &PgPool, queue: QueueName, reason: &str) -> Result<bool> {
    let mut tx = database::platform(pool).await?;
    let paused = queues::pause(&mut tx, queue, reason).await?;
    tx.commit().await?;
    Ok(paused)
}

/// Lets `queue` go on, and wakes the dispatcher. `false`: it was not paused.
pub async fn resume(pool: &PgPool, dispatch: &Dispatch, queue: QueueName) -> Result<bool> {
    let mut tx = database::platform(pool).await?;
    let resumed = queues::resume(&mut tx, queue).await?;
    tx.commit().await?;
    ring(dispatch).await;
    Ok(resumed)
}

/// Wakes the dispatcher. Best effort: it also looks by the clock.
async fn ring(dispatch: &Dispatch) {
    let woken: Result<i64, _> = dispatch.redis().publish(DISPATCH_CHANNEL, "steered").await;
    if let Err(error) = woken {
        tracing::debug!(%error, "the dispatcher was not woken; its tick will find the jobs");
    }
}
