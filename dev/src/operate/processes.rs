//! `relais processes`: who works.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use common::database;
use common::database::jobs::backlogs;
use common::queue::pools::{self, Pools};
use serde::Serialize;

use super::stores::Operator;
use super::text::{self, Table};
use super::{Output, told};

/// A worker process.
#[derive(Clone, Debug, Serialize)]
struct ProcessView {
    worker: String,
    started_at: DateTime<Utc>,
    /// How long ago it announced itself.
    age_seconds: u64,
    running: i64,
    slots: BTreeMap<String, usize>,
}

impl ProcessView {
    fn new(pools: Pools, running: &HashMap<String, i64>) -> Self {
        Self {
            running: running.get(&pools.worker).copied().unwrap_or(0),
            slots: pools
                .concurrency
                .into_iter()
                .map(|(queue, slots)| (queue.to_string(), slots))
                .collect(),
            worker: pools.worker,
            started_at: pools.started_at,
            age_seconds: pools.age_seconds,
        }
    }
}

pub(super) async fn run(operator: &Operator, output: Output) -> Result<(), String> {
    let listed = async {
        let pools = pools::list(operator.dispatch.redis()).await?;
        let mut tx = database::platform(&operator.pool).await?;
        let running = backlogs::count_running_by_worker(&mut tx).await?;
        tx.commit().await?;
        Ok((pools, running.into_iter().collect()))
    };
    let (pools, running) = listed.await.map_err(told)?;
    let mut views: Vec<ProcessView> = pools
        .into_iter()
        .map(|pools| ProcessView::new(pools, &running))
        .collect();
    views.sort_by_key(|view| view.started_at);
    output.write(&views, || table(&views))
}

fn table(views: &[ProcessView]) -> String {
    let mut table = Table::new(&["worker", "runs since", "heard", "running", "serves"]);
    for view in views {
        let slots = view
            .slots
            .iter()
            .map(|(queue, slots)| format!("{queue}={slots}"));
        table.row([
            view.worker.clone(),
            text::time(Some(view.started_at)),
            format!("{} s ago", view.age_seconds),
            view.running.to_string(),
            slots.collect::<Vec<_>>().join(","),
        ]);
    }
    table.render("no worker process has announced itself lately")
}
