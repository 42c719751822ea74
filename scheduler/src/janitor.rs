//! Frees jobs whose worker died, removes what dead workers left in Redis, and measures the backlogs.

use std::collections::HashMap;
use std::time::Duration;

use common::database;
use common::database::jobs::dispatch;
use common::queue::{LEASE, QueueName};
use tokio::time::{Instant, MissedTickBehavior};

use crate::Context;

/// How often leases are looked at: with [`LEASE`] and a dispatch it stays under the promised 3 s.
const REAP_EVERY: Duration = Duration::from_millis(300);

/// How long a database that is well takes at most to answer.
const PROMPT: Duration = Duration::from_millis(500);

/// How often backlogs are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// How often dead consumers are looked for in Redis, and for how long there was no heartbeat then: six missed.
const BURY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// Jobs freed in one statement.
const REAP_BATCH: i64 = 1_000;

/// Cleans for ever.
pub(crate) async fn run(context: Context) {
    tokio::join!(reap(&context), bury(&context), measure(&context));
}

async fn reap(context: &Context) {
    let mut tick = tokio::time::interval(REAP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // While the database was away nobody could renew a lease: those who live get the time to.
    let mut reachable_since: Option<Instant> = None;
    loop {
        tick.tick().await;
        let asked = Instant::now();
        let trusted = reachable_since.is_some_and(|since| since.elapsed() > LEASE);
        match free(context, if trusted { REAP_BATCH } else { 0 }).await {
            // A database that answered late was away for a moment.
            Ok(()) if asked.elapsed() > PROMPT => reachable_since = None,
            Ok(()) => {
                reachable_since.get_or_insert_with(Instant::now);
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "leases not looked at"
                );
                reachable_since = None;
            }
        }
    }
}

async fn free(context: &Context, limit: i64) -> common::Result<()> {
    let mut tx = database::platform(&context.pool).await?;
    let orphans = dispatch::reap(&mut tx, limit).await?;
    tx.commit().await?;
    for orphan in &orphans {
        tracing::warn!(job.id = %orphan.id, job.kind = orphan.kind, "its worker stopped answering; the job is free again");
        metrics::counter!("relais_jobs_orphaned_total", "kind" => orphan.kind.clone()).increment(1);
    }
    if !orphans.is_empty() {
        context.bell.notify_one();
    }
    Ok(())
}

/// Heartbeats are compared with what they were, not with the time: consumers write them by their own clocks.
async fn bury(context: &Context) {
    let mut seen: HashMap<(QueueName, String), (String, Instant)> = HashMap::new();
    loop {
        let mut fresh = HashMap::new();
        for queue in QueueName::ALL {
            let Ok(heartbeats) = context.dispatch.heartbeats(queue).await else {
                continue;
            };
            let mut dead = Vec::new();
            for (consumer, heartbeat) in heartbeats {
                let before = seen.remove(&(queue, consumer.clone()));
                let since = match before {
                    Some((same, since)) if same == heartbeat => since,
                    _ => Instant::now(),
                };
                if since.elapsed() > BURY.1 {
                    dead.push((consumer, heartbeat));
                } else {
                    fresh.insert((queue, consumer), (heartbeat, since));
                }
            }
            if dead.is_empty() {
                continue;
            }
            match context.dispatch.bury(queue, &dead).await {
                Ok(count) => {
                    tracing::info!(%queue, count, "what dead consumers left in Redis is removed");
                }
                Err(error) => tracing::debug!(%error, %queue, "dead consumers not removed"),
            }
        }
        seen = fresh;
        tokio::time::sleep(BURY.0).await;
    }
}

async fn measure(context: &Context) {
    let queues: Vec<String> = QueueName::ALL
        .iter()
        .map(|queue| queue.as_str().to_owned())
        .collect();
    loop {
        let measured = async {
            let now = context.clock.now();
            let mut tx = database::platform_relaxed(&context.pool).await?;
            let backlogs = dispatch::backlogs(&mut tx, &queues, now).await?;
            tx.commit().await?;
            Ok::<_, common::Error>(backlogs)
        };
        match measured.await {
            Ok(backlogs) => backlogs.into_iter().for_each(record),
            Err(error) => tracing::debug!(%error, "backlogs not measured"),
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge of jobs needs no more than 52 bits"
)]
fn record(backlog: dispatch::Backlog) {
    let age = backlog.age.as_seconds_f64();
    metrics::gauge!("relais_backlog_jobs", "queue" => backlog.queue.clone())
        .set(backlog.depth as f64);
    metrics::gauge!("relais_running_jobs", "queue" => backlog.queue.clone())
        .set(backlog.running as f64);
    metrics::gauge!("relais_backlog_age_seconds", "queue" => backlog.queue).set(age);
}
