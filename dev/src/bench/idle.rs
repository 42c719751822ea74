//! What all three services use together while nothing happens: one process, its stores beside it.

use std::time::Duration;

use super::{program, report};
use crate::testing::{Setup, eventually};

/// How to measure idleness.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Seconds to watch.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

pub(super) async fn run(options: &Options) -> Result<(), String> {
    let setup = Setup {
        ingresses: 0,
        workers: false,
        scheduler: false,
        own_postgres: true,
        ..Setup::new(&program()?)
    };
    let platform = setup.start().await;
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let bind = free.map_err(|error| error.to_string())?.to_string();
    let process = platform.spawn_with(&[], &[("RELAIS_BIND", &bind)]);
    let health = format!("http://{bind}/health/detailed");
    eventually("the services are up", async || {
        platform.http.get(&health).send().await.ok()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;

    let before = cpu_ticks(process.id())?;
    tokio::time::sleep(Duration::from_secs(u64::from(options.seconds))).await;
    let ticks = cpu_ticks(process.id())? - before;
    // Linux counts CPU time in hundredths of a second (USER_HZ), whatever its own clock.
    let share = ticks / f64::from(options.seconds);
    report("## Idle: ingress, workers and scheduler in one process\n");
    report("| of one core | resident |\n|---|---|");
    report(&format!(
        "| {share:.2} % | {:.0} MB |",
        resident_mb(process.id())?
    ));
    Ok(())
}

/// User and system time, in ticks.
fn cpu_ticks(pid: u32) -> Result<f64, String> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
    // The name in parentheses may hold anything; behind it user time is the 12th field and system time the 13th.
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok(fields.iter().sum())
}

fn resident_mb(pid: u32) -> Result<f64, String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|error| error.to_string())?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kilobytes: f64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .map_err(|_| "VmRSS does not read")?;
    Ok(kilobytes / 1_024.0)
}
