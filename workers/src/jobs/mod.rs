//! Every kind of job, one module each, and the table by which the runner finds them.

use std::time::{Duration, Instant};

use common::Error;
use common::database::jobs::run::ClaimedJob;
use common::queue::{Enqueued, Job, jobs};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::context::Context;
use crate::error::JobError;
use crate::handler::{Handler, Outcome};

mod answer_question;
mod deliver_message;
mod erase_businesses;
mod ingest_document;
mod maintenance;
mod probe;
mod receive_message;
mod send_mail;
mod take_turn;

/// How long a job of an unknown kind waits for a worker that knows it.
const UNKNOWN_REST: Duration = Duration::from_secs(30);

/// An attempt, ready to run.
pub(crate) struct Attempt<'a> {
    /// The work.
    pub(crate) work: BoxFuture<'a, Result<Outcome, JobError>>,
    /// How long it may take.
    pub(crate) timeout: Duration,
}

macro_rules! handlers {
    ($($job:ty),* $(,)?) => {
        #[cfg(test)]
        const HANDLED: &[&str] = &[$(<$job>::KIND),*];

        /// Decodes the job and prepares its attempt.
        ///
        /// # Errors
        ///
        /// Arguments that do not decode fail for good.
        pub(crate) fn start<'a>(context: &'a Context, job: &'a ClaimedJob) -> Result<Attempt<'a>, JobError> {
            match job.kind.as_str() {
                $(<$job>::KIND => {
                    let work = decode::<$job>(job)?.run(context, job);
                    Ok(Attempt { work, timeout: <$job as Handler>::TIMEOUT })
                })*
                _ => Ok(Attempt { work: Box::pin(std::future::ready(Ok(unknown()))), timeout: UNKNOWN_REST }),
            }
        }

        /// What else changes when the job is given up. Arguments that do not decode change nothing.
        pub(crate) async fn give_up(
            context: &Context,
            job: &ClaimedJob,
            error: &str,
            conn: &mut PgConnection,
        ) -> common::Result<Vec<Enqueued>> {
            match job.kind.as_str() {
                $(<$job>::KIND => match decode::<$job>(job) {
                    Ok(work) => work.give_up(context, job, error, conn).await,
                    Err(_) => Ok(Vec::new()),
                },)*
                _ => Ok(Vec::new()),
            }
        }
    };
}

handlers!(
    jobs::ReceiveMessage,
    jobs::TakeTurn,
    jobs::DeliverMessage,
    jobs::IngestDocument,
    jobs::AnswerQuestion,
    jobs::DeleteObject,
    jobs::PurgeJobs,
    jobs::FitVectorIndexes,
    jobs::SendMail,
    jobs::PurgeSignIns,
    jobs::EraseBusinesses,
    jobs::Probe,
);

fn decode<J: Job>(job: &ClaimedJob) -> Result<J, JobError> {
    serde_json::from_value(job.args.clone()).map_err(|error| {
        JobError::Fail(Error::invalid(
            "args",
            format!("do not read as {}: {error}", J::KIND),
        ))
    })
}

/// Costs no attempt: during a deployment a newer worker may take it.
fn unknown() -> Outcome {
    Outcome::Waiting(UNKNOWN_REST, "no worker of this version knows its kind")
}

/// Records how long a stage of a turn took.
pub(crate) fn stage(name: &'static str, since: Instant) {
    metrics::histogram!("relais_turn_seconds", "stage" => name).record(since.elapsed());
}

#[cfg(test)]
mod tests {
    use common::queue::kinds::KINDS;

    #[test]
    fn the_kinds_that_are_handled_are_those_that_are_known() {
        assert_eq!(KINDS.map(|kind| kind.name), super::HANDLED);
    }
}
