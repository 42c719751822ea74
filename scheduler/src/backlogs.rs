//! Measures how it all stands: the backlogs, whose they are, what runs, what is dead, what is paused, who works.

use std::collections::HashMap;
use std::time::{Duration, Instant};

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

/// How long measuring may take before it is given up for this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the dead are counted, which costs more than the rest and tells no more by the second.
const COUNT_DEAD_EVERY: Duration = Duration::from_secs(30);

/// Measures for ever.
pub(crate) async fn run(context: Context) {
    let mut measuring = Measuring::new(context);
    loop {
        let outcome = match database::within(PATIENCE, measuring.measure()).await {
            Ok(()) => "ok",
            Err(error) => {
                tracing::debug!(%error, "backlogs not measured");
                "error"
            }
        };
        metrics::counter!("relais_backlogs_measured_total", "outcome" => outcome).increment(1);
        if let Err(error) = measure_pools(&measuring.context).await {
            tracing::debug!(%error, "pools not measured");
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

struct Measuring {
    context: Context,
    queues: Vec<String>,
    /// The dead by queue, and when they were counted.
    dead: Option<(HashMap<String, i64>, Instant)>,
}

impl Measuring {
    fn new(context: Context) -> Self {
        let queues = QueueName::ALL.map(|queue| queue.as_str().to_owned());
        Self {
            context,
            queues: queues.into(),
            dead: None,
        }
    }

    async fn measure(&mut self) -> common::Result<()> {
        let mut tx = database::platform_relaxed(&self.context.pool).await?;
        let backlogs = backlogs::list(&mut tx, &self.queues).await?;
        let businesses =
            backlogs::list_oldest_businesses(&mut tx, &self.queues, BUSINESSES).await?;
        let counted_lately = |counted: &Instant| counted.elapsed() < COUNT_DEAD_EVERY;
        let dead = match self.dead.take() {
            Some((dead, counted)) if counted_lately(&counted) => (dead, counted),
            _ => (
                backlogs::count_dead(&mut tx, &self.queues).await?,
                Instant::now(),
            ),
        };
        tx.commit().await?;
        backlogs.iter().for_each(record);
        // Told each time all the same: a gauge that is not set is told no more.
        for (queue, jobs) in &dead.0 {
            metrics::gauge!("relais_dead_jobs", "queue" => queue.clone()).set(count(*jobs));
        }
        self.dead = Some(dead);
        businesses
            .iter()
            .filter(|backlog| backlog.age >= TOLD_FROM)
            .for_each(record_business);
        Ok(())
    }
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
