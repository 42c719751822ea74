//! Pickup: from the insertion of a job to the first line of its handler, while nothing else happens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::Rng;
use serde_json::{Value, json};

use super::probes::{Sender, businesses};
use super::services::Service;
use super::statistics::{Latencies, float};
use super::usage::Stores;
use super::{Failure, Scale, program, report};
use crate::testing::{Platform, Setup};

/// How to measure pickup.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Jobs, one after the other. [10000; quick: 100]
    #[arg(long)]
    samples: Option<usize>,
    /// Milliseconds between two jobs, on average.
    #[arg(long, default_value_t = 5)]
    spacing_ms: u32,
    /// Seconds for which the services are watched while nothing happens. [10; quick: 1]
    #[arg(long)]
    idle_seconds: Option<u32>,
}

/// A job that has not begun after this long is counted as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Jobs that are not counted: connections are made, statements prepared.
const WARM_UP: usize = 50;

/// Longer than this is an outlier.
const OUTLIER: Duration = Duration::from_millis(100);

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let platform = Setup::stores_only(&program()?).start().await;
    let workers = Service::workers(&platform, "maintenance=8").await?;
    let scheduler = Service::start(&platform, &["scheduler"]).await?;

    let samples = scale.pick(options.samples, 10_000, 100);
    let pickups = pick_up(&platform, samples, options.spacing_ms).await?;
    report("## Pickup: to the first line of the handler, idle system\n");
    report(
        "| from | p50 | p99 | max | over 100 ms | samples | lost |\n|---|---|---|---|---|---|---|",
    );
    for (from, latencies) in [
        ("before the insert", &pickups.whole),
        ("the end of the commit", &pickups.committed),
    ] {
        report(&format!(
            "| {from} | {} | {} | {} | {} |",
            latencies.cells(),
            latencies.above(OUTLIER),
            latencies.len(),
            pickups.lost
        ));
    }

    let seconds = scale.pick(options.idle_seconds, 10, 1);
    let idle = watch(&platform, &workers, &scheduler, seconds).await?;
    report(&format!("\n## Idle, over {seconds} s\n"));
    report("| | of one core |\n|---|---|");
    for (name, share) in &idle {
        report(&format!("| {name} | {:.2} % |", share * 100.0));
    }
    Ok(json!({
        "from_before_insert": pickups.whole.json(),
        "from_commit": pickups.committed.json(),
        "lost": pickups.lost,
        "idle_cores": idle.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
    }))
}

struct Pickups {
    /// From before the insert.
    whole: Latencies,
    /// From the end of the commit.
    committed: Latencies,
    lost: usize,
}

async fn pick_up(platform: &Platform, samples: usize, spacing_ms: u32) -> Result<Pickups, Failure> {
    let sender = Sender::connect(platform).await?;
    let business_id = businesses(platform, 1).await?[0];
    let (mut whole, mut committed, mut lost) = (Vec::new(), Vec::new(), 0);
    for sample in 0..samples + WARM_UP {
        // Never in step with anything that ticks.
        let rest = f64::from(spacing_ms) * rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(Duration::from_secs_f64(rest / 1_000.0)).await;
        let before = platform.clock.now();
        let sent = sender.send(business_id, 0).await?;
        match tokio::time::timeout(LOST_AFTER, sent.began_at).await {
            Ok(Ok(began_at)) if sample >= WARM_UP => {
                whole.push(between(before, began_at));
                committed.push(between(sent.committed_at, began_at));
            }
            Ok(_) => {}
            Err(_) => lost += 1,
        }
    }
    Ok(Pickups {
        whole: Latencies::new(whole),
        committed: Latencies::new(committed),
        lost,
    })
}

fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

/// The shares of a core that each process uses while nothing happens.
async fn watch(
    platform: &Platform,
    workers: &Service,
    scheduler: &Service,
    seconds: u32,
) -> Result<[(&'static str, f64); 4], Failure> {
    let used = || {
        let stores = Stores::used(platform)?;
        Ok::<_, Failure>([
            ("workers", workers.cpu_seconds()?),
            ("scheduler", scheduler.cpu_seconds()?),
            ("postgresql", stores.postgres),
            ("redis", stores.redis),
        ])
    };
    // What the load left to be done is done.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = used()?;
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    let mut shares = used()?;
    for ((_, share), (_, before)) in shares.iter_mut().zip(before) {
        *share = (*share - before) / float(seconds);
    }
    Ok(shares)
}
