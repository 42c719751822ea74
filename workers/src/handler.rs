//! What a kind of job is to the runner.

use std::time::Duration;

use async_trait::async_trait;
use common::database::jobs::run::ClaimedJob;
use common::queue::{Enqueued, Job};
use sqlx::PgConnection;

use crate::context::Context;
use crate::error::JobError;

/// The work of a kind of job. It may run twice, stop anywhere, or find its rows changed: it reads the current state, and
/// commits its effects together with its end ([`common::database::jobs::run::succeed`]).
#[async_trait]
pub trait Handler: Job {
    /// The longest an attempt may take.
    const TIMEOUT: Duration;

    /// One attempt. `job` is the claim, the arguments are `self`.
    async fn run(self, context: &Context, job: &ClaimedJob) -> Result<Outcome, JobError>;

    /// What else changes when the job is given up, in the transaction that says so. Returns jobs to push after it.
    async fn give_up(
        self,
        _context: &Context,
        _job: &ClaimedJob,
        _error: &str,
        _conn: &mut PgConnection,
    ) -> common::Result<Vec<Enqueued>> {
        Ok(Vec::new())
    }
}

/// How an attempt went that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// Its effects and its end are committed.
    Committed {
        /// Jobs that were committed with it, to be pushed.
        follow: Vec<Enqueued>,
        /// A job that was committed as this worker's own: it runs next, in this slot.
        next: Option<Box<ClaimedJob>>,
    },
    /// It had no effects of its own: the runner ends it, with this result.
    Finished(Option<serde_json::Value>),
    /// It is not its turn; look again after this long at the latest.
    Waiting(Duration, &'static str),
    /// Another attempt did the work, or the rows are gone: nothing was written.
    Superseded,
}

impl Outcome {
    /// [`Self::Committed`], with nothing to follow.
    pub fn committed() -> Self {
        Self::Committed {
            follow: Vec::new(),
            next: None,
        }
    }
}
