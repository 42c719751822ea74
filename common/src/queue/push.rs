//! Offering jobs to Redis.

use std::sync::Arc;

use fred::clients::Client;
use fred::interfaces::{ClientLike, ListInterface, PubsubInterface};
use uuid::Uuid;

use super::script::Scripts;
use super::{Enqueued, QueueName};
use crate::error::Result;

/// How long a queue's list may be for a creator to push its job itself.
///
/// A longer list means a backlog: then only the dispatcher, which is fair to all businesses, adds to it.
const EXPRESS: usize = 16;

/// The channel the dispatcher listens on: somebody's push was refused.
pub const DISPATCH_CHANNEL: &str = "relais:dispatch";

/// Offers jobs to Redis. Cheap to clone.
#[derive(Clone)]
pub struct Dispatch {
    redis: Client,
    scripts: Arc<Scripts>,
}

impl Dispatch {
    /// Offers through `redis`.
    pub fn new(redis: Client) -> Self {
        Self {
            redis,
            scripts: Arc::new(Scripts::new()),
        }
    }

    /// The client it uses.
    pub fn redis(&self) -> &Client {
        &self.redis
    }

    /// Offers jobs whose rows are committed, those that are due. Best effort: what is not taken, the dispatcher finds.
    pub async fn push(&self, jobs: &[Enqueued]) {
        for queue in QueueName::ALL {
            let due: Vec<Uuid> = jobs
                .iter()
                .filter(|job| job.due && job.queue == queue)
                .map(|job| job.id.0)
                .collect();
            if !due.is_empty() {
                self.push_express(queue, &due).await;
            }
        }
    }

    async fn push_express(&self, queue: QueueName, ids: &[Uuid]) {
        // More than the list may hold are not even offered.
        let offered = &ids[..ids.len().min(EXPRESS)];
        match self.offer(queue, offered, EXPRESS).await {
            Ok(taken) if taken == ids.len() => {}
            Ok(_) => {
                let woken: Result<i64, _> =
                    self.redis.publish(DISPATCH_CHANNEL, queue.as_str()).await;
                if let Err(error) = woken {
                    tracing::debug!(%error, "the dispatcher was not woken; its tick will find the jobs");
                }
            }
            Err(error) => {
                tracing::debug!(%error, %queue, "jobs not pushed; the dispatcher will find them");
            }
        }
    }

    /// Offers `ids` to a queue while its list is shorter than `longest`; answers how many of them, from the first, it took.
    pub async fn offer(&self, queue: QueueName, ids: &[Uuid], longest: usize) -> Result<usize> {
        let name = queue.redis_name();
        let keys = vec![format!("{name}:active"), format!("{name}:data")];
        let mut args = vec![
            longest.to_string(),
            format!("{name}:meta"),
            wake_channel(queue),
        ];
        for id in ids {
            args.push(task_id());
            args.push(serde_json::Value::from(id.to_string()).to_string());
        }
        Ok(self
            .scripts
            .push
            .evalsha_with_reload(&self.redis, keys, args)
            .await?)
    }

    /// How many tasks wait in a queue's list.
    pub async fn length(&self, queue: QueueName) -> Result<usize> {
        Ok(self
            .redis
            .llen(format!("{}:active", queue.redis_name()))
            .await?)
    }

    /// Removes what Redis keeps of ended tasks; returns those that are not acknowledged yet.
    pub(super) async fn forget(&self, queue: QueueName, tasks: Vec<String>) -> Result<Vec<String>> {
        let name = queue.redis_name();
        let keys = vec![
            format!("{name}:done"),
            format!("{name}:dead"),
            format!("{name}:data"),
        ];
        let args: Vec<String> = std::iter::once(format!("{name}:meta"))
            .chain(tasks)
            .collect();
        Ok(self
            .scripts
            .forget
            .evalsha_with_reload(&self.redis, keys, args)
            .await?)
    }

    /// Removes workers whose last heartbeat was before `unix_seconds`, and what they held; returns how many.
    pub async fn bury(&self, queue: QueueName, unix_seconds: i64) -> Result<usize> {
        let name = queue.redis_name();
        let keys = vec![format!("{name}:workers"), format!("{name}:data")];
        let args = vec![
            unix_seconds.to_string(),
            format!("{name}:inflight"),
            format!("{name}:meta"),
            format!("{name}:workers:metadata"),
        ];
        Ok(self
            .scripts
            .bury
            .evalsha_with_reload(&self.redis, keys, args)
            .await?)
    }

    /// Tells `channel` that a job ended. Best effort: who waits also looks at the row now and then.
    pub async fn reply(&self, channel: &str, id: Uuid) {
        let told: Result<i64, _> = self.redis.publish(channel, id.to_string()).await;
        if let Err(error) = told {
            tracing::debug!(%error, "who waits for the job was not told");
        }
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<()> {
        let _: String = self.redis.ping(None).await?;
        Ok(())
    }
}

/// The channel a queue's workers listen on.
pub fn wake_channel(queue: QueueName) -> String {
    format!("relais:wake:{queue}")
}

/// apalis-redis wants ULIDs: a UUIDv7's 128 bits in its alphabet.
fn task_id() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = Uuid::now_v7().as_u128();
    (0..26)
        .rev()
        .map(|digit| char::from(ALPHABET[(bits >> (5 * digit)) as usize & 31]))
        .collect()
}
