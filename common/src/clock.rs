//! The one source of the time, so that tests can set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::faults;

/// Tells the time: the system's, shifted by what a test asked for.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    /// Now, in UTC, cut to the microseconds PostgreSQL keeps.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the system's clock"
    )]
    pub fn now(&self) -> DateTime<Utc> {
        let shift = TimeDelta::milliseconds(self.shift_ms.load(Ordering::Relaxed));
        let now = Utc::now() + shift + faults::clock_error();
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }

    /// Moves this clock, and every clone of it, by `by`.
    pub fn shift(&self, by: TimeDelta) {
        self.shift_ms
            .fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}
