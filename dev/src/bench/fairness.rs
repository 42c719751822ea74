//! Fairness: what a business's flood costs the others, what it gets of the room they leave, and whether weights are kept.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::domain::BusinessId;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::probes::{Sender, businesses, forget, wait_until_done};
use super::services::Service;
use super::statistics::{Latencies, Spread, float, millis};
use super::{Failure, Scale, program, report, weights};
use crate::testing::{PATIENCE, Platform, Setup};

/// How to measure fairness.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Jobs the one business dumps. [10000; quick: 400]
    #[arg(long)]
    flood: Option<usize>,
    /// The others, which enqueue one a second each.
    #[arg(long, default_value_t = 99)]
    quiet: usize,
    /// Milliseconds a job holds its slot.
    #[arg(long, default_value_t = 20)]
    job_ms: u32,
    /// Jobs the workers run at once.
    #[arg(long, default_value_t = 32)]
    slots: usize,
    /// Interleaved rounds, each without and with the flood. [3; quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Jobs of the backlog of each business that is weighted. [3000; quick: 200]
    #[arg(long)]
    backlog: Option<usize>,
}

/// The part of the flood's shortest possible time in which is measured: it lasts that long however well it is served.
const WINDOW: f64 = 0.8;

pub(super) async fn run(options: &Options, scale: Scale) -> Result<Value, Failure> {
    let platform = Setup::stores_only(&program()?).start().await;
    let mut ids = businesses(&platform, options.quiet + 1).await?;
    let noisy = ids.pop().ok_or("no businesses")?;
    let flood = scale.pick(options.flood, 10_000, 400);
    let scene = Scene {
        sender: Arc::new(Sender::connect(&platform).await?),
        quiet: ids,
        noisy,
        flood,
        job: Duration::from_millis(u64::from(options.job_ms)),
        slots: options.slots,
        platform: &platform,
    };
    let _workers = Service::workers(&platform, &format!("maintenance={}", options.slots)).await?;
    let _scheduler = Service::start(&platform, &["scheduler"]).await?;

    // Connections are made, statements prepared.
    scene.load(Duration::from_secs(1)).await?;
    let mut rounds = Vec::new();
    for _ in 0..scale.pick(options.rounds, 3, 1) {
        rounds.push(scene.round().await?);
    }
    scene.tell(&rounds);
    let backlog = scale.pick(options.backlog, 3_000, 200);
    let shares = weights::shares(&platform, &scene.quiet, backlog, options.job_ms).await?;
    Ok(json!({
        "quiet": options.quiet, "flood": flood, "job_ms": options.job_ms, "slots": options.slots,
        "rounds": rounds.iter().map(Round::json).collect::<Vec<_>>(),
        "weights": weights::WEIGHTS, "shares": shares,
    }))
}

struct Scene<'a> {
    platform: &'a Platform,
    sender: Arc<Sender>,
    quiet: Vec<BusinessId>,
    noisy: BusinessId,
    flood: usize,
    job: Duration,
    slots: usize,
}

/// What the quiet businesses saw, from when a job was due.
#[derive(Default)]
struct Seen {
    began: Latencies,
    ended: Latencies,
    lost: usize,
}

struct Round {
    alone: Seen,
    flooded: Seen,
    /// Jobs of the flood that ended while it was measured.
    flood_jobs: f64,
    /// Their part of the slots' time that the quiet ones left.
    share: f64,
}

impl Round {
    /// How much longer the quiet ones wait for a job to begin, at `share` of them.
    fn ratio(&self, share: f64) -> f64 {
        millis(self.flooded.began.at(share)) / millis(self.alone.began.at(share)).max(0.001)
    }

    fn json(&self) -> Value {
        let seen = |seen: &Seen| json!({ "begun": seen.began.json(), "ended": seen.ended.json(), "lost": seen.lost });
        json!({
            "alone": seen(&self.alone), "flooded": seen(&self.flooded),
            "flood_jobs": self.flood_jobs, "share_of_spare": self.share,
        })
    }
}

impl Scene<'_> {
    /// How long the flood lasts at least, cut a little: what is measured in.
    fn window(&self) -> Duration {
        let least = float(self.flood) * self.job.as_secs_f64() / float(self.slots);
        Duration::from_secs_f64(least * WINDOW)
    }

    /// The same load twice: alone, and during the flood.
    async fn round(&self) -> Result<Round, Failure> {
        let window = self.window();
        let alone = self.load(window).await?;

        let (sender, noisy, flood) = (Arc::clone(&self.sender), self.noisy, self.flood);
        let job_ms = u64::try_from(self.job.as_millis())?;
        let dumping = tokio::spawn(async move { sender.dump(noisy, flood, job_ms).await });
        let from = self.platform.clock.now();
        let flooded = self.load(window).await?;
        let to = from + window;
        dumping.await??;
        let flood_jobs = self.ended_of(&[self.noisy], from, to).await?;
        let quiet_jobs = self.ended_of(&self.quiet, from, to).await?;
        let job = self.job.as_secs_f64();
        let spare = float(self.slots) * window.as_secs_f64() - quiet_jobs * job;
        let limit = PATIENCE + window * 10;
        wait_until_done(self.platform, Duration::from_millis(100), limit).await?;
        forget(self.platform).await?;
        Ok(Round {
            alone,
            flooded,
            flood_jobs,
            share: flood_jobs * job / spare,
        })
    }

    /// Every quiet business enqueues a job a second for `time`, each at a moment of its own; waits for all of them.
    async fn load(&self, time: Duration) -> Result<Seen, Failure> {
        let every = Duration::from_secs(1) / u32::try_from(self.quiet.len())?;
        let (started, started_at) = (Instant::now(), self.platform.clock.now());
        let mut tasks = Vec::new();
        let job_ms = u64::try_from(self.job.as_millis())?;
        for (number, &business_id) in (0..).zip(self.quiet.iter().cycle()) {
            let after = every * number;
            if after >= time {
                break;
            }
            let sender = Arc::clone(&self.sender);
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep_until(started + after).await;
                let sent = sender.send(business_id, job_ms).await?;
                let (Ok(Ok(began_at)), Ok(Ok(ended))) = (
                    tokio::time::timeout(PATIENCE, sent.began_at).await,
                    tokio::time::timeout(PATIENCE, sent.ended).await,
                ) else {
                    return Ok(None);
                };
                let began = (began_at - started_at).to_std().unwrap_or_default();
                Ok::<_, Failure>(Some((
                    began.saturating_sub(after),
                    (ended - started).saturating_sub(after),
                )))
            }));
        }
        let (mut began, mut ended, mut lost) = (Vec::new(), Vec::new(), 0);
        for task in tasks {
            match task.await?? {
                Some((to_begin, to_end)) => {
                    began.push(to_begin);
                    ended.push(to_end);
                }
                None => lost += 1,
            }
        }
        Ok(Seen {
            began: Latencies::new(began),
            ended: Latencies::new(ended),
            lost,
        })
    }

    /// How many jobs of `businesses` ended in a time.
    async fn ended_of(
        &self,
        businesses: &[BusinessId],
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<f64, Failure> {
        let ids: Vec<uuid::Uuid> = businesses.iter().map(|id| id.0).collect();
        let sql = "SELECT count(*)::float8 FROM jobs
                   WHERE kind = 'probe' AND business_id = ANY($1) AND finished_at >= $2 AND finished_at < $3";
        let count = sqlx::query_scalar(sql).bind(ids).bind(from).bind(to);
        Ok(count.fetch_one(&self.platform.owner).await?)
    }

    fn tell(&self, rounds: &[Round]) {
        report(&format!(
            "## A flood of {} jobs beside {} businesses with one a second each; {} slots, jobs of {} ms\n",
            self.flood,
            self.quiet.len(),
            self.slots,
            self.job.as_millis()
        ));
        report("| the quiet ones' | p50 | p99 | max | jobs | lost |\n|---|---|---|---|---|---|");
        let row =
            |name: &str, of: &dyn Fn(&Round) -> &Seen, latencies: &dyn Fn(&Seen) -> &Latencies| {
                let all = Latencies::merged(rounds.iter().map(|round| latencies(of(round))));
                let lost: usize = rounds.iter().map(|round| of(round).lost).sum();
                report(&format!(
                    "| {name} | {} | {} | {lost} |",
                    all.cells(),
                    all.len()
                ));
            };
        row("time to begin, alone", &|round| &round.alone, &|seen| {
            &seen.began
        });
        row("time to begin, flooded", &|round| &round.flooded, &|seen| {
            &seen.began
        });
        row("time to end, alone", &|round| &round.alone, &|seen| {
            &seen.ended
        });
        row("time to end, flooded", &|round| &round.flooded, &|seen| {
            &seen.ended
        });
        let spread = |of: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(of));
        report(&format!(
            "\n- flooded to alone, time to begin: p50 {}, p99 {}",
            spread(&|round| round.ratio(0.5)),
            spread(&|round| round.ratio(0.99))
        ));
        report(&format!(
            "- the flood's share of the slots' time the others left: {}",
            spread(&|round| round.share)
        ));
    }
}
