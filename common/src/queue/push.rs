//! Offering jobs to Redis.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike, ListInterface, PubsubInterface, SortedSetsInterface};
use uuid::Uuid;

use super::consumer::Ended;
use super::script::Scripts;
use super::{Enqueued, QueueName};
use crate::error::Result;
use crate::faults::{self, Mutant};

/// How long a queue's list may be for a creator to append its job itself.
///
/// A longer list means a backlog: then only the dispatcher, which is fair to all businesses, appends to it.
const SHORT: usize = 16;

/// While there is a backlog a creator may still put one job of a business ahead of it, so often: a business that has little
/// to do does not notice the backlog of another, and one that has much gains nothing.
const AHEAD_EVERY: Duration = Duration::from_millis(50);

/// Jobs put ahead of the list by creators, of all businesses, in [`AHEAD_EVERY`]. They are last in, first out: beyond this
/// the dispatcher keeps their order.
const AHEAD_AT_ONCE: usize = 64;

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
            let due: Vec<&Enqueued> = jobs
                .iter()
                .filter(|job| job.due && job.queue == queue)
                .collect();
            if !due.is_empty() {
                self.push_to(queue, &due).await;
            }
        }
    }

    async fn push_to(&self, queue: QueueName, jobs: &[&Enqueued]) {
        // More than the list may hold are not even offered.
        let offered = &jobs[..jobs.len().min(SHORT)];
        match self.push_few(queue, offered).await {
            Ok(taken) if taken == jobs.len() => {}
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

    /// Answers how many were taken.
    async fn push_few(&self, queue: QueueName, jobs: &[&Enqueued]) -> Result<usize> {
        let keys = Keys::of(queue);
        let mut args = vec![
            keys.meta,
            wake_channel(queue),
            SHORT.to_string(),
            format!("{}:ahead", queue.redis_name()),
            AHEAD_EVERY.as_millis().to_string(),
            AHEAD_AT_ONCE.to_string(),
        ];
        for job in jobs {
            args.push(task_id());
            args.push(payload(job.id.0));
            let lane = job
                .business_id
                .map_or_else(Uuid::max, |business| business.0);
            args.push(lane.to_string());
        }
        Ok(self
            .scripts
            .push
            .evalsha_with_reload(&self.redis, vec![keys.active, keys.data], args)
            .await?)
    }

    /// Puts tasks into a queue's list, for the dispatcher: at the end, or, those that are ahead, before the task `pivot`.
    pub async fn offer(&self, queue: QueueName, tasks: &[Task], pivot: Option<&str>) -> Result<()> {
        let keys = Keys::of(queue);
        let mut args = vec![
            keys.meta,
            wake_channel(queue),
            pivot.unwrap_or_default().to_owned(),
        ];
        for task in tasks {
            args.push(task.id.clone());
            args.push(payload(task.job_id));
            args.push(if task.ahead { "1" } else { "0" }.to_owned());
        }
        let _: i64 = self
            .scripts
            .offer
            .evalsha_with_reload(&self.redis, vec![keys.active, keys.data], args)
            .await?;
        Ok(())
    }

    /// The ids of the tasks in a queue's list, first to last.
    pub async fn list(&self, queue: QueueName) -> Result<Vec<String>> {
        Ok(self.redis.lrange(Keys::of(queue).active, 0, -1).await?)
    }

    /// Removes what Redis keeps of ended tasks.
    pub(super) async fn forget(&self, queue: QueueName, tasks: &[Ended]) -> Result<()> {
        if faults::planted(Mutant::NoForgetting) {
            return Ok(());
        }
        let name = queue.redis_name();
        let mut args = vec![format!("{name}:meta"), format!("{name}:inflight")];
        for ended in tasks {
            args.push(ended.consumer.to_string());
            args.push(ended.task.clone());
        }
        let _: i64 = self
            .scripts
            .forget
            .evalsha_with_reload(&self.redis, vec![format!("{name}:data")], args)
            .await?;
        Ok(())
    }

    /// The consumers of a queue and their last heartbeats, each by its own clock: to be compared for equality.
    pub async fn heartbeats(&self, queue: QueueName) -> Result<HashMap<String, String>> {
        let key = format!("{}:workers", queue.redis_name());
        let all: Vec<(String, String)> = self
            .redis
            .zrange(key, 0, -1, None, false, None, true)
            .await?;
        Ok(all.into_iter().collect())
    }

    /// Removes consumers whose last heartbeat is still the one given, and what they held; returns how many.
    pub async fn bury(&self, queue: QueueName, consumers: &[(String, String)]) -> Result<usize> {
        let name = queue.redis_name();
        let keys = vec![format!("{name}:workers"), format!("{name}:data")];
        let mut args = vec![
            format!("{name}:inflight"),
            format!("{name}:meta"),
            format!("{name}:workers:metadata"),
        ];
        for (consumer, heartbeat) in consumers {
            args.push(consumer.clone());
            args.push(heartbeat.clone());
        }
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

/// A job on its way to a worker.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id in Redis, of this offer alone.
    pub id: String,
    /// The job it carries.
    pub job_id: Uuid,
    /// Whether it goes ahead of the list.
    pub ahead: bool,
}

impl Task {
    /// A task with an id of its own.
    pub fn new(job_id: Uuid, ahead: bool) -> Self {
        Self {
            id: task_id(),
            job_id,
            ahead,
        }
    }
}

/// The keys of apalis-redis that a task lies under.
struct Keys {
    active: String,
    data: String,
    meta: String,
}

impl Keys {
    fn of(queue: QueueName) -> Self {
        let name = queue.redis_name();
        Self {
            active: format!("{name}:active"),
            data: format!("{name}:data"),
            meta: format!("{name}:meta"),
        }
    }
}

/// What a task carries: the job's id, as JSON.
fn payload(job_id: Uuid) -> String {
    format!("\"{job_id}\"")
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
