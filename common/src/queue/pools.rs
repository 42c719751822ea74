//! Who serves which queues: worker processes announce it, the dispatcher sizes its windows by it, people read it.
//!
//! How old an announcement is goes by Redis's clock: those of two machines may differ by more than an announcement lasts.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fred::clients::Client;
use fred::interfaces::LuaInterface;

use super::QueueName;
use crate::error::Result;

/// The hash of announcements, a field a worker process, and the sorted set of when each was made.
const KEYS: [&str; 2] = ["{relais:pools}", "{relais:pools}:announced"];

/// How long an announcement lasts: several times the workers' interval.
const STALE_SECONDS: i64 = 10;

const ANNOUNCE: &str = r#"
redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
return redis.call("ZADD", KEYS[2], redis.call("TIME")[1], ARGV[1])
"#;

const RETRACT: &str = r#"
redis.call("HDEL", KEYS[1], ARGV[1])
return redis.call("ZREM", KEYS[2], ARGV[1])
"#;

/// Forgets what is stale; answers the rest, each with its age in seconds.
const LIST: &str = r#"
local stale = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", redis.call("TIME")[1] - ARGV[1])
for _, worker in ipairs(stale) do
    redis.call("HDEL", KEYS[1], worker)
    redis.call("ZREM", KEYS[2], worker)
end
local fresh = {}
for _, worker in ipairs(redis.call("HKEYS", KEYS[1])) do
    local age = redis.call("TIME")[1] - (redis.call("ZSCORE", KEYS[2], worker) or 0)
    table.insert(fresh, redis.call("HGET", KEYS[1], worker))
    table.insert(fresh, tostring(age))
end
return fresh
"#;

/// What a worker process announces every two seconds.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Pools {
    /// The process: host, pid and a random part.
    pub worker: String,
    /// Jobs it runs at once, by queue.
    pub concurrency: HashMap<QueueName, usize>,
    /// When it started, by its own clock.
    pub started_at: DateTime<Utc>,
    /// How long ago it said so, in seconds.
    #[serde(skip)]
    pub age_seconds: u64,
}

/// Announces `pools`.
pub async fn announce(redis: &Client, pools: &Pools) -> Result<()> {
    let value = serde_json::to_string(pools).expect("plain data always encodes");
    let args = vec![pools.worker.clone(), value];
    let _: i64 = redis.eval(ANNOUNCE, KEYS.to_vec(), args).await?;
    Ok(())
}

/// Takes an announcement back.
pub async fn retract(redis: &Client, worker: &str) -> Result<()> {
    let _: i64 = redis.eval(RETRACT, KEYS.to_vec(), worker).await?;
    Ok(())
}

/// The processes that announced themselves lately. What does not read is another version's, and left out.
pub async fn list(redis: &Client) -> Result<Vec<Pools>> {
    let all: Vec<(String, String)> = redis.eval(LIST, KEYS.to_vec(), STALE_SECONDS).await?;
    Ok(all
        .iter()
        .filter_map(|(value, age)| {
            let pools: Pools = serde_json::from_str(value).ok()?;
            let age_seconds = age.parse().unwrap_or_default();
            Some(Pools {
                age_seconds,
                ..pools
            })
        })
        .collect())
}

/// Jobs at once by queue, over all worker processes that announced themselves lately; a queue nobody serves is missing.
pub async fn slots(redis: &Client) -> Result<HashMap<QueueName, usize>> {
    let mut slots = HashMap::new();
    for (queue, concurrency) in list(redis)
        .await?
        .into_iter()
        .flat_map(|pools| pools.concurrency)
    {
        *slots.entry(queue).or_default() += concurrency;
    }
    Ok(slots)
}

/// How many of a queue's `slots` one business may hold with long jobs: a tenth is left to others.
pub fn share(slots: usize) -> usize {
    (slots * 9).div_ceil(10)
}
