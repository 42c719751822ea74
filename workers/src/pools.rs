//! The pools of a process: a consumer a queue, woken by Redis, announced to the dispatcher.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::queue::consumer::{self, Pool};
use common::queue::pools::{self, Pools};
use common::queue::slot::Slots;
use common::queue::{QueueName, wake};
use common::{Config, redis};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::options::Concurrency;
use crate::runner::Runner;

/// How often the process says that it lives; five may be missed.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);

/// Serves the queues until `stop`; returns when what was taken has ended.
pub(crate) async fn serve(
    config: &Config,
    concurrency: &Concurrency,
    context: &Arc<Context>,
    runner: Runner,
    stop: CancellationToken,
) -> Result<(), String> {
    let subscriber =
        redis::connect_subscriber(&config.stores.redis_url).map_err(|error| error.to_string())?;
    let wakes = wake::listen_to_pushes(&subscriber, concurrency.0.keys().copied());
    let announcing = tokio::spawn(announce(
        Arc::clone(context),
        concurrency.clone(),
        stop.clone(),
    ));

    let mut consumers = JoinSet::new();
    for (&queue, &slots) in &concurrency.0 {
        let fetchers = fetchers(slots);
        let shared = Slots::new(slots);
        for fetcher in 0..fetchers {
            let pool = Pool {
                queue,
                // The first get what does not divide.
                concurrency: (slots + fetchers - 1 - fetcher) / fetchers,
                slots: Arc::clone(&shared),
                redis_url: config.stores.redis_url.clone(),
                dispatch: context.dispatch.clone(),
                wake: wakes[&queue].clone(),
            };
            let runner = runner.clone();
            consumers.spawn(consumer::consume(pool, stop.clone(), move |id, slot| {
                let runner = runner.clone();
                async move { runner.run(id, slot).await }
            }));
        }
    }
    tracing::info!(worker = context.worker, queues = ?concurrency.0, "worker pools started");
    while let Some(ended) = consumers.join_next().await {
        ended.map_err(|error| format!("a consumer ended: {error}"))?;
    }
    announcing.await.ok();
    drop(subscriber);
    Ok(())
}

/// How many consumers share a queue's slots: each takes and acknowledges one job after the other, which short jobs outrun.
fn fetchers(slots: usize) -> usize {
    slots.div_ceil(8).min(4)
}

async fn announce(context: Arc<Context>, concurrency: Concurrency, stop: CancellationToken) {
    let redis = context.dispatch.redis();
    let started_at = context.clock.now();
    let concurrency: HashMap<QueueName, usize> = concurrency.0.into_iter().collect();
    while !stop.is_cancelled() {
        let announcement = Pools {
            worker: context.worker.clone(),
            concurrency: concurrency.clone(),
            started_at,
            age_seconds: 0,
        };
        if let Err(error) = pools::announce(redis, &announcement).await {
            tracing::debug!(%error, "the pools are not announced");
        }
        tokio::select! { () = tokio::time::sleep(ANNOUNCE_EVERY) => {}, () = stop.cancelled() => {} }
    }
    if let Err(error) = pools::retract(redis, &context.worker).await {
        tracing::debug!(%error, "the announcement stays until it is stale");
    }
}
