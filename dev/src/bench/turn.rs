//! A turn: from a webhook to the answer in ManyChat's hands, one at a time, with the offline model.

use std::time::{Duration, Instant};

use super::statistics::{ms, quantile};
use super::{program, report};
use crate::testing::{PATIENCE, Setup};

/// How to measure turns.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Turns.
    #[arg(long, default_value_t = 300)]
    turns: usize,
}

/// What the assistant knows.
const KNOWLEDGE: &str = "# Horaires\n\nLe café ouvre à sept heures et ferme à vingt heures.\n\n# Livraison\n\n\
                         La livraison à vélo coûte trois euros. La livraison est gratuite au-delà de trente euros.\n";

pub(super) async fn run(options: &Options) -> Result<(), String> {
    let platform = Setup {
        own_postgres: true,
        ..Setup::new(&program()?)
    }
    .start()
    .await;
    platform
        .ingest("cafe.md", KNOWLEDGE.as_bytes().to_vec())
        .await;
    let mut latencies = Vec::with_capacity(options.turns);
    // Each from a contact of its own, so that no history grows; the first ones warm up.
    for turn in 0..options.turns + 20 {
        let started = Instant::now();
        platform
            .say(turn as u64 + 1, "Combien coûte la livraison à vélo ?")
            .await;
        if !platform
            .manychat
            .wait_until(PATIENCE, |delivered| delivered.len() > turn)
            .await
        {
            return Err(format!("turn {turn} was not delivered"));
        }
        if turn >= 20 {
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
    Ok(())
}
