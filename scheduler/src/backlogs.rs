//! Measures how it all stands: the backlogs, whose they are, what runs, what is dead, what is paused, who works.

use std::time::Duration;

use chrono::TimeDelta;
use common::database;
use common::database::jobs::backlogs::{self, Backlog, BusinessBacklog};
use common::queue::{QueueName, pools};

use crate::Context;

/// How often it is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Backlogs that are told by business: those that wait longest. Each is a series wherever metrics are kept.
const BUSINESSES: i64 = 10;

/// How long a business's oldest job has waited for its backlog to be told: what is done at once makes no series.
const TOLD_FROM: TimeDelta = TimeDelta::seconds(1);

/// Measures for ever.
pub(crate) async fn run(context: Context) {
    let queues: Vec<String> = QueueName::ALL
        .iter()
        .map(|queue| queue.as_str().to_owned())
        .collect();
    loop {
        let outcome = match measure(&context, &queues).await {
            Ok(()) => "ok",
            Err(error) => {
                tracing::debug!(%error, "backlogs not measured");
                "error"
            }
        };
        metrics::counter!("relais_backlogs_measured_total", "outcome" => outcome).increment(1);
        if let Err(error) = measure_pools(&context).await {
            tracing::debug!(%error, "pools not measured");
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

async fn measure(context: &Context, queues: &[String]) -> common::Result<()> {
    let mut tx = database::platform_relaxed(&context.pool).await?;
    let backlogs = backlogs::list(&mut tx, queues).await?;
    let businesses = backlogs::list_oldest_businesses(&mut tx, queues, BUSINESSES).await?;
    tx.commit().await?;
    backlogs.iter().for_each(record);
    businesses
        .iter()
        .filter(|backlog| backlog.age >= TOLD_FROM)
        .for_each(record_business);
    Ok(())
}

async fn measure_pools(context: &Context) -> common::Result<()> {
    let pools = pools::list(context.dispatch.redis()).await?;
    metrics::gauge!("relais_worker_processes").set(count(pools.len()));
    for queue in QueueName::ALL {
        let slots = pools
            .iter()
            .filter_map(|pools| pools.concurrency.get(&queue))
            .sum::<usize>();
        metrics::gauge!("relais_queue_slots", "queue" => queue.as_str()).set(count(slots));
    }
    Ok(())
}

fn record(backlog: &Backlog) {
    let set = |name: &'static str, value: f64| {
        metrics::gauge!(name, "queue" => backlog.queue.clone()).set(value);
    };
    set("relais_backlog_jobs", count(backlog.depth));
    set("relais_backlog_age_seconds", seconds(backlog.age));
    set("relais_delayed_jobs", count(backlog.later));
    set("relais_running_jobs", count(backlog.running));
    set("relais_longest_run_seconds", seconds(backlog.longest));
    set(
        "relais_lease_overdue_seconds",
        seconds(backlog.lease_overdue),
    );
    set("relais_dead_jobs", count(backlog.dead));
    set(
        "relais_queue_paused",
        if backlog.paused_at.is_some() {
            1.0
        } else {
            0.0
        },
    );
}

/// A business that no longer is among those that wait longest is not set any more, and its series ends.
fn record_business(backlog: &BusinessBacklog) {
    let business = backlog
        .lane
        .business_id()
        .map_or_else(|| "platform".to_owned(), |id| id.to_string());
    let set = |name: &'static str, value: f64| {
        metrics::gauge!(name, "queue" => backlog.queue.clone(), "business" => business.clone())
            .set(value);
    };
    set("relais_business_backlog_jobs", count(backlog.depth));
    set("relais_business_backlog_age_seconds", seconds(backlog.age));
}

/// As a gauge takes it; what is counted stays far below four billion.
fn count(jobs: impl TryInto<u32>) -> f64 {
    jobs.try_into().unwrap_or(u32::MAX).into()
}

fn seconds(delta: TimeDelta) -> f64 {
    delta.as_seconds_f64()
}
