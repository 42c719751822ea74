//! A turn: from a webhook to the answer in ManyChat's hands, one at a time, with the offline model.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::statistics::{ms, quantile};
use super::{Failure, Scale, program, report};
use crate::testing::{PATIENCE, Setup};

/// How to measure turns.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Turns.
    #[arg(long, default_value_t = 300)]
    turns: usize,
}

/// Businesses that take turns, and turns that are not counted.
const BUSINESSES: usize = 20;
const WARM_UP: usize = 40;

/// What the assistant knows.
const KNOWLEDGE: &str = "# Horaires\n\nLe café ouvre à sept heures et ferme à vingt heures.\n\n# Livraison\n\n\
                         La livraison à vélo coûte trois euros. La livraison est gratuite au-delà de trente euros.\n";

pub(super) async fn run(options: &Options, _: Scale) -> Result<Value, Failure> {
    let platform = Setup {
        own_postgres: true,
        ..Setup::new(&program()?)
    }
    .start()
    .await;
    // ManyChat's budget is each business's own: one alone would measure the budget.
    let mut businesses = Vec::new();
    for number in 0..BUSINESSES {
        let business = platform.another_business(&format!("Café {number}")).await;
        platform
            .ingest_as(&business, "cafe.md", KNOWLEDGE.as_bytes().to_vec())
            .await;
        businesses.push(business);
    }
    let mut latencies = Vec::with_capacity(options.turns);
    // Each from a contact of its own, so that no history grows; the first ones warm up.
    for turn in 0..options.turns + WARM_UP {
        let body =
            json!({ "subscriber_id": turn + 1, "text": "Combien coûte la livraison à vélo ?" });
        let started = Instant::now();
        platform
            .webhook_to(0, &businesses[turn % BUSINESSES], &body)
            .await;
        if !platform
            .manychat
            .wait_until(PATIENCE, |delivered| delivered.len() > turn)
            .await
        {
            return Err(format!("turn {turn} was not delivered").into());
        }
        if turn >= WARM_UP {
            latencies.push(started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    latencies.sort_unstable();
    report("## A turn, webhook to delivered, idle, burst window off, offline model included\n");
    report("| p50 | p95 | p99 | turns |\n|---|---|---|---|");
    let at = |share| ms(quantile(&latencies, share));
    report(&format!(
        "| {} | {} | {} | {} |",
        at(0.5),
        at(0.95),
        at(0.99),
        latencies.len()
    ));
    platform.stop().await;
    Ok(Value::Null)
}
