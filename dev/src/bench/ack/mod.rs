//! Acknowledgements: how fast a webhook is answered once it is on disk.
//!
//! The ingress is a process of its own. Beside it, on the same PostgreSQL, stand two that differ in one thing: one stores
//! nothing, and one commits each request for itself ([`beside`]); and two yardsticks without an ingress ([`yardsticks`]).

pub(super) mod beside;
mod inbox;
mod yardsticks;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::client::{Load, at_rate, saturate, webhook};
use super::probes::forget;
use super::services::Service;
use super::statistics::{Spread, float, millis, ms};
use super::{Failure, Scale, program, report};
use crate::testing::{Platform, Setup};
use yardsticks::{PgBench, RedisAlways};

/// How to measure acknowledgements.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Webhooks a second for the latency; ends where the ingress no longer keeps up. [100,500,1000,2000,4000,8000,16000; quick: 100]
    #[arg(long, value_delimiter = ',')]
    rates: Option<Vec<u32>>,
    /// Connections at saturation. [1,32,128,512; quick: 8]
    #[arg(long, value_delimiter = ',')]
    connections: Option<Vec<usize>>,
    /// Businesses that are written to. [1,100,10000; quick: 1,10]
    #[arg(long, value_delimiter = ',')]
    businesses: Option<Vec<usize>>,
    /// Messages that wait already. [1000,100000,1000000; quick: 1000]
    #[arg(long, value_delimiter = ',')]
    inbox: Option<Vec<usize>>,
    /// Seconds of each measurement. [5; quick: 1]
    #[arg(long)]
    seconds: Option<u64>,
    /// Interleaved rounds. [3; quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
}

/// Connections where something else is varied.
const CONNECTIONS: usize = 128;

/// Connections where nothing is measured yet.
const WARM_UP_CONNECTIONS: usize = 16;

/// A rate is kept where so much of it is reached.
const KEPT: f64 = 0.95;

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let platform = Setup {
        vars: vec![("DATABASE_MAX_CONNECTIONS".into(), "20".into())],
        ..Setup::stores_only(&program()?)
    }
    .start()
    .await;
    let first = platform.business.webhook_secret.expose_secret().to_owned();
    let mut bench = Bench {
        ours: Service::start(&platform, &["ingress"]).await?,
        single: Service::start(&platform, &["bench", "beside", "single"]).await?,
        nothing: Service::start(&platform, &["bench", "beside", "nothing"]).await?,
        redis: RedisAlways::start().await?,
        pgbench: PgBench::prepare(&platform).await,
        platform: &platform,
        time: Duration::from_secs(scale.pick(options.seconds, 5, 1)),
        rounds: scale.pick(options.rounds, 3, 1),
        secrets: Arc::new(vec![first]),
        epoch: Cell::new(0),
    };
    let pick = |given: &Option<Vec<usize>>, full: &[usize], quick: &[usize]| {
        scale.pick(given.clone(), full.to_vec(), quick.to_vec())
    };
    let rates = vec![100, 500, 1_000, 2_000, 4_000, 8_000, 16_000];
    let rates = scale.pick(options.rates.clone(), rates, vec![100]);
    let rates = bench.rates(&rates).await?;
    let connections = pick(&options.connections, &[1, 32, 128, 512], &[8]);
    let connections = bench.connections(&connections).await?;
    let sizes = pick(&options.businesses, &[1, 100, 10_000], &[1, 10]);
    bench.secrets = Arc::new(inbox::secrets(&platform, &bench.secrets, &sizes).await?);
    let businesses = bench.businesses(&sizes).await?;
    let sizes = pick(&options.inbox, &[1_000, 100_000, 1_000_000], &[1_000]);
    let inbox = bench.inbox(&sizes).await?;
    Ok(
        json!({ "rates": rates, "connections": connections, "businesses": businesses, "inbox": inbox }),
    )
}

struct Bench<'a> {
    platform: &'a Platform,
    ours: Service,
    single: Service,
    nothing: Service,
    redis: RedisAlways,
    pgbench: Result<PgBench, String>,
    time: Duration,
    rounds: usize,
    /// Of the businesses that are written to.
    secrets: Arc<Vec<String>>,
    /// Numbers never repeat over all loads: repeats would not be stored.
    epoch: Cell<u64>,
}

impl Bench<'_> {
    /// The webhooks of one load, in turn to the first `businesses`.
    fn requests(&self, businesses: usize) -> impl Fn(u64) -> Vec<u8> + Send + Sync + 'static {
        let base = self.epoch.replace(self.epoch.get() + 100_000_000);
        let (secrets, businesses) = (Arc::clone(&self.secrets), businesses as u64);
        move |number| {
            let place = usize::try_from(number % businesses).unwrap_or_default();
            webhook(
                &secrets[place],
                number % 1_000,
                "Bonjour, quelle est votre adresse ?",
                base + number,
            )
        }
    }

    async fn saturate(
        &self,
        service: &Service,
        connections: usize,
        businesses: usize,
    ) -> Result<Load, Failure> {
        let requests = self.requests(businesses);
        Ok(saturate(service.address, connections, self.time, requests).await?)
    }

    /// Latency at fixed rates, up to where the ingress no longer keeps up.
    async fn rates(&self, rates: &[u32]) -> Result<Vec<Value>, Failure> {
        at_rate(
            self.ours.address,
            100,
            Duration::from_secs(1),
            self.requests(1),
        )
        .await?;
        report("## Acknowledgement at fixed rates, committed, from when a webhook was due\n");
        report(
            "| webhooks a second | reached | p50 | p99 | p99.9 | max | not 200 | CPU ms a webhook |\n|---|---|---|---|---|---|---|---|",
        );
        let mut figures = Vec::new();
        for &rate in rates {
            let cpu = self.ours.cpu_seconds()?;
            let load = at_rate(self.ours.address, rate, self.time, self.requests(1)).await?;
            let cpu_ms = (self.ours.cpu_seconds()? - cpu) * 1_000.0 / float(load.latencies.len());
            let at = |share| ms(load.latencies.at(share));
            report(&format!(
                "| {rate} | {:.0} | {} | {} | {} | {} | {} | {cpu_ms:.3} |",
                load.rate(),
                at(0.5),
                at(0.99),
                at(0.999),
                ms(load.latencies.max()),
                load.failed
            ));
            figures.push(json!({
                "rate": rate, "reached": load.rate(), "latency": load.latencies.json(), "failed": load.failed,
                "cpu_ms_each": cpu_ms,
            }));
            if load.rate() < KEPT * f64::from(rate) {
                break;
            }
        }
        Ok(figures)
    }

    /// Saturation by connections, beside all the others.
    async fn connections(&self, counts: &[usize]) -> Result<Vec<Value>, Failure> {
        report("\n## At saturation\n");
        if let Err(reason) = &self.pgbench {
            report(&format!("Without pgbench: {reason}\n"));
        }
        report(
            "| connections | round | group commit | p99 | one commit a request | storing nothing | Redis, fsync always | pgbench | not 200 |\n|---|---|---|---|---|---|---|---|---|",
        );
        let mut figures: Vec<Value> = Vec::new();
        for round in 1..=self.rounds {
            for &count in counts {
                figures.push(self.beside_all(round, count).await?);
            }
        }
        report("");
        for &count in counts {
            for (name, of) in [
                ("one commit a request", "single"),
                ("storing nothing", "nothing"),
                ("Redis, fsync always", "redis"),
                ("pgbench", "pgbench"),
            ] {
                let of_count = figures
                    .iter()
                    .filter(|figure| figure["connections"] == count);
                let ratios: Vec<f64> = of_count
                    .filter_map(|figure| Some(figure["group"].as_f64()? / figure[of].as_f64()?))
                    .collect();
                if !ratios.is_empty() {
                    report(&format!(
                        "- {count} connections, group commit to {name}: {}",
                        Spread::of(ratios)
                    ));
                }
            }
        }
        Ok(figures)
    }

    async fn beside_all(&self, round: usize, count: usize) -> Result<Value, Failure> {
        forget(self.platform).await?;
        let ours = self.saturate(&self.ours, count, 1).await?;
        let single = self.saturate(&self.single, count, 1).await?;
        let nothing = self.saturate(&self.nothing, count, 1).await?;
        let redis = self
            .redis
            .saturate(count, self.time, self.requests(1))
            .await?;
        let pgbench = match &self.pgbench {
            Ok(pgbench) => Some(pgbench.run(count, self.time).await?),
            Err(_) => None,
        };
        let failed = ours.failed + single.failed + nothing.failed + redis.failed;
        report(&format!(
            "| {count} | {round} | {:.0} | {} | {:.0} | {:.0} | {:.0} | {} | {failed} |",
            ours.rate(),
            ms(ours.latencies.at(0.99)),
            single.rate(),
            nothing.rate(),
            redis.rate(),
            pgbench.map_or_else(String::new, |rate| format!("{rate:.0}"))
        ));
        Ok(json!({
            "connections": count, "round": round, "group": ours.rate(), "group_p99_ms": millis(ours.latencies.at(0.99)),
            "single": single.rate(), "nothing": nothing.rate(), "redis": redis.rate(), "pgbench": pgbench, "failed": failed,
        }))
    }

    /// Saturation by how many businesses are written to.
    async fn businesses(&self, counts: &[usize]) -> Result<Vec<Value>, Failure> {
        report(&format!("\n## By businesses, {CONNECTIONS} connections\n"));
        report("| businesses | round | a second | p99 | not 200 |\n|---|---|---|---|---|");
        let mut figures = Vec::new();
        for round in 1..=self.rounds {
            for &count in counts {
                forget(self.platform).await?;
                // What an ingress knows of its businesses after its first minute, it is not to learn here.
                self.saturate(&self.ours, WARM_UP_CONNECTIONS, count)
                    .await?;
                let load = self.saturate(&self.ours, CONNECTIONS, count).await?;
                figures.push(told(count, round, &load));
            }
        }
        Ok(figures)
    }

    /// Saturation by how many messages wait already.
    async fn inbox(&self, sizes: &[usize]) -> Result<Vec<Value>, Failure> {
        report(&format!(
            "\n## By messages that wait already, {CONNECTIONS} connections\n"
        ));
        report("| messages | round | a second | p99 | not 200 |\n|---|---|---|---|---|");
        let mut figures = Vec::new();
        for round in 1..=self.rounds {
            for &size in sizes {
                forget(self.platform).await?;
                inbox::fill(self.platform, size).await?;
                let load = self.saturate(&self.ours, CONNECTIONS, 1).await?;
                figures.push(told(size, round, &load));
            }
        }
        Ok(figures)
    }
}

fn told(size: usize, round: usize, load: &Load) -> Value {
    let p99 = load.latencies.at(0.99);
    report(&format!(
        "| {size} | {round} | {:.0} | {} | {} |",
        load.rate(),
        ms(p99),
        load.failed
    ));
    json!({ "size": size, "round": round, "rate": load.rate(), "p99_ms": millis(p99), "failed": load.failed })
}
