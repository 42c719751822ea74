//! How an attempt ends other than well: try again, or give up.

use std::time::Duration;

use common::Error;
use common::providers::ProviderError;

/// Why an attempt did not succeed.
#[derive(Debug)]
pub enum JobError {
    /// It may succeed later.
    Retry {
        /// What went wrong.
        error: Error,
        /// When the other side said to come back; `None`: after the usual backoff.
        after: Option<Duration>,
    },
    /// It cannot succeed.
    Fail(Error),
}

impl JobError {
    /// Gives up with `reason`.
    pub fn refused(provider: &'static str, reason: impl Into<String>) -> Self {
        Self::Fail(
            ProviderError::Refused {
                provider,
                reason: reason.into(),
            }
            .into(),
        )
    }
}

impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        let after = match &error {
            Error::Provider(ProviderError::RateLimited { retry_after, .. }) => *retry_after,
            _ => None,
        };
        if error.is_transient() {
            Self::Retry { error, after }
        } else {
            Self::Fail(error)
        }
    }
}

impl From<sqlx::Error> for JobError {
    fn from(error: sqlx::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<ProviderError> for JobError {
    fn from(error: ProviderError) -> Self {
        Error::from(error).into()
    }
}
