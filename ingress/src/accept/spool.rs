//! The list in Redis that keeps accepted jobs while PostgreSQL is away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::domain::JobId;
use common::faults::{self, Mutant};
use common::queue::{NewJob, wake};
use common::{Error, Result};
use fred::clients::{Client, SubscriberClient};
use fred::interfaces::{KeysInterface, ListInterface};
use fred::types::scripts::Script;
use tokio::sync::{Notify, OnceCell};
use uuid::Uuid;

/// The list: jobs as JSON, oldest first. Shared by all ingresses.
pub(super) const SPOOL: &str = "relais:spool";

/// What is said when a job was spooled: the other ingresses must not commit past it.
const SPOOLED_CHANNEL: &str = "relais:spooled";

/// Where entries go that PostgreSQL refuses, for a person to look at.
const REFUSED: &str = "relais:spool:refused";

/// More is an outage of hours; Redis's memory is for more than this. About a kilobyte each.
const LONGEST: usize = 200_000;

/// How long a key without an end of its own is remembered. Beyond it PostgreSQL still tells repeats apart.
const KEY_SECONDS: i64 = 600;

/// Appends a job unless one with its key was spooled lately; answers the id of the one that stands for it, or nothing
/// where the spool is full.
///
/// - `KEYS`: the spool, the marker of the key (on the same node of a cluster)
/// - `ARGV`: the job, its id, how long the key counts in milliseconds (0: there is none), the longest spool, the channel
const PUT: &str = r#"
local ttl = tonumber(ARGV[3])
if ttl > 0 then
    local holder = redis.call("GET", KEYS[2])
    if holder then return holder end
end
if redis.call("LLEN", KEYS[1]) >= tonumber(ARGV[4]) then return nil end
redis.call("RPUSH", KEYS[1], ARGV[1])
redis.call("PUBLISH", ARGV[5], 1)
if ttl > 0 then redis.call("SET", KEYS[2], ARGV[2], "PX", ttl) end
return ARGV[2]
"#;

/// The spool, as this process sees it.
///
/// Open: PostgreSQL does not take jobs, or did not a moment ago, here or at another ingress. Until everything spooled is
/// inserted, what comes is spooled too, so that it stays in order.
pub(super) struct Spool {
    redis: Client,
    put: Script,
    state: Mutex<State>,
    opened: Notify,
    /// Rung when an ingress, this one among them, has spooled.
    spooled: Arc<Notify>,
    /// Whether it was looked into since the start.
    looked: OnceCell<()>,
}

#[derive(Default)]
struct State {
    open: bool,
    /// Requests that are about to append: it must not close on them.
    writing: usize,
    /// How many ever were.
    begun: u64,
}

impl Spool {
    pub(super) fn new(redis: Client) -> Self {
        Self {
            redis,
            put: Script::from_lua(PUT),
            state: Mutex::default(),
            opened: Notify::new(),
            spooled: Arc::default(),
            looked: OnceCell::new(),
        }
    }

    /// Hears of what other ingresses spool.
    pub(super) fn listen(&self, subscriber: &SubscriberClient) {
        if !faults::planted(Mutant::DeafSpool) {
            wake::listen(subscriber, SPOOLED_CHANNEL, &self.spooled);
        }
    }

    /// Resolves once some ingress has spooled.
    pub(super) async fn spooled(&self) {
        self.spooled.notified().await;
    }

    /// Opens it where something is in it.
    pub(super) async fn look(&self) {
        if self.length().await.is_ok_and(|length| length > 0) {
            self.open();
        }
    }

    /// Resolves once it was looked into: an ingress that starts must not commit past what others spooled.
    pub(super) async fn looked(&self) {
        self.looked.get_or_init(|| self.look()).await;
    }

    fn open(&self) {
        let mut state = self.state();
        if !state.open {
            state.open = true;
            self.opened.notify_one();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open
    }

    /// Opens the spool and appends `job`.
    pub(super) async fn put(&self, job: &NewJob) -> Result<JobId> {
        let _writing = self.begin_writing();
        let value = serde_json::to_string(job).expect("a job is plain data, which always encodes");
        let (marker, ttl) = match &job.key {
            Some(key) => (format!("{{{SPOOL}}}:{key}"), key_milliseconds(job)),
            None => (format!("{{{SPOOL}}}:"), 0),
        };
        let args = vec![
            value,
            job.id.to_string(),
            ttl.to_string(),
            LONGEST.to_string(),
            SPOOLED_CHANNEL.to_owned(),
        ];
        let holder: Option<String> = self
            .put
            .evalsha_with_reload(&self.redis, vec![SPOOL.to_owned(), marker], args)
            .await?;
        let holder = holder.ok_or(Error::Conflict("the spool is full"))?;
        Uuid::try_parse(&holder)
            .map(JobId)
            .map_err(|_| Error::Corrupt("spool marker"))
    }

    /// What to give to [`Self::close`]: take it before looking whether the spool is empty.
    pub(super) fn begun(&self) -> u64 {
        self.state().begun
    }

    /// Closes the spool, unless something was or is about to be appended since `begun` was taken.
    pub(super) fn close(&self, begun: u64) {
        let state = self.state();
        if state.writing == 0 && state.begun == begun {
            close(state);
        }
    }

    /// Closes the spool whatever is about to be appended.
    pub(super) fn close_regardless(&self) {
        close(self.state());
    }

    /// Resolves once the spool opens.
    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }

    pub(super) async fn length(&self) -> Result<usize> {
        let length: usize = self.redis.llen(SPOOL).await?;
        Ok(length)
    }

    /// The oldest entries, at most `count`.
    pub(super) async fn peek(&self, count: usize) -> Result<Vec<String>> {
        let last = i64::try_from(count).unwrap_or(i64::MAX) - 1;
        Ok(self.redis.lrange(SPOOL, 0, last).await?)
    }

    /// Removes entries that are taken care of. Each is removed by value, since others may drain as well.
    pub(super) async fn remove(&self, entries: &[String]) -> Result<()> {
        let removals = entries
            .iter()
            .map(|entry| self.redis.lrem::<i64, _, _>(SPOOL, 1, entry.as_str()));
        futures::future::try_join_all(removals).await?;
        Ok(())
    }

    /// Puts an entry aside that can never be inserted.
    pub(super) async fn set_aside(&self, entry: &str) -> Result<()> {
        let _: i64 = self.redis.rpush(REFUSED, entry).await?;
        let _: bool = self.redis.expire(REFUSED, 30 * 24 * 3_600, None).await?;
        self.remove(&[entry.to_owned()]).await
    }

    fn begin_writing(&self) -> Writing<'_> {
        let mut state = self.state();
        state.writing += 1;
        state.begun += 1;
        drop(state);
        self.open();
        Writing(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn close(mut state: MutexGuard<'_, State>) {
    if std::mem::take(&mut state.open) {
        tracing::info!("PostgreSQL takes messages again");
    }
}

/// A request that is about to append. A guard, since the request may be dropped while it waits.
struct Writing<'a>(&'a Spool);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.state().writing -= 1;
    }
}

/// How long repeats of `job` count as such: what is left of its key's life, counted from its id's time.
fn key_milliseconds(job: &NewJob) -> i64 {
    let made_at = made_at(job);
    job.key_expires_at.map_or(KEY_SECONDS * 1_000, |end| {
        (end.timestamp_millis() - made_at).max(1)
    })
}

/// When `job` was made, in milliseconds since 1970: the first 48 bits of a UUIDv7.
pub(super) fn made_at(job: &NewJob) -> i64 {
    i64::try_from(job.id.0.as_u128() >> 80).unwrap_or_default()
}
