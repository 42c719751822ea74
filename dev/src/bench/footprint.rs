//! Footprint: how fast the services start, what they hold while nothing happens, and what thousands of model calls need.

use std::time::Duration;

use serde_json::{Value, json};

use super::conversation::Conversation;
use super::drain::drain;
use super::services::Service;
use super::statistics::{Latencies, float, ms};
use super::{Failure, Scale, program, report};
use crate::testing::{PATIENCE, Platform, Setup};

/// How to measure the footprint.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Starts of each service. [10; quick: 1]
    #[arg(long)]
    starts: Option<usize>,
    /// Seconds for which idleness is watched. [10; quick: 1]
    #[arg(long)]
    idle_seconds: Option<u32>,
    /// Model calls in flight at once. [5000; quick: 40]
    #[arg(long)]
    calls: Option<u32>,
    /// Seconds the model takes for each of them. [30; quick: 2]
    #[arg(long)]
    model_seconds: Option<u64>,
    /// No-op jobs after which memory is compared. [10000,1000000; quick: 10,200]
    #[arg(long, value_delimiter = ',')]
    jobs: Option<Vec<usize>>,
}

/// The services, as they are started.
const SERVICES: [&str; 3] = ["ingress", "workers", "scheduler"];

/// Questions a second, while the model calls are piled up.
const RATE: u32 = 500;

/// Slots of the workers that drain jobs.
const SLOTS: usize = 256;

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let platform = Setup::stores_only(&program()?).start().await;
    let starts = cold_starts(&platform, scale.pick(options.starts, 10, 1)).await?;
    let idle = idle(&platform, scale.pick(options.idle_seconds, 10, 1)).await?;
    drop(platform);
    let calls = scale.pick(options.calls, 5_000, 40);
    let thinking = Duration::from_secs(scale.pick(options.model_seconds, 30, 2));
    let calls = Box::pin(in_flight(calls, thinking)).await?;
    let sizes = scale.pick(options.jobs.clone(), vec![10_000, 1_000_000], vec![10, 200]);
    let jobs = after_jobs(&sizes).await?;
    Ok(json!({ "cold_starts": starts, "idle": idle, "model_calls": calls, "after_jobs": jobs }))
}

/// From the start of a process to its first good answer to `/health`, the stores being up; the services take turns.
async fn cold_starts(platform: &Platform, starts: usize) -> Result<Value, Failure> {
    let mut took: [Vec<Duration>; SERVICES.len()] = Default::default();
    for _ in 0..starts {
        for (took, service) in took.iter_mut().zip(SERVICES) {
            let started = Service::start(platform, &[service]).await?;
            took.push(started.started_in);
            started.stop();
        }
    }
    report("## Cold start: to the first good answer to `/health`\n");
    report("| | p50 | max | starts |\n|---|---|---|---|");
    let mut figures = serde_json::Map::new();
    for (service, took) in SERVICES.into_iter().zip(took) {
        let took = Latencies::new(took);
        let (middle, longest) = (ms(took.at(0.5)), ms(took.max()));
        report(&format!("| {service} | {middle} | {longest} | {starts} |"));
        figures.insert(service.to_owned(), took.json());
    }
    Ok(figures.into())
}

/// Memory and CPU time of each service while nothing happens.
async fn idle(platform: &Platform, seconds: u32) -> Result<Value, Failure> {
    let mut services = Vec::new();
    for service in SERVICES {
        services.push(Service::start(platform, &[service]).await?);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = || {
        services
            .iter()
            .map(Service::cpu_seconds)
            .collect::<Result<Vec<f64>, _>>()
    };
    let before = used()?;
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    let after = used()?;
    report(&format!(
        "\n## Idle, each in a process of its own, over {seconds} s\n"
    ));
    report("| | of one core | resident |\n|---|---|---|");
    let mut figures = serde_json::Map::new();
    for (place, service) in SERVICES.into_iter().enumerate() {
        let share = (after[place] - before[place]) / float(seconds);
        let resident = services[place].resident_mb()?;
        report(&format!(
            "| {service} | {:.2} % | {resident:.0} MB |",
            share * 100.0
        ));
        let figure = json!({ "cores": share, "resident_mb": resident });
        figures.insert(service.to_owned(), figure);
    }
    Ok(figures.into())
}

/// Memory while `calls` contacts wait for a model that takes `thinking`.
async fn in_flight(calls: u32, thinking: Duration) -> Result<Value, Failure> {
    let queues = format!("chat={calls},delivery=32,documents=2,maintenance=1");
    let mut conversation = Conversation::start(&queues, BUSINESSES).await?;
    let before = conversation.workers.resident_mb()?;
    conversation.stand_in.model.set_pace(thinking);
    let rate = RATE.min(calls);
    let time = Duration::from_secs_f64(f64::from(calls) / f64::from(rate));
    let patience = PATIENCE * 4 + Conversation::patience(thinking);
    let (answered, load) = conversation
        .ask(rate, time, u64::from(calls), patience)
        .await?;
    let at_once = conversation.stand_in.model.most_at_once();
    let Conversation {
        ingress,
        workers,
        scheduler,
        ..
    } = &conversation;
    let (peak, resident) = (workers.peak_mb()?, workers.resident_mb()?);
    let (ingress, scheduler) = (ingress.peak_mb()?, scheduler.peak_mb()?);
    report(&format!(
        "\n## {calls} questions to a model that takes {} s\n",
        thinking.as_secs()
    ));
    report(
        "| calls at once | answered | workers MB: before | peak | after | ingress peak | scheduler peak |\n|---|---|---|---|---|---|---|",
    );
    report(&format!(
        "| {at_once} | {} of {} | {before:.0} | {peak:.0} | {resident:.0} | {ingress:.0} | {scheduler:.0} |",
        answered.len(),
        load.latencies.len()
    ));
    Ok(json!({
        "at_once": at_once, "asked": load.latencies.len(), "answered": answered.len(), "workers_before_mb": before,
        "workers_peak_mb": peak, "workers_after_mb": resident, "ingress_peak_mb": ingress, "scheduler_peak_mb": scheduler,
    }))
}

/// Businesses that are asked: each has ManyChat's budget of its own.
const BUSINESSES: usize = 20;

/// Memory of the workers after few jobs, and after many.
async fn after_jobs(sizes: &[usize]) -> Result<Value, Failure> {
    report("\n## Memory of the workers after no-op jobs\n");
    report("| jobs | resident | peak |\n|---|---|---|");
    let mut figures = Vec::new();
    for &size in sizes {
        let drained = drain(size, SLOTS, 100).await?;
        report(&format!(
            "| {size} | {:.0} MB | {:.0} MB |",
            drained.workers_mb, drained.workers_peak_mb
        ));
        figures.push(json!({ "jobs": size, "resident_mb": drained.workers_mb, "peak_mb": drained.workers_peak_mb }));
    }
    Ok(figures.into())
}
