//! The queues, by latency class: each has its own pool, so that none starves another.

use std::fmt;
use std::str::FromStr;

/// A named list of jobs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum QueueName {
    /// Inbound messages, turns, questions: somebody waits for the answer.
    Chat,
    /// What leaves through channels and outbound webhooks, where the first try failed.
    Delivery,
    /// Ingestion: minutes of work that must delay nobody.
    Documents,
    /// Stripe synchronisation and events.
    Stripe,
    /// Metrics, readiness, recommendations.
    Finance,
    /// Deep research: long and resumable.
    Research,
    /// Cleaning up.
    Maintenance,
}

impl QueueName {
    /// Every queue.
    pub const ALL: [Self; 7] = [
        Self::Chat,
        Self::Delivery,
        Self::Documents,
        Self::Stripe,
        Self::Finance,
        Self::Research,
        Self::Maintenance,
    ];

    /// Its name in rows, options and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Delivery => "delivery",
            Self::Documents => "documents",
            Self::Stripe => "stripe",
            Self::Finance => "finance",
            Self::Research => "research",
            Self::Maintenance => "maintenance",
        }
    }

    /// Its name in Redis: the prefix of every key apalis-redis makes for it.
    ///
    /// The braces are a Redis Cluster hash tag: all keys of a queue lie on one node.
    pub fn redis_name(self) -> String {
        format!("{{relais:{self}}}")
    }

    /// How many of its jobs a worker process runs at once, unless `--queues` says otherwise.
    ///
    /// Chat and delivery wait for others most of the time; documents use a core each.
    pub fn default_concurrency(self) -> usize {
        match self {
            Self::Chat => 64,
            Self::Delivery => 32,
            Self::Documents => 2,
            Self::Stripe | Self::Finance | Self::Research => 4,
            Self::Maintenance => 1,
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for QueueName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|queue| queue.as_str() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.map(Self::as_str).into();
                format!("`{name}` is no queue: use one of {}", known.join(", "))
            })
    }
}
