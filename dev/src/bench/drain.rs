//! Draining: how fast a backlog of no-op jobs is worked off, and what that costs.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::probes::{businesses, fill, wait_until_done};
use super::services::Service;
use super::statistics::{Spread, float};
use super::usage::Stores;
use super::{Failure, Scale, program, report};
use crate::testing::{Platform, Setup};

/// How to measure draining.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Backlogs to drain. [10,10000,100000,1000000; quick: 10,500]
    #[arg(long, value_delimiter = ',')]
    sizes: Option<Vec<usize>>,
    /// Jobs the workers run at once.
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    /// Businesses the backlog is spread over.
    #[arg(long, default_value_t = 100)]
    businesses: usize,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

/// The slowest draining that is waited for, in jobs a second, and how long even a small backlog is given.
const SLOWEST: u64 = 200;
const SMALL: Duration = Duration::from_mins(1);

/// How one backlog was drained.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Drained {
    jobs: usize,
    /// Jobs that needed more than one attempt, which nothing here should cause.
    repeated: i64,
    /// From the first claim to the last end, by the rows.
    seconds: f64,
    jobs_per_second: f64,
    /// From the start of the scheduler, the workers being ready, until the last end was seen.
    wall_seconds: f64,
    workers_cpu_seconds: f64,
    scheduler_cpu_seconds: f64,
    stores_cpu_seconds: Stores,
    waiting: Bytes,
    finished: Bytes,
    /// Of the workers, when all was done and at their peak.
    pub(super) workers_mb: f64,
    pub(super) workers_peak_mb: f64,
    scheduler_peak_mb: f64,
}

/// What a job takes on disk.
#[derive(Clone, Copy, Debug, Serialize)]
struct Bytes {
    table: f64,
    indexes: f64,
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} + {:.0}", self.table, self.indexes)
    }
}

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let sizes = scale.pick(
        options.sizes.clone(),
        vec![10, 10_000, 100_000, 1_000_000],
        vec![10, 500],
    );
    report(&format!(
        "## Draining a backlog: one workers process with {} slots, one scheduler\n",
        options.concurrency
    ));
    report(
        "| jobs | round | a second | seconds | CPU s: workers | scheduler | PostgreSQL | Redis | jobs a CPU s | bytes a waiting job | a finished job | workers MB, peak | scheduler MB |",
    );
    report("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        for size in &sizes {
            let drained = drain(*size, options.concurrency, options.businesses).await?;
            report(&line(round, &drained));
            rounds.push(drained);
        }
    }
    summarize(&sizes, &rounds);
    Ok(
        json!({ "concurrency": options.concurrency, "businesses": options.businesses, "rounds": rounds }),
    )
}

/// Drains a backlog of `size`, on a platform of its own.
pub(super) async fn drain(
    size: usize,
    concurrency: usize,
    spread_over: usize,
) -> Result<Drained, Failure> {
    let platform = Setup::stores_only(&program()?).start().await;
    let businesses = businesses(&platform, spread_over.clamp(1, size.max(1))).await?;
    fill(&platform, &businesses, size, 0).await?;
    let waiting = bytes(&platform, size).await?;

    let workers = Service::workers(&platform, &format!("maintenance={concurrency}")).await?;
    let stores_before = Stores::used(&platform)?;
    let workers_before = workers.cpu_seconds()?;
    let started = Instant::now();
    let scheduler = Service::start(&platform, &["scheduler"]).await?;
    // Looking is to cost nothing beside the work.
    let rest = Duration::from_millis((size as u64 / 500).clamp(10, 2_000));
    let limit = SMALL + Duration::from_secs(size as u64 / SLOWEST);
    wait_until_done(&platform, rest, limit).await?;
    let wall_seconds = started.elapsed().as_secs_f64();

    let stores = Stores::used(&platform)?.since(stores_before);
    let workers_cpu_seconds = workers.cpu_seconds()? - workers_before;
    let scheduler_cpu_seconds = scheduler.cpu_seconds()?;
    let (seconds, repeated) = by_the_rows(&platform, size).await?;
    Ok(Drained {
        jobs: size,
        repeated,
        seconds,
        jobs_per_second: float(size) / seconds.max(0.001),
        wall_seconds,
        workers_cpu_seconds,
        scheduler_cpu_seconds,
        stores_cpu_seconds: stores,
        waiting,
        finished: bytes(&platform, size).await?,
        workers_mb: workers.resident_mb()?,
        workers_peak_mb: workers.peak_mb()?,
        scheduler_peak_mb: scheduler.peak_mb()?,
    })
}

/// Seconds from the first claim to the last end, and how many jobs ran again; fails unless all succeeded.
async fn by_the_rows(platform: &Platform, size: usize) -> Result<(f64, i64), Failure> {
    let sql =
        "SELECT count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE attempt <> 1),
                      coalesce(extract(epoch FROM max(finished_at) - min(started_at)), 0)::float8
               FROM jobs WHERE kind = 'probe'";
    let (succeeded, repeated, seconds): (i64, i64, f64) =
        sqlx::query_as(sql).fetch_one(&platform.owner).await?;
    if usize::try_from(succeeded)? != size {
        return Err(format!("of {size} jobs {succeeded} succeeded").into());
    }
    Ok((seconds, repeated))
}

/// The table and its indexes, a job.
async fn bytes(platform: &Platform, jobs: usize) -> Result<Bytes, Failure> {
    let sql = "SELECT pg_table_size('jobs')::float8, pg_indexes_size('jobs')::float8";
    let (table, indexes): (f64, f64) = sqlx::query_as(sql).fetch_one(&platform.owner).await?;
    Ok(Bytes {
        table: table / float(jobs),
        indexes: indexes / float(jobs),
    })
}

fn line(round: usize, drained: &Drained) -> String {
    let stores = drained.stores_cpu_seconds;
    let cpu = drained.workers_cpu_seconds
        + drained.scheduler_cpu_seconds
        + stores.postgres
        + stores.redis;
    format!(
        "| {} | {round} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {} | {} | {:.0}, {:.0} | {:.0} |",
        drained.jobs,
        drained.jobs_per_second,
        drained.seconds,
        drained.workers_cpu_seconds,
        drained.scheduler_cpu_seconds,
        stores.postgres,
        stores.redis,
        float(drained.jobs) / cpu.max(0.01),
        drained.waiting,
        drained.finished,
        drained.workers_mb,
        drained.workers_peak_mb,
        drained.scheduler_peak_mb,
    )
}

/// How each size's rate compares with the rate at ten thousand (or the largest size below), round by round.
fn summarize(sizes: &[usize], rounds: &[Drained]) {
    report("");
    let repeated: i64 = rounds.iter().map(|drained| drained.repeated).sum();
    report(&format!("- jobs that ran again: {repeated}"));
    let Some(base) = sizes.iter().copied().filter(|size| *size <= 10_000).max() else {
        return;
    };
    let per_round = |size: usize| {
        let of_size = rounds.iter().filter(move |drained| drained.jobs == size);
        of_size.map(|drained| drained.jobs_per_second)
    };
    for &size in sizes.iter().filter(|size| **size > base) {
        let ratios = per_round(size)
            .zip(per_round(base))
            .map(|(ours, theirs)| ours / theirs);
        report(&format!(
            "- rate at {size} to rate at {base}: {}",
            Spread::of(ratios)
        ));
    }
}
