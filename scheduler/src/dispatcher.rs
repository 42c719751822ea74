//! Keeps each queue's list in Redis short and fair: rounds over the businesses, a few times the pools' concurrency at most.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::database;
use common::database::jobs::dispatch::{self, Round, Waiting};
use common::queue::{QueueName, pools};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Context;

/// How long the dispatcher sleeps at most: rows whose bell nobody heard are found by then.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// How long it sleeps between rounds while a backlog waits for room.
const BUSY_REST: Duration = Duration::from_millis(5);

/// How long it leaves Redis or PostgreSQL alone that does not answer.
const OUTAGE_REST: Duration = Duration::from_millis(250);

/// How long what the pools announced is believed.
const POOLS_FOR: Duration = Duration::from_secs(1);

/// Lanes looked at in one round.
const LANES: i32 = 256;

/// The longest list: beyond 8,000 apalis-redis 1.0 breaks, and a list is only to bridge the time until the next round.
const LONGEST_LIST: usize = 1_000;

/// The list's length where nobody has announced a pool yet.
const UNSERVED_LIST: usize = 16;

/// Dispatches for ever.
pub(crate) async fn run(context: Context) {
    let mut dispatcher = Dispatcher {
        context,
        cursors: HashMap::new(),
        concurrency: HashMap::new(),
        known_until: None,
    };
    loop {
        let rest = match dispatcher.dispatch().await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "nothing dispatched"
                );
                OUTAGE_REST
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = dispatcher.context.bell.notified() => {}
        }
    }
}

struct Dispatcher {
    context: Context,
    /// The lane each queue's last round ended with.
    cursors: HashMap<QueueName, Uuid>,
    /// Jobs at once, over all workers, by queue.
    concurrency: HashMap<QueueName, usize>,
    known_until: Option<Instant>,
}

impl Dispatcher {
    /// One pass over all queues; returns how long nothing can be due.
    async fn dispatch(&mut self) -> common::Result<Duration> {
        let now = self.context.clock.now();
        let waiting = self.list_waiting().await?;
        let mut rest = LONGEST_REST;
        for Waiting { queue, next_at } in waiting {
            let Ok(queue) = queue.parse::<QueueName>() else {
                continue;
            };
            rest = rest.min(if next_at <= now {
                self.learn_pools().await?;
                self.fill(queue, now).await?
            } else {
                (next_at - now).to_std().unwrap_or_default()
            });
        }
        Ok(rest.max(Duration::from_millis(1)))
    }

    async fn list_waiting(&self) -> common::Result<Vec<Waiting>> {
        let queues: Vec<String> = QueueName::ALL
            .iter()
            .map(|queue| queue.as_str().to_owned())
            .collect();
        let mut tx = database::platform_relaxed(&self.context.pool).await?;
        let waiting = dispatch::list_waiting(&mut tx, &queues).await?;
        tx.commit().await?;
        Ok(waiting)
    }

    /// Fills a queue's list; returns when to look again.
    async fn fill(&mut self, queue: QueueName, now: DateTime<Utc>) -> common::Result<Duration> {
        let concurrency = self.concurrency.get(&queue).copied().unwrap_or(0);
        let window = if concurrency == 0 {
            UNSERVED_LIST
        } else {
            concurrency.clamp(8, LONGEST_LIST)
        };
        // Asked first: a Redis that is away must not be offered rows that are then marked as offered.
        let length = self.context.dispatch.length(queue).await?;
        let room = window.saturating_sub(length);
        if room == 0 {
            return Ok(if concurrency == 0 {
                LONGEST_REST
            } else {
                BUSY_REST
            });
        }
        let round = Round {
            queue,
            after_lane: self.cursors.get(&queue).copied().unwrap_or_default(),
            lanes: LANES,
            jobs: i64::try_from(room).unwrap_or(i64::MAX),
            lane_cap: lane_cap(concurrency),
        };
        let mut tx = database::platform_relaxed(&self.context.pool).await?;
        let taken = dispatch::take_round(&mut tx, round, now).await?;
        tx.commit().await?;
        let wrapped = taken.after_lane.is_nil() && !round.after_lane.is_nil();
        self.cursors.insert(queue, taken.after_lane);
        if !taken.jobs.is_empty() {
            self.context
                .dispatch
                .offer(queue, &taken.jobs, LONGEST_LIST + window)
                .await?;
        }
        // A round that came to the end of the lanes goes on from their start; one that found nothing waits for a slot.
        Ok(if wrapped { Duration::ZERO } else { BUSY_REST })
    }

    async fn learn_pools(&mut self) -> common::Result<()> {
        if self.known_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let pools = pools::list(self.context.dispatch.redis(), self.context.clock.now()).await?;
        self.concurrency.clear();
        for (queue, concurrency) in pools.into_iter().flat_map(|pools| pools.concurrency) {
            *self.concurrency.entry(queue).or_default() += concurrency;
        }
        self.known_until = Some(Instant::now() + POOLS_FOR);
        Ok(())
    }
}

/// How many jobs of one business may run for another round to take more of them: a tenth of the slots is left to others, but
/// for what is in the list already.
fn lane_cap(concurrency: usize) -> i64 {
    let cap = if concurrency == 0 {
        UNSERVED_LIST
    } else {
        (concurrency * 9).div_ceil(10)
    };
    i64::try_from(cap).unwrap_or(i64::MAX)
}
