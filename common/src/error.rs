//! What went wrong, told without HTTP: the services decide what it means to their callers.

use crate::providers::ProviderError;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The row does not exist, or belongs to another business.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A value breaks a rule of the domain.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field as the caller named it.
        field: &'static str,
        /// The rule it breaks, for people.
        reason: String,
    },
    /// The state of things forbids it.
    #[error("{0}")]
    Conflict(&'static str),
    /// The database refused or could not be reached.
    #[error("database operation failed")]
    Database(#[from] sqlx::Error),
    /// Redis refused or could not be reached.
    #[error("redis operation failed")]
    Redis(#[from] fred::error::Error),
    /// An outside service refused or could not be reached.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A stored value no longer reads as what it was written as.
    #[error("stored value of {0} does not decode")]
    Corrupt(&'static str),
}

impl Error {
    /// An [`Error::Invalid`] for `field`.
    pub fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => is_transient_database_error(error),
            Self::Redis(_) => true,
            Self::Provider(error) => error.is_transient(),
            Self::NotFound(_) | Self::Invalid { .. } | Self::Conflict(_) | Self::Corrupt(_) => {
                false
            }
        }
    }

    /// Whether the database could not be reached at all, as opposed to having refused.
    pub fn is_database_outage(&self) -> bool {
        matches!(self, Self::Database(error) if is_outage(error))
    }
}

fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // 08: connection; 57P: shutting down, starting up; 53: out of connections, memory or disk; 25006: read only.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "57P", "53", "25006"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// All that PostgreSQL says may pass, but for what it says of the values: bad data (22) and broken constraints (23).
///
/// Rights and names that are missing (42) come and go while a migration runs; a killed session (25P03) says nothing of the
/// work. What never passes ends at the cap of attempts.
fn is_transient_database_error(error: &sqlx::Error) -> bool {
    let of_values = |code: &str| code.starts_with("22") || code.starts_with("23");
    match error {
        sqlx::Error::Database(error) => !error.code().is_some_and(|code| of_values(&code)),
        error => is_outage(error),
    }
}
