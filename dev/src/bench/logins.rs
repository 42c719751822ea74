//! A storm of logins: what it does to webhooks that arrive meanwhile.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::client::{Load, at_rate, saturate, webhook};
use super::services::Service;
use super::statistics::{Spread, millis, ms};
use super::{Failure, Scale, program, report};
use crate::testing::Setup;

/// How the storm is measured.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Rounds, each quiet first and then in the storm [default: 5].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each half of a round [default: 5].
    #[arg(long)]
    seconds: Option<u64>,
    /// Webhooks a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Logins under way at once, each with a wrong password, one after the other.
    #[arg(long, default_value_t = 64)]
    logins: usize,
}

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let time = Duration::from_secs(scale.pick(options.seconds, 5, 1));
    // What is measured is hashing, not refusing.
    let unlimited = ["RATE_LIMIT_SIGN_INS", "RATE_LIMIT_SIGN_INS_PER_IDENTITY"];
    let platform = Setup {
        vars: unlimited
            .map(|name| (name.to_owned(), "1000000".to_owned()))
            .into(),
        ..Setup::stores_only(&program()?)
    }
    .start()
    .await;
    let ingress = Service::start(&platform, &["ingress"]).await?;
    let secret = platform.business.webhook_secret.expose_secret().to_owned();
    let webhooks = async |half: u64| {
        let secret = secret.clone();
        let first = half * 10_000_000;
        let request =
            move |number: u64| webhook(&secret, number % 100 + 1, "Bonjour", first + number);
        at_rate(ingress.address, options.rate, time, request).await
    };
    webhooks(0).await?;

    report(&format!(
        "## {} webhooks a second, quiet and beside {} logins at once\n",
        options.rate, options.logins
    ));
    report(
        "| round | quiet p50 | p99 | storm p50 | p99 | not 200 | logins a second |\n|---|---|---|---|---|---|---|",
    );
    let mut figures = Vec::new();
    for round in 0..scale.pick(options.rounds, 5, 1) as u64 {
        let quiet = webhooks(2 * round + 1).await?;
        let storm = saturate(ingress.address, options.logins, time, login);
        let (stormy, storm) = tokio::join!(webhooks(2 * round + 2), storm);
        figures.push(told(round + 1, &quiet, &stormy?, &storm?));
    }
    let ratios = figures
        .iter()
        .filter_map(|figure| figure["p99_ratio"].as_f64());
    report(&format!(
        "\np99 in the storm to quiet: {}",
        Spread::of(ratios)
    ));
    ingress.stop();
    Ok(json!({ "rounds": figures }))
}

fn told(round: u64, quiet: &Load, stormy: &Load, storm: &Load) -> Value {
    let at = |load: &Load, share| ms(load.latencies.at(share));
    report(&format!(
        "| {round} | {} | {} | {} | {} | {} | {:.1} |",
        at(quiet, 0.5),
        at(quiet, 0.99),
        at(stormy, 0.5),
        at(stormy, 0.99),
        quiet.failed + stormy.failed,
        storm.rate()
    ));
    let p99 = |load: &Load| millis(load.latencies.at(0.99));
    json!({
        "quiet_p99_ms": p99(quiet), "storm_p99_ms": p99(stormy), "p99_ratio": p99(stormy) / p99(quiet),
        "failed": quiet.failed + stormy.failed, "logins_a_second": storm.rate(),
    })
}

/// A login that is refused, as raw HTTP: that of somebody unknown takes as long as any.
fn login(number: u64) -> Vec<u8> {
    let body =
        format!(r#"{{"email": "storm{number}@example.org", "password": "not the password"}}"#);
    format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
