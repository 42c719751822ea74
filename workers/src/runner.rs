//! The one way every job runs: claim, span, time limit, panic guard, lease, end, backoff.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::batch::{BatchLimits, Batcher};
use common::database::jobs::run::{self, ClaimedJob, Setback};
use common::database::{self};
use common::faults::{self, Point};
use common::queue::slot::Slot;
use common::{Error, telemetry};
use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::backoff;
use crate::context::Context;
use crate::error::JobError;
use crate::handler::Outcome;
use crate::jobs::{self, Attempt};
use crate::leases::Lease;

/// How claims share a statement. Slots wait for them: only where hundreds of slots fill at once do they wait for each other.
const CLAIMS: BatchLimits = BatchLimits {
    batch: 256,
    concurrency: 1,
    linger: Duration::from_millis(2),
    many: 16,
    waiting: 10_000,
};

/// As [`CLAIMS`], for the ends that somebody waits for.
const AWAITED_ENDS: BatchLimits = BatchLimits {
    linger: Duration::from_millis(5),
    many: 4,
    ..CLAIMS
};

/// As [`AWAITED_ENDS`], for those that nobody waits for: each commit of theirs takes the disk from those that are waited for.
const ENDS: BatchLimits = BatchLimits {
    linger: Duration::from_millis(25),
    ..AWAITED_ENDS
};

/// Ends that may be on their way to the database while their slots work on.
const CONCLUDING: usize = 512;

/// How long a claim or an end may take: far longer than it does, but where a connection is silent it never comes.
const PATIENCE: Duration = Duration::from_secs(10);

type Ended = (Uuid, i32, Option<serde_json::Value>);

/// Runs jobs by id. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    context: Arc<Context>,
    claims: Batcher<Uuid, Option<ClaimedJob>>,
    awaited_ends: Batcher<Ended, bool>,
    ends: Batcher<Ended, bool>,
    /// Jobs that gave their slot back before their end was written, at most.
    concluding: Arc<Semaphore>,
    /// Cancelled at the end of the grace time: what still runs is given back.
    abort: CancellationToken,
}

impl Runner {
    /// A runner over `context`; `abort` makes it give back what runs.
    pub fn new(context: Arc<Context>, abort: CancellationToken) -> Self {
        let for_claims = Arc::clone(&context);
        let claims = Batcher::spawn(CLAIMS, move |ids| {
            database::within(PATIENCE, claim(Arc::clone(&for_claims), ids))
        });
        Self {
            claims,
            awaited_ends: ends(&context, AWAITED_ENDS),
            ends: ends(&context, ENDS),
            context,
            concluding: Arc::new(Semaphore::new(CONCLUDING)),
            abort,
        }
    }

    /// Runs the job, and those it hands on to this slot. Never fails: what goes wrong is in the row, or heals by the lease.
    pub async fn run(&self, id: Uuid, mut slot: Slot) {
        let claimed = match self.claims.submit(id).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(job.id = %id, %error, "job not claimed; the dispatcher will offer it again");
                return;
            }
        };
        if claimed.is_some() {
            slot.begin().await;
        }
        let mut slot = Some(slot);
        let mut next = claimed.map(Box::new);
        while let Some(job) = next {
            next = Box::pin(self.run_claimed(&job, &mut slot)).await;
        }
    }

    async fn run_claimed(
        &self,
        job: &ClaimedJob,
        slot: &mut Option<Slot>,
    ) -> Option<Box<ClaimedJob>> {
        let span = tracing::info_span!(
            "job",
            job.id = %job.id,
            job.kind = job.kind,
            job.attempt = job.attempt,
            business.id = job.business_id.map(tracing::field::display),
            request_id = job.request_id,
        );
        telemetry::continue_trace(&span, job.traceparent.as_deref());
        let attempt = Box::pin(self.attempt(job, slot)).instrument(span);
        match job.request_id.clone() {
            Some(request_id) => telemetry::within_request(request_id, attempt).await,
            None => attempt.await,
        }
    }

    async fn attempt(&self, job: &ClaimedJob, slot: &mut Option<Slot>) -> Option<Box<ClaimedJob>> {
        let started = Instant::now();
        let waited = (job.started_at - job.run_at).to_std().unwrap_or_default();
        metrics::histogram!("relais_job_wait_seconds", "kind" => job.kind.clone()).record(waited);

        let lease = self.context.leases.hold(job);
        faults::point(Point::Claimed);
        let outcome = if job.attempt > job.max_attempts {
            // The last attempt's worker died with it.
            Err(JobError::Fail(Error::Conflict(
                "its worker stopped answering at its last attempt",
            )))
        } else {
            self.guarded(job, &lease).await
        };
        // Who is done working does not hold up the next by writing it down; but not more at once than can be written.
        let concluding = match &outcome {
            // Its end is written, and what it hands on runs in the same slot.
            Ok(Outcome::Committed { .. }) => None,
            _ => self.concluding.try_acquire().ok(),
        };
        if concluding.is_some() {
            drop(slot.take());
        }
        let (label, next) = self.conclude(job, outcome).await;
        drop(concluding);
        drop(lease);

        let took = started.elapsed();
        metrics::counter!("relais_jobs_total", "kind" => job.kind.clone(), "outcome" => label)
            .increment(1);
        metrics::histogram!("relais_job_seconds", "kind" => job.kind.clone()).record(took);
        tracing::debug!(
            outcome = label,
            duration_ms = took.as_millis(),
            "job attempt ended"
        );
        next
    }

    /// The handler, bounded: by its time limit, by its lease, by the process's end, and its panics caught.
    async fn guarded(&self, job: &ClaimedJob, lease: &Lease) -> Result<Outcome, JobError> {
        let Attempt { work, timeout } = jobs::start(&self.context, job)?;
        let work = tokio::time::timeout(timeout, AssertUnwindSafe(work).catch_unwind());
        // The work first: once it has committed its end the lease is gone too, and that is no loss.
        tokio::select! {
            biased;
            ended = work => match ended {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => Err(retry(format!("panicked: {}", panic_message(&*panic)))),
                Err(_) => Err(retry(format!("took longer than {timeout:?}"))),
            },
            () = lease.lost() => Ok(Outcome::Superseded),
            () = self.abort.cancelled() => {
                self.set_back(job, &Setback::Release).await;
                Ok(Outcome::Superseded)
            }
        }
    }

    async fn conclude(
        &self,
        job: &ClaimedJob,
        outcome: Result<Outcome, JobError>,
    ) -> (&'static str, Option<Box<ClaimedJob>>) {
        match outcome {
            Ok(Outcome::Committed { follow, next }) => {
                self.reply(job).await;
                self.context.dispatch.push(&follow).await;
                ("succeeded", next)
            }
            Ok(Outcome::Finished(result)) => {
                let ends = match job.reply_to {
                    Some(_) => &self.awaited_ends,
                    None => &self.ends,
                };
                match ends.submit((job.id.0, job.attempt, result)).await {
                    Ok(true) => self.reply(job).await,
                    Ok(false) => tracing::info!("another attempt took over"),
                    Err(error) => {
                        tracing::warn!(%error, "the job's end was not written; it will run again");
                    }
                }
                ("succeeded", None)
            }
            Ok(Outcome::Waiting(rest, reason)) => {
                self.set_back(job, &Setback::Wait { rest, reason }).await;
                ("waiting", None)
            }
            Ok(Outcome::Superseded) => ("superseded", None),
            Err(JobError::Retry { error, after }) if job.attempt < job.max_attempts => {
                let rest = backoff::rest(job.attempt, after);
                let cause = chain(&error);
                tracing::warn!(
                    error = cause,
                    retry_in_ms = rest.as_millis(),
                    "job attempt failed"
                );
                let error = &cause;
                self.set_back(job, &Setback::Retry { rest, error }).await;
                ("failed", None)
            }
            Err(JobError::Retry { error, .. } | JobError::Fail(error)) => {
                let cause = chain(&error);
                tracing::error!(error = cause, "job is dead");
                // Apart: seldom done, and every attempt would carry the room it needs.
                Box::pin(self.give_up(job, &cause)).await;
                ("dead", None)
            }
        }
    }

    async fn set_back(&self, job: &ClaimedJob, setback: &Setback<'_>) {
        let written = database::within(PATIENCE, async {
            let mut tx = database::platform(&self.context.pool).await?;
            let held = run::set_back(&mut tx, job, setback, self.context.job_retention).await?;
            tx.commit().await?;
            Ok(held)
        });
        if let Err(error) = written.await {
            tracing::warn!(
                error = chain(&error),
                "the setback was not written; the lease will run out"
            );
        }
    }

    /// The job rests among the dead, with what its kind does then, in one commit.
    async fn give_up(&self, job: &ClaimedJob, error: &str) {
        let written = database::within(PATIENCE, async {
            let mut tx = match job.business_id {
                Some(business_id) => database::business(&self.context.pool, business_id).await?,
                None => database::platform(&self.context.pool).await?,
            };
            let held = run::set_back(
                &mut tx,
                job,
                &Setback::Dead { error },
                self.context.job_retention,
            )
            .await?;
            let follow = if held {
                jobs::give_up(&self.context, job, error, &mut tx).await?
            } else {
                Vec::new()
            };
            tx.commit().await?;
            Ok(follow)
        });
        match written.await {
            Ok(follow) => {
                self.context.dispatch.push(&follow).await;
                self.reply(job).await;
            }
            Err(error) => tracing::warn!(
                error = chain(&error),
                "the end was not written; the lease will run out"
            ),
        }
    }

    async fn reply(&self, job: &ClaimedJob) {
        if let Some(channel) = &job.reply_to {
            self.context.dispatch.reply(channel, job.id.0).await;
        }
    }
}

/// Claims many at once. A claim lost in a crash is found by its lease, so its commit does not wait for the disk.
async fn claim(context: Arc<Context>, ids: Vec<Uuid>) -> common::Result<Vec<Option<ClaimedJob>>> {
    let mut tx = context.lines.platform_relaxed().await?;
    let claimed = run::claim(&mut tx, &ids, &context.worker).await?;
    tx.commit().await?;
    let mut claimed: std::collections::HashMap<Uuid, ClaimedJob> =
        claimed.into_iter().map(|job| (job.id.0, job)).collect();
    Ok(ids.iter().map(|id| claimed.remove(id)).collect())
}

fn ends(context: &Arc<Context>, limits: BatchLimits) -> Batcher<Ended, bool> {
    let context = Arc::clone(context);
    Batcher::spawn(limits, move |ended| {
        database::within(PATIENCE, succeed(Arc::clone(&context), ended))
    })
}

async fn succeed(context: Arc<Context>, ended: Vec<Ended>) -> common::Result<Vec<bool>> {
    let mut tx = context.lines.platform().await?;
    let held = run::succeed_many(&mut tx, &ended, context.job_retention).await?;
    tx.commit().await?;
    let held: std::collections::HashSet<Uuid> = held.into_iter().collect();
    Ok(ended.iter().map(|(id, ..)| held.contains(id)).collect())
}

fn retry(reason: String) -> JobError {
    let error = common::providers::ProviderError::Unavailable {
        provider: "job",
        reason,
    };
    JobError::Retry {
        error: error.into(),
        after: None,
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line.replace('\0', " ")
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// How often leases are renewed: one may be missed before the lease runs out.
pub(crate) const RENEW_EVERY: Duration = Duration::from_millis(600);
