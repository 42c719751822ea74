//! Who serves which queues: worker processes announce it, the dispatcher sizes its windows by it, people read it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fred::clients::Client;
use fred::interfaces::HashesInterface;

use super::QueueName;
use crate::error::Result;

/// The hash of announcements: a field a worker process.
const POOLS_KEY: &str = "relais:pools";

/// How old an announcement may be: several times the workers' interval.
const STALE_SECONDS: i64 = 10;

/// What a worker process announces every two seconds.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Pools {
    /// The process: host, pid and a random part.
    pub worker: String,
    /// Jobs it runs at once, by queue.
    pub concurrency: HashMap<QueueName, usize>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it said so.
    pub announced_at: DateTime<Utc>,
}

/// Announces `pools`.
pub async fn announce(redis: &Client, pools: &Pools) -> Result<()> {
    let value = serde_json::to_string(pools).expect("plain data always encodes");
    let _: i64 = redis
        .hset(POOLS_KEY, (pools.worker.as_str(), value))
        .await?;
    Ok(())
}

/// Takes an announcement back.
pub async fn retract(redis: &Client, worker: &str) -> Result<()> {
    let _: i64 = redis.hdel(POOLS_KEY, worker).await?;
    Ok(())
}

/// The processes that announced themselves lately; forgets the others.
pub async fn list(redis: &Client, now: DateTime<Utc>) -> Result<Vec<Pools>> {
    let all: HashMap<String, String> = redis.hgetall(POOLS_KEY).await?;
    let mut fresh = Vec::with_capacity(all.len());
    for (worker, value) in all {
        match serde_json::from_str::<Pools>(&value) {
            Ok(pools) if (now - pools.announced_at).num_seconds() < STALE_SECONDS => {
                fresh.push(pools);
            }
            _ => retract(redis, &worker).await?,
        }
    }
    Ok(fresh)
}
