//! Accepting messages: many requests share one commit, and while PostgreSQL is away Redis keeps what was accepted.

mod commit;
mod drain;
mod spool;

use std::sync::Arc;
use std::time::Duration;

use common::Clock;
use common::batch::{BatchError, BatchLimits, Batcher};
use common::database::Lines;
use common::database::jobs::Accepted;
use common::domain::JobId;
use common::faults::{self, Mutant, Point};
use common::queue::{Dispatch, NewJob};
use fred::clients::SubscriberClient;
use sqlx::PgPool;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::ApiError;
use spool::Spool;

/// How long a request waits for its commit. With the look-up of a secret before and the spool after it, an
/// acknowledgement takes at most 3 s, whatever is away.
const COMMIT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Commits at once: some write while the disk settles the others.
const LIMITS: BatchLimits = BatchLimits {
    batch: 512,
    concurrency: 4,
    linger: Duration::ZERO,
    many: 4,
    waiting: 8_192,
};

/// Takes jobs of any businesses, durably, in as few commits as possible. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    batcher: Batcher<Arc<NewJob>, Accepted>,
    spool: Arc<Spool>,
    _draining: Arc<DropGuard>,
}

impl Acceptor {
    /// Starts its tasks, which end with the last clone.
    pub fn spawn(pool: PgPool, dispatch: Dispatch, clock: Clock) -> Self {
        let (into, push) = (Lines::beside(&pool), dispatch.clone());
        Self::committing(LIMITS, pool, dispatch, move |jobs| {
            commit::commit(into.clone(), push.clone(), clock.now(), jobs)
        })
    }

    /// An acceptor that commits by `commit`, which answers each job, in order: what the benchmarks compare with.
    pub fn committing<F, Fut>(
        limits: BatchLimits,
        pool: PgPool,
        dispatch: Dispatch,
        commit: F,
    ) -> Self
    where
        F: Fn(Vec<Arc<NewJob>>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = common::Result<Vec<Accepted>>> + Send + 'static,
    {
        let spool = Arc::new(Spool::new(dispatch.redis().clone()));
        let end = CancellationToken::new();
        tokio::spawn(drain::run(Arc::clone(&spool), pool, dispatch, end.clone()));
        Self {
            batcher: Batcher::spawn(limits, commit),
            spool,
            _draining: Arc::new(end.drop_guard()),
        }
    }

    /// Hears of what other ingresses spool, so that nothing it takes later overtakes that.
    pub fn listen(&self, subscriber: &SubscriberClient) {
        self.spool.listen(subscriber);
    }

    /// Accepts `job`: once this returns, neither a crash nor an emptied Redis loses it (an emptied Redis does lose what
    /// was spooled meanwhile). Answers the job that stands for it: itself, or the one that came first with its key.
    ///
    /// # Errors
    ///
    /// 503 where neither PostgreSQL nor Redis takes it.
    pub async fn accept(&self, job: NewJob) -> Result<JobId, ApiError> {
        let job = Arc::new(job);
        if faults::planted(Mutant::EarlyAcknowledgement) {
            return Ok(self.accept_later(job));
        }
        self.spool.looked().await;
        if !self.spool.is_open() {
            match tokio::time::timeout(COMMIT_TIMEOUT, self.batcher.submit(Arc::clone(&job))).await
            {
                Ok(Ok(accepted)) => {
                    count(if matches!(accepted, Accepted::New(_)) {
                        "new"
                    } else {
                        "repeat"
                    });
                    faults::point(Point::Accepted);
                    return Ok(accepted.job_id());
                }
                Ok(Err(BatchError::Failed(_))) => return Err(ApiError::internal()),
                // Whether it is in a commit that is under way does not matter: its id goes in once.
                Ok(Err(error @ (BatchError::Outage | BatchError::Full))) => {
                    tracing::warn!(%error, "not committed: spooled");
                }
                Err(_) => tracing::warn!("not committed in time: spooled"),
            }
        }
        let holder = self.spool.put(&job).await.map_err(|error| {
            tracing::error!(%error, "neither PostgreSQL nor Redis takes messages");
            ApiError::unavailable()
        })?;
        count("spooled");
        Ok(holder)
    }

    /// What a defect planted on purpose does: answers first and commits a moment later.
    fn accept_later(&self, job: Arc<NewJob>) -> JobId {
        let (id, batcher) = (job.id, self.batcher.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            batcher.submit(job).await.ok();
        });
        id
    }

    /// Whether PostgreSQL is known to be away.
    pub fn is_spooling(&self) -> bool {
        self.spool.is_open()
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("relais_accepted_total", "outcome" => outcome).increment(1);
}
