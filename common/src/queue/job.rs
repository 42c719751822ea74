//! A job before it has a row.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{HANDOFF, QueueName};
use crate::domain::{BusinessId, JobId};
use crate::telemetry;

/// The arguments of a kind of job: ids, not copies of rows. New fields are `#[serde(default)]`, for jobs already waiting.
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// Its name in rows, logs and metrics.
    const KIND: &'static str;
    /// Where it waits.
    const QUEUE: QueueName;
    /// Attempts, the first included, before it rests among the dead.
    const MAX_ATTEMPTS: i32 = 8;

    /// Whose work it is; `None`: the platform's own.
    fn business_id(&self) -> Option<BusinessId>;
}

/// A job to be inserted.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub struct NewJob {
    /// Its id, known before the row is.
    pub id: JobId,
    /// Where it waits.
    pub queue: QueueName,
    /// [`Job::KIND`]
    pub kind: String,
    /// Whose work it is.
    pub business_id: Option<BusinessId>,
    /// [`Job`] as JSON.
    pub args: serde_json::Value,
    /// Deduplicates among the kept jobs.
    pub key: Option<String>,
    /// When the key may be taken again; `None`: while the row is kept.
    pub key_expires_at: Option<DateTime<Utc>>,
    /// Jobs of one group are taken together, in order of id.
    pub group_key: Option<String>,
    /// Not before; `None`: at once.
    pub run_at: Option<DateTime<Utc>>,
    /// [`Job::MAX_ATTEMPTS`]
    pub max_attempts: i32,
    /// The Redis channel to tell when it ends.
    pub reply_to: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// The trace it continues.
    pub traceparent: Option<String>,
}

impl NewJob {
    /// A job to run at once, which continues the current trace.
    pub fn new<J: Job>(job: &J) -> Self {
        Self {
            id: JobId::new(),
            queue: J::QUEUE,
            kind: J::KIND.to_owned(),
            business_id: job.business_id(),
            args: serde_json::to_value(job)
                .expect("arguments are plain data, which always encodes"),
            key: None,
            key_expires_at: None,
            group_key: None,
            run_at: None,
            max_attempts: J::MAX_ATTEMPTS,
            reply_to: None,
            request_id: telemetry::current_request_id(),
            traceparent: telemetry::current_traceparent(),
        }
    }

    /// No second job with `key` while this one's row is kept. Begin it with the kind and the business.
    #[must_use]
    pub fn with_key(mut self, key: String) -> Self {
        self.key = Some(key);
        self
    }

    /// As [`Self::with_key`], but only until `expires_at`.
    #[must_use]
    pub fn with_key_until(mut self, key: String, expires_at: DateTime<Utc>) -> Self {
        self.key = Some(key);
        self.key_expires_at = Some(expires_at);
        self
    }

    /// Taken together with the other waiting jobs of `group_key`.
    #[must_use]
    pub fn in_group(mut self, group_key: String) -> Self {
        self.group_key = Some(group_key);
        self
    }

    /// Not before `run_at`.
    #[must_use]
    pub fn at(mut self, run_at: DateTime<Utc>) -> Self {
        self.run_at = Some(run_at);
        self
    }

    /// Tells the Redis channel `reply_to` when it ends.
    #[must_use]
    pub fn replying_to(mut self, reply_to: String) -> Self {
        self.reply_to = Some(reply_to);
        self
    }

    /// How long it must wait, counted from `now`. Rows get it as such, not the time: their clock is the database's.
    pub fn rest(&self, now: DateTime<Utc>) -> Duration {
        let rest = self
            .run_at
            .and_then(|run_at| (run_at - now).to_std().ok())
            .unwrap_or_default();
        // As exact as PostgreSQL's intervals are.
        Duration::from_micros(u64::try_from(rest.as_micros()).unwrap_or(u64::MAX))
    }

    /// How long the dispatcher leaves the row alone: until its time, or as long as its creator needs to push it.
    pub fn dispatch_rest(&self, now: DateTime<Utc>) -> Duration {
        let rest = self.rest(now);
        if rest.is_zero() { HANDOFF } else { rest }
    }

    pub(crate) fn enqueued(&self, now: DateTime<Utc>) -> Enqueued {
        Enqueued {
            due: self.rest(now) <= Duration::from_millis(1),
            ..self.due()
        }
    }

    /// What to push of a row that was inserted to run at once.
    pub fn due(&self) -> Enqueued {
        Enqueued {
            id: self.id,
            queue: self.queue,
            business_id: self.business_id,
            due: true,
        }
    }
}

/// A row that was inserted: what [`super::Dispatch::push`] needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Which.
    pub id: JobId,
    /// Where it waits.
    pub queue: QueueName,
    /// Whose work it is.
    pub business_id: Option<BusinessId>,
    /// Whether it may run now; the others are the dispatcher's, at their time.
    pub due: bool,
}
