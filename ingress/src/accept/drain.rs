//! Bringing what was spooled into PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use common::database::jobs::Accepted;
use common::database::{self, jobs};
use common::faults::{self, Mutant};
use common::queue::{Dispatch, NewJob};
use common::{Error, Result};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::commit::{TIMEOUT, push};
use super::spool::{Spool, made_at};

/// Entries brought over in one commit.
const BATCH: usize = 64;

/// Between attempts while PostgreSQL is away.
const RETRY: Duration = Duration::from_millis(250);

/// Between looks at a spool this process has not opened: one that crashed, or cannot reach PostgreSQL, may have.
const TICK: Duration = Duration::from_secs(2);

/// Drains the spool until `end`. Several ingresses may: inserting is idempotent by id and key.
pub(super) async fn run(
    spool: Arc<Spool>,
    pool: PgPool,
    dispatch: Dispatch,
    end: CancellationToken,
) {
    loop {
        let pause = if spool.is_open() { RETRY } else { TICK };
        tokio::select! {
            () = end.cancelled() => return,
            () = spool.opened() => {}
            () = spool.spooled() => spool.look().await,
            () = tokio::time::sleep(pause) => {}
        }
        if !faults::planted(Mutant::NoDrain) {
            drain(&spool, &pool, &dispatch).await;
        }
        if let Ok(length) = spool.length().await {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a spool holds far less than 2^52"
            )]
            metrics::gauge!("relais_spool_length").set(length as f64);
        }
    }
}

/// Drains while it goes on; closes the spool where nothing is left.
async fn drain(spool: &Spool, pool: &PgPool, dispatch: &Dispatch) {
    loop {
        let begun = spool.begun();
        match drain_batch(spool, pool, dispatch).await {
            Ok(0) => {
                // Empty, but what opened the spool may not have ended.
                if spool.is_open() && answers(pool).await {
                    spool.close(begun);
                }
                return;
            }
            Ok(_) => {}
            Err(Error::Redis(error)) => {
                tracing::debug!(%error, "the spool cannot be read");
                // Nothing is spooled while Redis is away, so there is no order to keep.
                if spool.is_open() && answers(pool).await {
                    spool.close_regardless();
                }
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "the spool cannot be drained yet");
                return;
            }
        }
    }
}

async fn answers(pool: &PgPool) -> bool {
    database::within(TIMEOUT, async {
        Ok(sqlx::Executor::execute(pool, "SELECT 1").await?)
    })
    .await
    .is_ok()
}

/// Brings the oldest entries over; answers how many.
async fn drain_batch(spool: &Spool, pool: &PgPool, dispatch: &Dispatch) -> Result<usize> {
    let entries = spool.peek(BATCH).await?;
    let mut jobs = Vec::with_capacity(entries.len());
    let mut readable = Vec::with_capacity(entries.len());
    for entry in &entries {
        if let Ok(job) = serde_json::from_str::<NewJob>(entry) {
            jobs.push(job);
            readable.push(entry.clone());
        } else {
            tracing::error!("a spooled entry does not decode: set aside");
            spool.set_aside(entry).await?;
        }
    }
    if jobs.is_empty() {
        return Ok(entries.len());
    }
    match database::within(TIMEOUT, insert(pool, &jobs)).await {
        Ok(accepted) => {
            push(dispatch, &jobs, &accepted);
            spool.remove(&readable).await?;
            tracing::info!(jobs = jobs.len(), "drained from the spool");
        }
        Err(error) if error.is_transient() => return Err(error),
        // One of them is at fault: find it, so that it does not hold up the others.
        Err(_) => drain_one_by_one(spool, pool, dispatch, &jobs, &readable).await?,
    }
    Ok(entries.len())
}

async fn drain_one_by_one(
    spool: &Spool,
    pool: &PgPool,
    dispatch: &Dispatch,
    jobs: &[NewJob],
    entries: &[String],
) -> Result<()> {
    for (job, entry) in jobs.iter().zip(entries) {
        match database::within(TIMEOUT, insert(pool, std::slice::from_ref(job))).await {
            Ok(accepted) => {
                push(dispatch, [job], &accepted);
                spool.remove(std::slice::from_ref(entry)).await?;
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(%error, job.id = %job.id, "PostgreSQL refuses a spooled entry: set aside");
                spool.set_aside(entry).await?;
            }
        }
    }
    Ok(())
}

/// Inserts jobs as of when each was made, in one commit.
///
/// A key that counts only for a while is judged by that time: two messages with the same words, minutes apart in a long
/// outage, are two; a repeat of what was accepted just before the outage is one.
async fn insert(pool: &PgPool, jobs: &[NewJob]) -> Result<Vec<Accepted>> {
    let mut tx = database::platform(pool).await?;
    let mut accepted = Vec::with_capacity(jobs.len());
    let mut rest = jobs;
    while let Some(first) = rest.first() {
        let together = if first.key_expires_at.is_some() {
            1
        } else {
            rest.iter()
                .take_while(|job| job.key_expires_at.is_none())
                .count()
        };
        let (now, later) = rest.split_at(together);
        let made_at = DateTime::from_timestamp_millis(made_at(first)).unwrap_or_default();
        accepted.extend(jobs::insert_many(&mut tx, now, made_at).await?);
        rest = later;
    }
    tx.commit().await?;
    Ok(accepted)
}
