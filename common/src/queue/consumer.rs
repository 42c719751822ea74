//! Taking jobs from Redis: apalis workers over apalis-redis, configured around what version 1.0 of it gets wrong.
//!
//! - It polls only on a heartbeat or a finished task, and its own poll strategies lose wake-ups: `WakeStrategy`.
//! - Any error, an 800 ms stall included, ends its worker: [`consume`] starts another, under a new name, since a name is
//!   refused while its last heartbeat is fresh.
//! - A payload that does not decode ends its worker: ours is any JSON, read by us.
//! - Errors, panics and timeouts are retried, or not, by rules of its own: it always sees success, the row knows better.
//! - It acknowledges tasks one after the other, each a question that the next fetch waits for, and then keeps them for ever: it
//!   does not acknowledge; `forget_ended` removes what ended, many at a time.
//! - It takes tasks of dead workers back in a way that can meet a task without its data: switched off (`ORPHANED_AFTER`);
//!   the dispatcher offers such jobs again, the janitor removes the remains.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::{TaskId, WorkerBuilder, WorkerBuilderExt as _};
use apalis_core::backend::ext::BackendExt as _;
use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use apalis_redis::{Config, RedisStorage};
use redis::IntoConnectionInfo;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::slot::{Slot, Slots};
use super::{Dispatch, QueueName};
use crate::faults::{self, Mutant};

/// A wake-up can be lost (pub/sub is best effort): how long a task then waits at most.
const TICK: Duration = Duration::from_millis(500);

/// How often a worker tells Redis that it lives. Only [`Dispatch::bury`] cares.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Heartbeats a worker may miss before apalis-redis takes its tasks back: ten years' worth, that is never.
const ORPHANED_AFTER: usize = 60_000_000;

/// A wake-up that comes while a fetch is under way, which may have looked before the push, is lost: how soon another looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How long a fetch is under way, and longer.
const FETCHING: Duration = Duration::from_millis(3);

/// How long a worker rests before it starts again after an error: the first, doubled up to the last.
const RESTART_REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long apalis gets to give back what it was fetching at a stop.
const LAST_FETCHES: Duration = Duration::from_millis(100);

/// How often ended tasks are removed from Redis.
const FORGET_EVERY: Duration = Duration::from_millis(250);

/// One queue's pool.
#[derive(Clone)]
pub struct Pool {
    /// Which queue.
    pub queue: QueueName,
    /// Jobs at once, of this consumer.
    pub concurrency: usize,
    /// The slots of all consumers of the pool.
    pub slots: Arc<Slots>,
    /// Redis.
    pub redis_url: SecretString,
    /// To remove ended tasks.
    pub dispatch: Dispatch,
    /// Counts up when somebody pushed to the queue.
    pub wake: watch::Receiver<u64>,
}

/// Runs `run` for every job taken from the pool's queue, until `stop`; returns when those taken have ended.
///
/// `run` gets the job's id and its slot, never fails, and is given its own task.
pub async fn consume<F, R>(pool: Pool, stop: CancellationToken, run: F)
where
    F: Fn(Uuid, Slot) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (ended, to_forget) = mpsc::unbounded_channel();
    let forgetting = tokio::spawn(forget_ended(pool.dispatch.clone(), pool.queue, to_forget));
    let running = TaskTracker::new();
    let mut rest = RESTART_REST.0;
    while !stop.is_cancelled() {
        let started = tokio::time::Instant::now();
        let life = serve(
            &pool,
            stop.clone(),
            Taken {
                run: run.clone(),
                running: running.clone(),
                slots: Arc::clone(&pool.slots),
                consumer: format!("{}-{}", pool.queue, Uuid::now_v7().simple()).into(),
                ended: ended.clone(),
            },
        );
        tokio::select! {
            life = life => match life {
                Ok(()) => break,
                Err(_) if faults::planted(Mutant::NoConsumerRestart) => stop.cancelled().await,
                Err(error) => {
                    tracing::warn!(queue = %pool.queue, error, "consumer restarts");
                    metrics::counter!("relais_consumer_restarts_total", "queue" => pool.queue.as_str()).increment(1);
                }
            },
            // apalis may wait for ever for jobs that have ended: we know which run.
            () = finished(&stop, &running) => break,
        }
        rest = if started.elapsed() > RESTART_REST.1 {
            RESTART_REST.0
        } else {
            (rest * 2).min(RESTART_REST.1)
        };
        tokio::select! { () = tokio::time::sleep(rest) => {}, () = stop.cancelled() => {} }
    }
    running.close();
    running.wait().await;
    drop(ended);
    if let Err(error) = forgetting.await {
        tracing::error!(%error, "the removal of ended tasks stopped");
    }
}

/// Resolves once the pool is to stop, nothing of it runs, and the last fetches have had the time to be given back.
async fn finished(stop: &CancellationToken, running: &TaskTracker) {
    stop.cancelled().await;
    running.close();
    running.wait().await;
    tokio::time::sleep(LAST_FETCHES).await;
}

/// What a worker does with what it takes.
#[derive(Clone)]
struct Taken<F> {
    run: F,
    running: TaskTracker,
    slots: Arc<Slots>,
    /// Who takes.
    consumer: Arc<str>,
    ended: mpsc::UnboundedSender<Ended>,
}

/// A task that ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// Who took it.
    pub(super) consumer: Arc<str>,
    /// Its id.
    pub(super) task: String,
}

impl<F, R> Taken<F>
where
    F: Fn(Uuid, Slot) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    async fn handle(&self, payload: serde_json::Value, task: TaskId) {
        if let Some(id) = payload.as_str().and_then(|id| Uuid::try_parse(id).ok()) {
            let (freed, free) = oneshot::channel();
            // A task of its own: all jobs of a worker otherwise share one, with its fetching and acknowledging.
            self.running.spawn((self.run)(id, self.slots.take(freed)));
            // Nothing is ever sent: the slot is dropped, at the latest with the job's task.
            free.await.ok();
        } else {
            tracing::warn!(task.id = %task, "a task without a job's id was dropped");
        }
        // Whoever removes ended tasks outlives this worker; if not, the process ends.
        let ended = Ended {
            consumer: Arc::clone(&self.consumer),
            task: task.to_string(),
        };
        self.ended.send(ended).ok();
    }
}

/// One life of an apalis worker.
async fn serve<F, R>(pool: &Pool, stop: CancellationToken, taken: Taken<F>) -> Result<(), String>
where
    F: Fn(Uuid, Slot) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let connection = connect(&pool.redis_url)
        .await
        .map_err(|error| error.to_string())?;
    let config = Config::default()
        .queue(pool.queue.redis_name().as_str())
        // One at a time: what a worker holds in its buffer waits for a slot while another worker may be idle.
        .batch_size(1)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(ORPHANED_AFTER)
        .lock_tasks(false)
        .emit_events(false)
        // Without results nothing is acknowledged: that is `forget_ended`'s.
        .persist_results(false);
    let backend = RedisStorage::<serde_json::Value>::new(connection)
        .with_config(config)
        .poll_with_strategy(WakeStrategy::new(pool.wake.clone()));

    let name = taken.consumer.to_string();
    let handler = move |payload: serde_json::Value, task: TaskId| {
        let taken = taken.clone();
        async move { taken.handle(payload, task).await }
    };
    WorkerBuilder::new(name)
        .backend(backend)
        .concurrency(pool.concurrency)
        .build(handler)
        .run_until(async move {
            stop.cancelled().await;
            Ok::<(), std::io::Error>(())
        })
        .await
        .map_err(|error| error.to_string())
}

async fn connect(url: &SecretString) -> Result<ConnectionManager, redis::RedisError> {
    let config = ConnectionManagerConfig::new()
        // The default of 500 ms ends every worker at a stall of 800.
        .set_response_timeout(Some(Duration::from_secs(5)))
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_number_of_retries(3);
    let info = url.expose_secret().into_connection_info()?;
    // A request waits for no acknowledgement of the one before.
    let at_once = info.tcp_settings().clone().set_nodelay(true);
    redis::Client::open(info.set_tcp_settings(at_once))?
        .get_connection_manager_with_config(config)
        .await
}

/// Polls when somebody pushed, and now and then.
struct WakeStrategy {
    wake: futures::stream::BoxStream<'static, ()>,
    tick: Interval,
    /// When to look again after the last wake-up; none: that was done.
    again: Option<Pin<Box<Sleep>>>,
    /// When the worker was polled last, which may have begun a fetch.
    polled_at: Instant,
}

impl WakeStrategy {
    fn new(wake: watch::Receiver<u64>) -> Self {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wake = futures::stream::unfold(wake, |mut wake| async move {
            wake.changed().await.ok().map(|()| ((), wake))
        });
        Self {
            wake: Box::pin(wake),
            tick,
            again: None,
            polled_at: Instant::now(),
        }
    }
}

impl PollStrategy for WakeStrategy {
    /// Polls both to exhaustion: only what answered "pending" has kept the waker.
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut fired = false;
        while let Poll::Ready(Some(())) = self.wake.as_mut().poll_next(cx) {
            fired = true;
            if self.polled_at.elapsed() < FETCHING {
                self.again = Some(Box::pin(tokio::time::sleep(LOOK_AGAIN)));
            }
        }
        while self.tick.poll_tick(cx).is_ready() {
            fired = true;
        }
        if let Some(again) = &mut self.again
            && again.as_mut().poll(cx).is_ready()
        {
            self.again = None;
            fired = true;
        }
        if fired {
            Poll::Ready(Some(()))
        } else {
            Poll::Pending
        }
    }

    fn on_poll(&mut self, _: &PollSnapshot) {
        self.polled_at = Instant::now();
    }
}

/// Tasks that wait to be removed, at most: beyond it their keys are left until their consumer is buried.
const FORGET_WAITING: usize = 100_000;

/// Removes ended tasks from Redis, in batches.
async fn forget_ended(
    dispatch: Dispatch,
    queue: QueueName,
    mut ended: mpsc::UnboundedReceiver<Ended>,
) {
    let mut waiting: Vec<Ended> = Vec::new();
    let mut open = true;
    while open {
        if waiting.is_empty() {
            open = ended.recv_many(&mut waiting, 1_000).await > 0;
        }
        tokio::time::sleep(FORGET_EVERY).await;
        while let Ok(task) = ended.try_recv() {
            waiting.push(task);
        }
        open &= !(ended.is_closed() && ended.is_empty());
        let tasks = std::mem::take(&mut waiting);
        for chunk in tasks.chunks(500) {
            if let Err(error) = dispatch.forget(queue, chunk).await {
                tracing::debug!(%error, "ended tasks stay in Redis until the next try");
                waiting.extend_from_slice(chunk);
            }
        }
        let excess = waiting.len().saturating_sub(FORGET_WAITING);
        waiting.drain(..excess);
    }
}
