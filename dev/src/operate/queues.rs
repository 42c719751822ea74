//! `relais queues`: how they stand; pause, resume, drain.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use common::database::jobs::backlogs::{self, Backlog, COUNTED};
use common::database::jobs::selection::{self, JobRow, Selection};
use common::database::{self, jobs::JobState};
use common::queue::pools::{self, Pools};
use common::queue::{QueueName, steer};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::stores::Operator;
use super::text::{self, Table, dash};
use super::{Output, told};

/// Without a command: how the queues stand.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Start nothing of a queue any more; what runs goes on.
    Pause {
        queue: QueueName,
        /// Why, for whoever wonders.
        #[arg(long)]
        reason: String,
    },
    /// Let a paused queue go on.
    Resume { queue: QueueName },
    /// Pause a queue, and wait until nothing of it runs. It stays paused.
    Drain {
        queue: QueueName,
        /// Why, for whoever wonders.
        #[arg(long, default_value = "drained")]
        reason: String,
        /// How long to wait, in seconds.
        #[arg(long, default_value_t = 600)]
        timeout: u64,
    },
}

/// How often a drain looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Running jobs that a drain which ran out of time names.
const NAMED: i64 = 50;

pub(super) async fn run(operator: &Operator, options: Options) -> Result<(), String> {
    let output = options.output;
    match options.command {
        None => list(operator, output).await,
        Some(Command::Pause { queue, reason }) => {
            let paused = steer::pause(&operator.pool, queue, &reason);
            let done = if paused.await.map_err(told)? {
                "paused"
            } else {
                "paused already, for the reason it has"
            };
            answer(output, queue, done)
        }
        Some(Command::Resume { queue }) => {
            let resumed = steer::resume(&operator.pool, &operator.dispatch, queue);
            let done = if resumed.await.map_err(told)? {
                "goes on"
            } else {
                "was not paused"
            };
            answer(output, queue, done)
        }
        Some(Command::Drain {
            queue,
            reason,
            timeout,
        }) => {
            steer::pause(&operator.pool, queue, &reason)
                .await
                .map_err(told)?;
            drain(operator, queue, Duration::from_secs(timeout), output).await
        }
    }
}

fn answer(output: Output, queue: QueueName, done: &str) -> Result<(), String> {
    let value = json!({ "queue": queue, "answer": done });
    output.write(&value, || format!("{queue} {done}"))
}

/// A queue, as it stands.
#[derive(Clone, Debug, Serialize)]
struct QueueView {
    queue: String,
    waiting: i64,
    oldest_seconds: i64,
    delayed: i64,
    running: i64,
    dead: i64,
    /// Jobs at once; `None`: Redis did not say.
    slots: Option<usize>,
    /// The processes that serve it; `None`: Redis did not say.
    workers: Option<Vec<String>>,
    paused_reason: Option<String>,
    paused_at: Option<DateTime<Utc>>,
}

impl QueueView {
    fn new(backlog: Backlog, dead: i64, pools: Option<&[Pools]>) -> Self {
        let queue = backlog.queue.parse::<QueueName>().ok();
        let served = |pools: &Pools| Some((pools.worker.clone(), *pools.concurrency.get(&queue?)?));
        let serving: Option<Vec<(String, usize)>> =
            pools.map(|pools| pools.iter().filter_map(served).collect());
        Self {
            queue: backlog.queue,
            waiting: backlog.depth,
            oldest_seconds: backlog.age.num_seconds(),
            delayed: backlog.later,
            running: backlog.running,
            dead,
            slots: serving
                .as_ref()
                .map(|serving| serving.iter().map(|(_, slots)| slots).sum()),
            workers: serving.map(|serving| serving.into_iter().map(|(worker, _)| worker).collect()),
            paused_reason: backlog.paused,
            paused_at: backlog.paused_at,
        }
    }
}

async fn list(operator: &Operator, output: Output) -> Result<(), String> {
    let queues: Vec<String> = QueueName::ALL.map(|queue| queue.as_str().to_owned()).into();
    let measured = async {
        let mut tx = database::platform(&operator.pool).await?;
        let backlogs = backlogs::list(&mut tx, &queues).await?;
        let dead = backlogs::count_dead(&mut tx, &queues).await?;
        tx.commit().await?;
        Ok((backlogs, dead))
    };
    let (backlogs, dead) = measured.await.map_err(told)?;
    let redis = operator.dispatch.redis();
    // Without Redis the rest is worth seeing all the more.
    let pools = pools::list(redis).await.ok();
    let views: Vec<QueueView> = backlogs
        .into_iter()
        .map(|backlog| {
            let dead = dead.get(&backlog.queue).copied().unwrap_or(0);
            QueueView::new(backlog, dead, pools.as_deref())
        })
        .collect();
    output.write(&views, || table(&views))
}

fn table(views: &[QueueView]) -> String {
    let mut table = Table::new(&[
        "queue", "waiting", "oldest", "delayed", "running", "slots", "workers", "dead", "paused",
    ]);
    for view in views {
        let oldest = chrono::TimeDelta::seconds(view.oldest_seconds);
        let unknown = || "?".to_owned();
        table.row([
            view.queue.clone(),
            counted(view.waiting),
            if view.waiting > 0 {
                text::duration(oldest)
            } else {
                dash()
            },
            counted(view.delayed),
            view.running.to_string(),
            view.slots.map_or_else(unknown, |slots| slots.to_string()),
            view.workers
                .as_ref()
                .map_or_else(unknown, |workers| workers.len().to_string()),
            counted(view.dead),
            match (&view.paused_reason, view.paused_at) {
                (Some(reason), at) => format!("since {}: {reason}", text::time(at)),
                (None, _) => dash(),
            },
        ]);
    }
    table.render("there is no queue")
}

/// What is counted so far only.
fn counted(jobs: i64) -> String {
    if jobs >= COUNTED {
        format!("{COUNTED}+")
    } else {
        jobs.to_string()
    }
}

/// Waits until nothing of the paused `queue` runs.
async fn drain(
    operator: &Operator,
    queue: QueueName,
    timeout: Duration,
    output: Output,
) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    // A claim that was under way when the queue was paused shows itself a moment later: one look is not enough.
    let mut empty_looks = 0;
    loop {
        let running = running(operator, queue).await?;
        empty_looks = if running.is_empty() {
            empty_looks + 1
        } else {
            0
        };
        if empty_looks > 2 {
            return answer(output, queue, "is paused, and nothing of it runs");
        }
        if Instant::now() >= deadline && !running.is_empty() {
            output.write(&running_json(&running), || {
                running_table(operator, &running)
            })?;
            return Err(format!(
                "{queue} is paused, and after {} s the jobs above still run",
                timeout.as_secs()
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn running(operator: &Operator, queue: QueueName) -> Result<Vec<JobRow>, String> {
    let listed = async {
        let mut tx = database::platform(&operator.pool).await?;
        let selection = Selection {
            queue: Some(queue),
            ..Selection::default()
        };
        let rows = selection::list(&mut tx, &selection, &[JobState::Running], None, NAMED).await?;
        tx.commit().await?;
        Ok(rows)
    };
    listed.await.map_err(told)
}

fn running_json(rows: &[JobRow]) -> serde_json::Value {
    let rows = rows.iter().map(|row| {
        json!({
            "id": row.id, "kind": row.kind, "business_id": row.business_id, "worker": row.worker,
            "started_at": row.started_at,
        })
    });
    rows.collect()
}

fn running_table(operator: &Operator, rows: &[JobRow]) -> String {
    let now = operator.clock.now();
    let mut table = Table::new(&["id", "kind", "runs for", "worker"]);
    for row in rows {
        table.row([
            row.id.to_string(),
            row.kind.clone(),
            row.started_at
                .map_or_else(dash, |at| text::duration(now - at)),
            row.worker.clone().unwrap_or_else(dash),
        ]);
    }
    table.render("nothing runs")
}
