//! Taking jobs from Redis: apalis workers over apalis-redis, configured around what version 1.0 of it gets wrong.
//!
//! - It polls only on a heartbeat or a finished task, and its own poll strategies lose wake-ups: `WakeStrategy`.
//! - Any error, an 800 ms stall included, ends its worker: [`consume`] starts another, under a new name, since a name is
//!   refused while its last heartbeat is fresh.
//! - A payload that does not decode ends its worker: ours is any JSON, read by us.
//! - Errors, panics and timeouts are retried, or not, by rules of its own: it always sees success, the row knows better.
//! - It keeps every task for ever: `forget_ended` removes them.
//! - It takes tasks of dead workers back in a way that can meet a task without its data: switched off (`ORPHANED_AFTER`);
//!   the dispatcher offers such jobs again, the janitor removes the remains.

use std::future::Future;
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
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{Dispatch, QueueName};
use crate::faults::{self, Mutant};

/// A wake-up can be lost (pub/sub is best effort): how long a task then waits at most.
const TICK: Duration = Duration::from_millis(500);

/// How often a worker tells Redis that it lives. Only [`Dispatch::bury`] cares.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Heartbeats a worker may miss before apalis-redis takes its tasks back: ten years' worth, that is never.
const ORPHANED_AFTER: usize = 60_000_000;

/// How long a worker rests before it starts again after an error: the first, doubled up to the last.
const RESTART_REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long apalis gets to acknowledge the last jobs at a stop.
const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_millis(100);

/// How often ended tasks are removed from Redis.
const FORGET_EVERY: Duration = Duration::from_millis(250);

/// One queue's pool.
#[derive(Clone)]
pub struct Pool {
    /// Which queue.
    pub queue: QueueName,
    /// Jobs at once.
    pub concurrency: usize,
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

/// Resolves once the pool is to stop, nothing of it runs, and the last ends have had the time to be acknowledged.
async fn finished(stop: &CancellationToken, running: &TaskTracker) {
    stop.cancelled().await;
    running.close();
    running.wait().await;
    tokio::time::sleep(LAST_ACKNOWLEDGEMENTS).await;
}

/// What a worker does with what it takes.
#[derive(Clone)]
struct Taken<F> {
    run: F,
    running: TaskTracker,
    ended: mpsc::UnboundedSender<String>,
}

/// A job's place among those that its pool runs at once. Dropped, it is free for another, though the job's end may still be
/// on its way to the database.
pub struct Slot {
    _freed: oneshot::Sender<()>,
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
            self.running.spawn((self.run)(id, Slot { _freed: freed }));
            // Nothing is ever sent: the slot is dropped, at the latest with the job's task.
            free.await.ok();
        } else {
            tracing::warn!(task.id = %task, "a task without a job's id was dropped");
        }
        // Whoever removes ended tasks outlives this worker; if not, the process ends.
        self.ended.send(task.to_string()).ok();
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
        // Without results nothing is acknowledged.
        .persist_results(true);
    let backend = RedisStorage::<serde_json::Value>::new(connection)
        .with_config(config)
        .poll_with_strategy(WakeStrategy::new(pool.wake.clone()));

    let handler = move |payload: serde_json::Value, task: TaskId| {
        let taken = taken.clone();
        async move { taken.handle(payload, task).await }
    };
    WorkerBuilder::new(format!("{}-{}", pool.queue, Uuid::now_v7().simple()))
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
        }
    }
}

impl PollStrategy for WakeStrategy {
    /// Polls both to exhaustion: only what answered "pending" has kept the waker.
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut fired = false;
        while let Poll::Ready(Some(())) = self.wake.as_mut().poll_next(cx) {
            fired = true;
        }
        while self.tick.poll_tick(cx).is_ready() {
            fired = true;
        }
        if fired {
            Poll::Ready(Some(()))
        } else {
            Poll::Pending
        }
    }
}

/// Tasks that wait to be removed, at most: beyond it their keys are left to Redis's keeper.
const FORGET_WAITING: usize = 100_000;

/// Removes ended tasks from Redis, in batches, once they are acknowledged.
async fn forget_ended(
    dispatch: Dispatch,
    queue: QueueName,
    mut ended: mpsc::UnboundedReceiver<String>,
) {
    let mut waiting: Vec<String> = Vec::new();
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
            match dispatch.forget(queue, chunk.to_vec()).await {
                // Not acknowledged: their worker is slow, or gone; then its burial removes them.
                Ok(left) => waiting.extend(left),
                Err(error) => {
                    tracing::debug!(%error, "ended tasks stay in Redis until the next try");
                    waiting.extend_from_slice(chunk);
                }
            }
        }
        let excess = waiting.len().saturating_sub(FORGET_WAITING);
        waiting.drain(..excess);
    }
}
