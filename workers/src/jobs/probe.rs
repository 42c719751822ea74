//! Work that is only its time and its mishaps: the tests and benchmarks of the queue are made of it.

use std::time::Duration;

use async_trait::async_trait;
use common::database::jobs::run::ClaimedJob;
use common::providers::ProviderError;
use common::queue::jobs::{Mishap, Probe};
use common::queue::probes::Begun;

use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};

#[async_trait]
impl Handler for Probe {
    const TIMEOUT: Duration = Duration::from_secs(2);

    #[expect(clippy::panic, reason = "the panic guard is tested with it")]
    async fn run(self, context: &Context, job: &ClaimedJob) -> Result<Outcome, JobError> {
        // Before anything else: this is the moment that is told.
        let at = context.clock.now();
        if let Some(channel) = &self.tells {
            Begun { id: job.id, at }
                .tell(&context.dispatch, channel)
                .await;
        }
        if self.sleep_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.sleep_ms)).await;
        }
        match self.mishap.filter(|_| job.attempt <= self.mishaps) {
            Some(Mishap::Error) => Err(ProviderError::Unavailable {
                provider: "probe",
                reason: "as asked".to_owned(),
            }
            .into()),
            Some(Mishap::Refusal) => Err(JobError::refused("probe", "as asked")),
            Some(Mishap::Panic) => panic!("as asked"),
            Some(Mishap::Hang) => std::future::pending().await,
            None => Ok(Outcome::Finished(None)),
        }
    }
}
