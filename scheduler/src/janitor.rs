//! Frees jobs whose worker died, and removes what dead workers left in Redis.

use std::collections::HashMap;
use std::time::Duration;

use common::database;
use common::database::jobs::dispatch;
use common::faults::{self, Mutant};
use common::queue::{LEASE, QueueName};
use tokio::time::{Instant, MissedTickBehavior};

use crate::Context;

/// How often leases are looked at: with [`LEASE`] and a dispatch it stays under the promised 3 s.
const REAP_EVERY: Duration = Duration::from_millis(300);

/// How long a database that is well takes at most to answer.
const PROMPT: Duration = Duration::from_millis(500);

/// How often dead consumers are looked for in Redis, and for how long there was no heartbeat then: six missed.
const BURY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// How long a look may take: far longer than it does, but where a connection is silent it never ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Jobs freed in one statement.
const REAP_BATCH: i64 = 1_000;

/// Cleans for ever.
pub(crate) async fn run(context: Context) {
    tokio::join!(reap(&context), bury(&context));
}

async fn reap(context: &Context) {
    let mut tick = tokio::time::interval(REAP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // While the database was away nobody could renew a lease: those who live get the time to.
    let mut reachable_since: Option<Instant> = None;
    loop {
        tick.tick().await;
        let asked = Instant::now();
        if faults::planted(Mutant::NoReaper) {
            continue;
        }
        let trusted = reachable_since.is_some_and(|since| since.elapsed() > LEASE);
        let limit = if trusted { REAP_BATCH } else { 0 };
        match database::within(PATIENCE, free(context, limit)).await {
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
    let mut tx = context.lines.platform().await?;
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
