//! Acknowledgements: how fast a webhook is answered once it is on disk.
//!
//! Beside the ingress stand, in the same process and on the same PostgreSQL, two servers that read the same request and
//! give the same answer: one that stores nothing, and one that commits once a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::database;
use common::domain::{Channel, MessageId};
use common::queue::NewJob;
use common::queue::jobs::{InboundContact, ReceiveMessage};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json};
use poem::{Body, EndpointExt, Request, Route, Server, handler, post};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::client::{Load, at_rate, saturate, webhook};
use super::statistics::{median, ms, quantile};
use super::{program, report};
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
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Interleaved rounds at saturation.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What the two servers beside the ingress need.
struct Beside {
    pool: PgPool,
    secret_hash: Vec<u8>,
    business_id: common::domain::BusinessId,
    clock: common::Clock,
}

pub(super) async fn run(options: &Options) -> Result<(), String> {
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
    measure(options, &platform)
        .await
        .map_err(|error| error.to_string())
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
        let mut ratios: Vec<f64> = rates[0]
            .iter()
            .zip(&rates[other])
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        median(&mut ratios)
    };
    report(&format!(
        "\n- group commit to one commit a request: {:.2}",
        ratio(1)
    ));
    report(&format!(
        "- group commit to storing nothing: {:.2}",
        ratio(2)
    ));
    Ok(())
}

/// Starts the two servers beside the ingress: storing nothing, and one commit a request.
async fn beside(platform: &Platform) -> std::io::Result<(SocketAddr, SocketAddr)> {
    let shared = Arc::new(Beside {
        pool: platform.pool.clone(),
        secret_hash: common::secret::hash(platform.business.webhook_secret.expose_secret()),
        business_id: platform.business.business_id,
        clock: platform.clock.clone(),
    });
    let nothing = serve(
        Route::new()
            .at("/api/v1/webhook/manychat", post(store_nothing))
            .data(Arc::clone(&shared)),
    )
    .await?;
    let single = serve(
        Route::new()
            .at("/api/v1/webhook/manychat", post(commit_each))
            .data(shared),
    )
    .await?;
    Ok((nothing, single))
}

async fn serve(app: impl poem::Endpoint + 'static) -> std::io::Result<SocketAddr> {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
    let address = acceptor
        .local_addr()
        .first()
        .and_then(|address| address.as_socket_addr().copied());
    tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
    address.ok_or_else(|| std::io::Error::other("not a TCP address"))
}

async fn read(request: &Request, body: Body, shared: &Beside) -> poem::Result<ReceiveMessage> {
    let secret = request.header("X-Webhook-Secret").unwrap_or_default();
    if !common::secret::matches_hash(secret, &shared.secret_hash) {
        return Err(poem::http::StatusCode::UNAUTHORIZED.into());
    }
    let body: Value = body.into_json().await?;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Ok(ReceiveMessage {
        business_id: shared.business_id,
        message_id: MessageId::new(),
        channel: Channel::Manychat,
        contact: InboundContact {
            external_id: body["subscriber_id"].to_string(),
            ..InboundContact::default()
        },
        text: text("text"),
        media_url: None,
        external_id: Some(text("message_id")),
        received_at: shared.clock.now(),
    })
}

fn acknowledgement() -> Json<Value> {
    Json(json!({
        "version": "v2",
        "content": {
            "type": "whatsapp",
            "messages": [{ "type": "text", "text": "OK, bien reçu" }],
            "actions": [],
            "quick_replies": [],
        },
    }))
}

#[handler]
async fn store_nothing(
    request: &Request,
    body: Body,
    shared: Data<&Arc<Beside>>,
) -> poem::Result<Json<Value>> {
    read(request, body, &shared).await?;
    Ok(acknowledgement())
}

#[handler]
async fn commit_each(
    request: &Request,
    body: Body,
    shared: Data<&Arc<Beside>>,
) -> poem::Result<Json<Value>> {
    let message = read(request, body, &shared).await?;
    let key = format!(
        "{}:{}",
        message.group_key(),
        message.external_id.clone().unwrap_or_default()
    );
    let job = NewJob::new(&message)
        .with_key(key)
        .in_group(message.group_key());
    let stored = async {
        let mut tx = database::platform(&shared.pool).await?;
        database::jobs::insert_many(&mut tx, &[job], shared.clock.now()).await?;
        tx.commit().await?;
        Ok::<_, common::Error>(())
    };
    stored.await.map_err(poem::error::InternalServerError)?;
    Ok(acknowledgement())
}
