//! The kinds of job this version knows, as data: for those who look at rows and do no work.

use super::jobs::{
    AnswerQuestion, DeleteObject, DeliverMessage, EraseBusinesses, FitVectorIndexes,
    IngestDocument, Probe, PurgeJobs, PurgeSignIns, ReceiveMessage, SendMail, TakeTurn,
};
use super::{Job, QueueName};

/// What the rows of a kind have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// [`Job::KIND`]
    pub name: &'static str,
    /// [`Job::QUEUE`]
    pub queue: QueueName,
    /// [`Job::MAX_ATTEMPTS`]
    pub max_attempts: i32,
}

impl Kind {
    const fn of<J: Job>() -> Self {
        Self {
            name: J::KIND,
            queue: J::QUEUE,
            max_attempts: J::MAX_ATTEMPTS,
        }
    }
}

/// Every kind.
pub const KINDS: [Kind; 12] = [
    Kind::of::<ReceiveMessage>(),
    Kind::of::<TakeTurn>(),
    Kind::of::<DeliverMessage>(),
    Kind::of::<IngestDocument>(),
    Kind::of::<AnswerQuestion>(),
    Kind::of::<DeleteObject>(),
    Kind::of::<PurgeJobs>(),
    Kind::of::<FitVectorIndexes>(),
    Kind::of::<SendMail>(),
    Kind::of::<PurgeSignIns>(),
    Kind::of::<EraseBusinesses>(),
    Kind::of::<Probe>(),
];

/// The kind of that name; `None`: a job of another version.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
