//! What a [`super::jobs::Probe`] tells whoever sent it.

use chrono::{DateTime, Utc};
use fred::interfaces::PubsubInterface;

use super::Dispatch;
use crate::domain::JobId;

/// An attempt's handler has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Begun {
    /// The job.
    pub id: JobId,
    /// When its first line ran, by the worker's clock.
    pub at: DateTime<Utc>,
}

impl Begun {
    /// Tells `channel`. Best effort: who measures counts what was not told.
    pub async fn tell(&self, dispatch: &Dispatch, channel: &str) {
        let message = serde_json::to_string(self).expect("plain data always encodes");
        let told: Result<i64, _> = dispatch.redis().publish(channel, message).await;
        if let Err(error) = told {
            tracing::debug!(%error, "the probe's beginning was not told");
        }
    }
}
