//! What all three services use together while nothing happens: one process, its stores beside it.

use std::time::Duration;

use serde_json::{Value, json};

use super::services::free_address;
use super::usage::{cpu_seconds, resident_mb};
use super::{Failure, Scale, program, report};
use crate::testing::{Setup, eventually};

/// How to measure idleness.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Seconds to watch. [20; quick: 2]
    #[arg(long)]
    seconds: Option<u32>,
}

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let seconds = scale.pick(options.seconds, 20, 2);
    let setup = Setup::stores_only(&program()?);
    let platform = setup.start().await;
    let bind = free_address()?.to_string();
    let process = platform.spawn_with(&[], &[("RELAIS_BIND", &bind)]);
    let health = format!("http://{bind}/health/detailed");
    eventually("the services are up", async || {
        platform.http.get(&health).send().await.ok()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;

    let before = cpu_seconds(process.id())?;
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    let share = (cpu_seconds(process.id())? - before) / f64::from(seconds);
    let resident = resident_mb(process.id())?;
    report("## Idle: ingress, workers and scheduler in one process\n");
    report("| of one core | resident |\n|---|---|");
    report(&format!("| {:.2} % | {resident:.0} MB |", share * 100.0));
    Ok(json!({ "cores": share, "resident_mb": resident }))
}
