//! The table of jobs: inserting ([`insert`]), running ([`run`]), dispatching ([`dispatch`]), looking ([`view`] for their
//! owners, [`selection`] for operators), why they wait ([`waiting`]), the dead ([`dead`]), and how it all stands ([`backlogs`]).

pub mod backlogs;
pub mod dead;
pub mod dispatch;
mod insert;
pub mod run;
pub mod selection;
pub mod view;
pub mod waiting;

pub use insert::{Accepted, insert, insert_many};

/// What a job is doing.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type, serde::Serialize, serde::Deserialize,
)]
#[sqlx(type_name = "job_state", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for its first attempt.
    Queued,
    /// Claimed by a worker.
    Running,
    /// Ended well.
    Succeeded,
    /// Waits to be tried again.
    Failed,
    /// Ended badly; a person may try it again.
    Dead,
    /// Called off.
    Cancelled,
}

impl JobState {
    /// Its name in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}
