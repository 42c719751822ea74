//! What was learnt of keys, sessions and secrets lately, so that most requests ask no database who they are from.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::database::access::ApiKey;
use common::database::identity::memberships::Membership;
use common::database::identity::sessions::Holder;
use common::domain::{ApiKeyId, BusinessId, SessionId, UserId};
use common::queue::{Dispatch, wake};
use fred::clients::SubscriberClient;
use fred::interfaces::PubsubInterface;
use tokio::sync::{Notify, Semaphore};

use super::webhook::Webhook;
use crate::cache::{Cache, Known};

/// Entries of each cache. About a kilobyte each at most.
const CAPACITY: usize = 10_000;

/// How long a look-up may take, waiting included: a webhook's whole acknowledgement must not take longer than 3 s.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Look-ups at once: a flood of made-up keys must leave connections to those who have one.
const LOOKUPS: usize = 4;

/// How long a key, session, identity or membership that was revoked may still work, where Redis does not tell us that it was.
const FRESH: Duration = Duration::from_secs(5);

/// Where ingresses tell each other that somebody's rights were taken.
pub const CHANNEL: &str = "relais:access";

/// What was learnt of keys, sessions and secrets lately.
pub struct AccessCache {
    pub(super) keys: Cache<ApiKeyId, Arc<ApiKey>>,
    pub(super) sessions: Cache<SessionId, Holder>,
    /// By issuer and subject.
    pub(super) identities: Cache<(String, String), Holder>,
    pub(super) memberships: Cache<(UserId, Option<BusinessId>), Membership>,
    pub(super) secrets: Cache<Vec<u8>, Arc<Webhook>>,
    lookups: Semaphore,
    /// How often everything was forgotten.
    forgotten: AtomicU64,
}

impl AccessCache {
    /// Looks something up, within bounds.
    pub(super) async fn look_up<T>(
        &self,
        lookup: impl Future<Output = common::Result<T>>,
    ) -> common::Result<T> {
        let bounded = async {
            let _room = self.lookups.acquire().await;
            lookup.await
        };
        match tokio::time::timeout(LOOKUP_TIMEOUT, bounded).await {
            Ok(found) => found,
            Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }

    /// Forgets whatever gives rights, here and on every ingress: to be called once rights were taken, after the commit.
    ///
    /// Everything at once: rights are taken seldom, and learnt again by one look-up each.
    pub async fn forget(&self, dispatch: &Dispatch) {
        self.clear();
        // Where Redis is away, the others find out after `FRESH`.
        if let Err(error) = dispatch.redis().publish::<(), _, _>(CHANNEL, "").await {
            tracing::warn!(%error, "the other ingresses were not told that rights were taken");
        }
    }

    /// Hears of rights that were taken elsewhere.
    pub(crate) fn listen(self: &Arc<Self>, subscriber: &SubscriberClient) {
        let bell = Arc::new(Notify::new());
        wake::listen(subscriber, CHANNEL, &bell);
        let cache = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                bell.notified().await;
                let Some(cache) = cache.upgrade() else { return };
                cache.clear();
            }
        });
    }

    /// What `cache` has of `key`, else what `lookup` finds, which is remembered: unless rights were taken meanwhile, as what was
    /// found may be from before.
    pub(super) async fn learn<K: Eq + Hash + Clone, V: Clone>(
        &self,
        cache: &Cache<K, V>,
        key: K,
        lookup: impl Future<Output = common::Result<Option<V>>>,
    ) -> common::Result<Option<V>> {
        if let Known::Fresh(value) = cache.get(&key) {
            return Ok(Some(value));
        }
        let before = self.forgotten.load(Ordering::SeqCst);
        let found = self.look_up(lookup).await?;
        if let Some(value) = &found {
            cache.insert(key.clone(), value.clone());
            // Counted before it is cleared: whichever comes first, nothing old stays.
            if self.forgotten.load(Ordering::SeqCst) != before {
                cache.remove(&key);
            }
        }
        Ok(found)
    }

    fn clear(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.keys.clear();
        self.sessions.clear();
        self.identities.clear();
        self.memberships.clear();
        self.secrets.make_stale();
    }
}

impl Default for AccessCache {
    fn default() -> Self {
        Self {
            keys: Cache::new(CAPACITY, FRESH, FRESH),
            sessions: Cache::new(CAPACITY, FRESH, FRESH),
            identities: Cache::new(CAPACITY, FRESH, FRESH),
            memberships: Cache::new(CAPACITY, FRESH, FRESH),
            // Webhooks must be accepted while the database is away.
            secrets: Cache::new(CAPACITY, Duration::from_secs(30), Duration::from_hours(1)),
            lookups: Semaphore::new(LOOKUPS),
            forgotten: AtomicU64::new(0),
        }
    }
}
