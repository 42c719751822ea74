//! Acknowledgements: how fast a webhook is answered once it is on disk.
//!
//! Beside the ingress stand, in the same process and on the same PostgreSQL, two ingresses that differ in one thing: one
//! stores nothing, and one commits each request for itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::batch::BatchLimits;
use common::database;
use common::database::jobs::Accepted;
use common::queue::Enqueued;
use ingress::Context;
use ingress::accept::Acceptor;
use poem::Server;
use poem::listener::{Acceptor as _, Listener, TcpListener};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::client::{Load, at_rate, saturate, webhook};
use super::statistics::{Spread, ms, quantile};
use super::{Failure, Scale, program, report};
use crate::testing::{Platform, Setup};

/// How to measure acknowledgements.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Webhooks a second for the latency.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections at saturation.
    #[arg(long, default_value_t = 512)]
    connections: usize,
    /// Interleaved rounds at saturation.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// How the ingress that stores nothing is sized: as the real one.
const NOTHING: BatchLimits = BatchLimits {
    batch: 512,
    concurrency: 4,
    waiting: 8_192,
};

/// How the ingress without group commit is sized: a request a commit, as many at once as there are connections.
const SINGLE: BatchLimits = BatchLimits {
    batch: 1,
    concurrency: 20,
    waiting: 8_192,
};

pub(super) async fn run(options: &Options, _: Scale) -> Result<Value, Failure> {
    let setup = Setup {
        workers: false,
        scheduler: false,
        own_postgres: true,
        ..Setup::new(&program()?)
    };
    let platform = Setup {
        vars: vec![("DATABASE_MAX_CONNECTIONS".into(), "20".into())],
        ..setup
    }
    .start()
    .await;
    measure(options, &platform).await?;
    Ok(Value::Null)
}

async fn measure(options: &Options, platform: &Platform) -> std::io::Result<()> {
    let time = Duration::from_secs(options.seconds);
    let ingress = platform.ingresses[0];
    let (nothing, single) = beside(platform).await?;
    let secret = platform.business.webhook_secret.expose_secret().to_owned();
    // Numbers never repeat over all loads: repeats would not be stored.
    let epoch = Arc::new(AtomicU64::new(0));
    let requests = || {
        let base = epoch.fetch_add(1, Ordering::Relaxed) * 100_000_000;
        let secret = secret.clone();
        move |number: u64| webhook(&secret, base + number)
    };

    at_rate(ingress, 100, Duration::from_secs(1), requests()).await?;
    let steady = at_rate(ingress, options.rate, time, requests()).await?;
    report(&format!(
        "## Acknowledgement at {} webhooks a second, committed\n",
        options.rate
    ));
    report("| p50 | p99 | p99.9 | requests | not 200 |\n|---|---|---|---|---|");
    let at = |share| ms(quantile(&steady.latencies, share));
    report(&format!(
        "| {} | {} | {} | {} | {} |\n",
        at(0.5),
        at(0.99),
        at(0.999),
        steady.latencies.len(),
        steady.failed
    ));

    let mut rates: [Vec<f64>; 3] = Default::default();
    report(&format!(
        "## At saturation, {} connections\n",
        options.connections
    ));
    report(
        "| round | group commit | one commit a request | storing nothing | not 200 |\n|---|---|---|---|---|",
    );
    for round in 1..=options.rounds {
        let mut failed = 0;
        for (at, address) in [ingress, single, nothing].into_iter().enumerate() {
            let load: Load = saturate(address, options.connections, time, requests()).await?;
            rates[at].push(load.rate());
            failed += load.failed;
        }
        let last = |at: usize| rates[at][round - 1];
        report(&format!(
            "| {round} | {:.0}/s | {:.0}/s | {:.0}/s | {failed} |",
            last(0),
            last(1),
            last(2)
        ));
    }
    let ratio = |other: usize| {
        let ratios = rates[0].iter().zip(&rates[other]);
        Spread::of(ratios.map(|(ours, theirs)| ours / theirs))
    };
    report(&format!(
        "\n- group commit to one commit a request: {}",
        ratio(1)
    ));
    report(&format!("- group commit to storing nothing: {}", ratio(2)));
    Ok(())
}

/// Starts the two ingresses beside the real one: storing nothing, and one commit a request.
async fn beside(platform: &Platform) -> std::io::Result<(SocketAddr, SocketAddr)> {
    let nothing = serve(platform, |context| {
        let (pool, dispatch) = (context.pool.clone(), context.dispatch.clone());
        Acceptor::committing(NOTHING, pool, dispatch, async |jobs| {
            Ok(jobs.iter().map(|job| Accepted::New(job.id)).collect())
        })
    });
    let single = serve(platform, |context| {
        let (pool, dispatch) = (context.pool.clone(), context.dispatch.clone());
        let (into, push, clock) = (pool.clone(), dispatch.clone(), context.clock.clone());
        Acceptor::committing(SINGLE, pool, dispatch, move |jobs| {
            let (into, push, now) = (into.clone(), push.clone(), clock.now());
            async move {
                let mut tx = database::platform(&into).await?;
                let accepted = database::jobs::insert_many(&mut tx, &jobs, now).await?;
                tx.commit().await?;
                // Off the path of the acknowledgement, as the real one does.
                let due: Vec<Enqueued> = jobs.iter().map(|job| job.due()).collect();
                tokio::spawn(async move { push.push(&due).await });
                Ok(accepted)
            }
        })
    });
    Ok((nothing.await?, single.await?))
}

/// Serves an ingress with an acceptor of its own.
async fn serve(
    platform: &Platform,
    acceptor: impl FnOnce(&Context) -> Acceptor,
) -> std::io::Result<SocketAddr> {
    let context = Context::connect(
        platform.config.clone(),
        platform.clock.clone(),
        CancellationToken::new(),
    );
    let context = context.map_err(std::io::Error::other)?;
    let mut context =
        Arc::into_inner(context).ok_or_else(|| std::io::Error::other("the context is shared"))?;
    context.acceptor = acceptor(&context);
    let listener = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
    let address = listener
        .local_addr()
        .first()
        .and_then(|address| address.as_socket_addr().copied());
    tokio::spawn(Server::new_with_acceptor(listener).run(ingress::app(Arc::new(context))));
    address.ok_or_else(|| std::io::Error::other("not a TCP address"))
}
