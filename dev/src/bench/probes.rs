//! Jobs that do nothing: sending them as a service does, hearing of them, and heaps of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::domain::{BusinessId, Language};
use common::queue::jobs::Probe;
use common::queue::probes::Begun;
use common::queue::{self, Dispatch, Enqueued, NewJob};
use common::{Clock, database, redis};
use fred::clients::SubscriberClient;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use sqlx::PgPool;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::Failure;
use crate::testing::Platform;

/// Jobs inserted in one statement.
pub(super) const CHUNK: usize = 5_000;

/// The channels probes tell.
const BEGINS: &str = "relais:bench:begins";
const ENDS: &str = "relais:bench:ends";

#[derive(Default)]
struct Expected {
    begins: HashMap<Uuid, oneshot::Sender<DateTime<Utc>>>,
    ends: HashMap<Uuid, oneshot::Sender<Instant>>,
}

/// Sends probes as a service does, and hears when they begin and end.
pub(super) struct Sender {
    pool: PgPool,
    clock: Clock,
    dispatch: Dispatch,
    expected: Arc<Mutex<Expected>>,
    _subscriber: SubscriberClient,
}

/// A probe that was sent.
pub(super) struct Sent {
    /// When its row was committed.
    pub(super) committed_at: DateTime<Utc>,
    /// When its handler's first line ran.
    pub(super) began_at: oneshot::Receiver<DateTime<Utc>>,
    /// When its end was told.
    pub(super) ended: oneshot::Receiver<Instant>,
}

impl Sender {
    /// A sender on the stores of `platform`.
    pub(super) async fn connect(platform: &Platform) -> Result<Self, Failure> {
        let url = &platform.config.stores.redis_url;
        let dispatch = Dispatch::new(redis::connect(url)?);
        dispatch.redis().wait_for_connect().await?;
        let subscriber = redis::connect_subscriber(url)?;
        subscriber.wait_for_connect().await?;
        let expected = Arc::default();
        tokio::spawn(listen(subscriber.clone(), Arc::clone(&expected)));
        subscriber.subscribe(vec![BEGINS, ENDS]).await?;
        Ok(Self {
            pool: platform.pool.clone(),
            clock: platform.clock.clone(),
            dispatch,
            expected,
            _subscriber: subscriber,
        })
    }

    /// Inserts, commits and pushes a probe of `business_id`.
    pub(super) async fn send(
        &self,
        business_id: BusinessId,
        sleep_ms: u64,
    ) -> Result<Sent, Failure> {
        let job = NewJob::new(&Probe {
            business_id: Some(business_id),
            sleep_ms,
            tells: Some(BEGINS.to_owned()),
            ..Probe::default()
        })
        .replying_to(ENDS.to_owned());
        let (begun, began_at) = oneshot::channel();
        let (told, ended) = oneshot::channel();
        {
            let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
            expected.begins.insert(job.id.0, begun);
            expected.ends.insert(job.id.0, told);
        }
        let mut tx = database::business(&self.pool, business_id).await?;
        let enqueued = queue::enqueue(&mut tx, &job, self.clock.now()).await?;
        tx.commit().await?;
        let committed_at = self.clock.now();
        self.dispatch.push(enqueued.as_slice()).await;
        Ok(Sent {
            committed_at,
            began_at,
            ended,
        })
    }

    /// Inserts and commits `count` probes of `business_id`, a thousand a commit, and offers each thousand.
    pub(super) async fn dump(
        &self,
        business_id: BusinessId,
        count: usize,
        sleep_ms: u64,
    ) -> Result<(), Failure> {
        let jobs: Vec<NewJob> = (0..count).map(|_| probe(business_id, sleep_ms)).collect();
        for jobs in jobs.chunks(1_000) {
            insert(&self.pool, jobs, self.clock.now()).await?;
            let due: Vec<Enqueued> = jobs.iter().map(NewJob::due).collect();
            self.dispatch.push(&due).await;
        }
        Ok(())
    }
}

async fn listen(subscriber: SubscriberClient, expected: Arc<Mutex<Expected>>) {
    let mut messages = subscriber.message_rx();
    loop {
        let message = match messages.recv().await {
            Ok(message) => message,
            // The jobs whose word was missed are counted as lost.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let heard = Instant::now();
        let Some(text) = message.value.as_str() else {
            continue;
        };
        let mut expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
        if &*message.channel == BEGINS {
            if let Ok(Begun { id, at }) = serde_json::from_str(&text)
                && let Some(waiting) = expected.begins.remove(&id.0)
            {
                waiting.send(at).ok();
            }
        } else if let Ok(id) = Uuid::try_parse(&text)
            && let Some(waiting) = expected.ends.remove(&id)
        {
            waiting.send(heard).ok();
        }
    }
}

fn probe(business_id: BusinessId, sleep_ms: u64) -> NewJob {
    NewJob::new(&Probe {
        business_id: Some(business_id),
        sleep_ms,
        ..Probe::default()
    })
}

async fn insert(pool: &PgPool, jobs: &[NewJob], now: DateTime<Utc>) -> Result<(), Failure> {
    let mut tx = database::platform_relaxed(pool).await?;
    database::jobs::insert_many(&mut tx, jobs, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Creates `count` businesses, with nothing but a row each.
pub(super) async fn businesses(
    platform: &Platform,
    count: usize,
) -> Result<Vec<BusinessId>, Failure> {
    let mut ids = Vec::with_capacity(count);
    for number in 0..count {
        let id = BusinessId::new();
        let mut tx = database::business_relaxed(&platform.pool, id).await?;
        let (name, now) = (format!("Business {number}"), platform.clock.now());
        database::businesses::insert(&mut tx, id, &name, Language::French, "vip", now).await?;
        tx.commit().await?;
        ids.push(id);
    }
    Ok(ids)
}

/// Inserts `count` no-op probes, spread over `businesses`, pushes none, and leaves PostgreSQL with nothing to catch up on.
pub(super) async fn fill(
    platform: &Platform,
    businesses: &[BusinessId],
    count: usize,
    sleep_ms: u64,
) -> Result<(), Failure> {
    for start in (0..count).step_by(CHUNK) {
        let jobs: Vec<NewJob> = (start..count.min(start + CHUNK))
            .map(|number| probe(businesses[number % businesses.len()], sleep_ms))
            .collect();
        insert(&platform.pool, &jobs, platform.clock.now()).await?;
    }
    settle(platform).await
}

/// Leaves PostgreSQL as it would be some time after what was written: statistics and hint bits there, pages on disk.
pub(super) async fn settle(platform: &Platform) -> Result<(), Failure> {
    let mut conn = platform.owner.acquire().await?;
    for statement in [
        "SET statement_timeout = 0",
        "VACUUM ANALYZE jobs",
        "CHECKPOINT",
    ] {
        sqlx::query(statement).execute(&mut *conn).await?;
    }
    // Its settings are not for others.
    conn.close().await?;
    Ok(())
}

/// Waits until no probe waits or runs; looks every `rest`.
pub(super) async fn wait_until_done(
    platform: &Platform,
    rest: Duration,
    limit: Duration,
) -> Result<(), Failure> {
    let mut conn = platform.owner.acquire().await?;
    // The statistics still tell of a backlog: through the indexes of what waits and runs this costs next to nothing.
    sqlx::query("SET enable_seqscan = off")
        .execute(&mut *conn)
        .await?;
    let done = "SELECT NOT EXISTS (SELECT FROM jobs WHERE queue = 'maintenance' AND state IN ('queued', 'failed') AND kind = 'probe')
                   AND NOT EXISTS (SELECT FROM jobs WHERE queue = 'maintenance' AND state = 'running' AND kind = 'probe')";
    let deadline = Instant::now() + limit;
    while !sqlx::query_scalar::<_, bool>(done)
        .fetch_one(&mut *conn)
        .await?
    {
        if Instant::now() > deadline {
            return Err(format!("the jobs have not ended after {limit:?}").into());
        }
        tokio::time::sleep(rest).await;
    }
    conn.close().await?;
    Ok(())
}

/// Empties the table of jobs.
pub(super) async fn forget(platform: &Platform) -> Result<(), Failure> {
    sqlx::query("TRUNCATE jobs")
        .execute(&platform.owner)
        .await?;
    Ok(())
}
