//! One commit for many jobs.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::Result;
use common::database::jobs::Accepted;
use common::database::{self, Lines, jobs};
use common::faults::{self, Mutant};
use common::queue::{Dispatch, Enqueued, NewJob};

/// How long a commit may take before PostgreSQL counts as away. Nobody waits for it that long.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Attempts where two commits wanted each other's keys.
const ATTEMPTS: usize = 3;

/// Inserts `jobs` and answers what became of each, in order; offers the new ones to Redis on the side.
pub(super) async fn commit(
    lines: Lines,
    dispatch: Dispatch,
    now: DateTime<Utc>,
    jobs: Vec<Arc<NewJob>>,
) -> Result<Vec<Accepted>> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a batch has at most a few hundred"
    )]
    metrics::histogram!("relais_commit_jobs").record(jobs.len() as f64);
    // Everybody takes keys in the same order, so that two commits with the same keys wait instead of deadlocking.
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by(|a, b| jobs[*a].key.cmp(&jobs[*b].key).then(a.cmp(b)));
    let sorted: Vec<&NewJob> = order.iter().map(|&at| &*jobs[at]).collect();

    let accepted = database::within(TIMEOUT, insert(&lines, &sorted, now)).await?;
    push(&dispatch, sorted.iter().copied(), &accepted);

    let mut answers: Vec<(usize, Accepted)> = order.into_iter().zip(accepted).collect();
    answers.sort_unstable_by_key(|(at, _)| *at);
    Ok(answers.into_iter().map(|(_, accepted)| accepted).collect())
}

async fn insert(lines: &Lines, jobs: &[&NewJob], now: DateTime<Utc>) -> Result<Vec<Accepted>> {
    let mut attempt = 1;
    loop {
        match insert_once(lines, jobs, now).await {
            Err(error)
                if attempt < ATTEMPTS && error.is_transient() && !error.is_database_outage() =>
            {
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn insert_once(lines: &Lines, jobs: &[&NewJob], now: DateTime<Utc>) -> Result<Vec<Accepted>> {
    let mut tx = if faults::planted(Mutant::RelaxedCommit) {
        lines.platform_relaxed().await?
    } else {
        lines.platform().await?
    };
    let accepted = jobs::insert_many(&mut tx, jobs, now).await?;
    tx.commit().await?;
    Ok(accepted)
}

/// Offers new jobs to Redis in one call, off the path of the acknowledgement.
pub(super) fn push<'a>(
    dispatch: &Dispatch,
    jobs: impl IntoIterator<Item = &'a NewJob>,
    accepted: &[Accepted],
) {
    let mut new: Vec<Enqueued> = jobs
        .into_iter()
        .zip(accepted)
        .filter(|(_, accepted)| matches!(accepted, Accepted::New(_)))
        .map(|(job, _)| job.due())
        .collect();
    if !new.is_empty() {
        // They were sorted by key; ids are in order of arrival.
        new.sort_unstable_by_key(|job| job.id);
        let dispatch = dispatch.clone();
        tokio::spawn(async move { dispatch.push(&new).await });
    }
}
