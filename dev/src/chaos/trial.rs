//! A run under load with faults: each alone, or mixed at random.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use fred::interfaces::{ClientLike, ListInterface};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::facts::{Facts, Policy, Recovery, Time};
use super::fault::{Fault, Scope};
use super::gather;
use super::history::Marker;
use super::load::{Load, Sender};
use super::world::{Plan, World};

/// Contacts, and messages a second of all of them: what two cores bear in a debug build with room to spare.
const LOAD: (u32, f64) = (30, 15.0);

/// How long the model thinks: so long that who dies mostly held something.
const PACE: Duration = Duration::from_millis(250);

/// How long the load runs before anything is broken, and how much of it counts as "before".
const WARM: (Duration, TimeDelta) = (Duration::from_secs(6), TimeDelta::seconds(5));

/// Within how long after a fault's end work is back, and the stretch over which it is counted.
const BACK: (TimeDelta, TimeDelta) = (TimeDelta::seconds(5), TimeDelta::seconds(4));

/// How long everything may take to drain in the end: the longest rests of a few failed attempts.
const DRAIN: Duration = Duration::from_secs(40);

/// How long Redis's tidying up takes.
const TIDY: Duration = Duration::from_millis(1_500);

/// A run that is over.
pub struct Trial {
    /// Its name.
    pub name: String,
    /// What came to light.
    pub facts: Facts,
    /// What was done, for the report.
    pub notes: Vec<String>,
    /// The raw history.
    pub lines: Vec<Value>,
    /// How long it took.
    pub took: Duration,
}

/// A run under way.
struct Run {
    world: World,
    sender: Sender,
    load: Load,
    random: StdRng,
    notes: Vec<String>,
    recoveries: Vec<Recovery>,
    begun: Instant,
}

/// Breaks one thing.
pub async fn alone(fault: Fault, plan: Plan, seed: u64) -> Result<Trial, String> {
    let own_postgres = fault.scope() == Scope::Postgres;
    let plan = Plan {
        own_postgres,
        ..plan
    };
    let mut run = Box::pin(Run::start(plan, seed)).await?;
    let before = run.rate_before();
    run.breaks(fault, false, None).await?;
    run.recovers(fault.as_str(), before).await;
    run.end(fault.as_str()).await
}

/// Breaks one thing after the other at random for `lasts`, processes at any time.
pub async fn mix(plan: Plan, seed: u64, lasts: Duration, short: bool) -> Result<Trial, String> {
    let plan = Plan {
        own_postgres: true,
        ..plan
    };
    let mut run = Box::pin(Run::start(plan, seed)).await?;
    let before = run.rate_before();
    run.a_worker_dies_with_much().await?;
    let end = Instant::now() + lasts;
    let mut deck = Vec::new();
    while Instant::now() < end {
        if deck.is_empty() {
            deck = Fault::ALL.to_vec();
            deck.retain(|fault| !fault.is_long());
            deck.shuffle(&mut run.random);
        }
        if let Some(fault) = deck.pop() {
            let other = run.meanwhile(fault);
            run.breaks(fault, short, other).await?;
        }
        let rest = run.random.random_range(300..1_000);
        sleep(Duration::from_millis(rest)).await;
        run.spool_is_empty().await;
    }
    run.recovers("the mix", before).await;
    run.end("mix").await
}

impl Run {
    async fn start(plan: Plan, seed: u64) -> Result<Self, String> {
        let begun = Instant::now();
        let policies = vec![Policy::AtLeastOnce, Policy::AtMostOnce, Policy::AtLeastOnce];
        let pace = PACE;
        let world = World::start(Plan {
            policies,
            pace,
            ..plan
        })
        .await?;
        let sender = world.sender()?;
        let load = Load::start(&sender, 1, LOAD.0, LOAD.1, seed);
        let mut run = Self {
            world,
            sender,
            load,
            random: StdRng::seed_from_u64(seed),
            notes: Vec::new(),
            recoveries: Vec::new(),
            begun,
        };
        sleep(WARM.0).await;
        run.sample().await;
        Ok(run)
    }

    async fn sample(&mut self) {
        let running = self.world.processes.running();
        self.world.samples.take(&running).await;
    }

    /// With nothing else broken, so that what it held can be judged; and while the model thinks long, so that it is much.
    async fn a_worker_dies_with_much(&mut self) -> Result<(), String> {
        self.world.model.set_pace(PACE * 6);
        sleep(Duration::from_secs(1)).await;
        self.breaks(Fault::KillWorker, true, None).await?;
        sleep(Duration::from_millis(2_500)).await;
        self.world.model.set_pace(PACE);
        Ok(())
    }

    /// What dies beside `fault`, if anything: a process, where it is something else that suffers.
    fn meanwhile(&mut self, fault: Fault) -> Option<Fault> {
        let deaths = [Fault::KillIngress, Fault::KillWorker, Fault::KillScheduler];
        let one = fault.scope() != Scope::Process && self.random.random_bool(0.5);
        one.then(|| deaths.choose(&mut self.random).copied())
            .flatten()
    }

    /// Breaks something for a while, and `other` at some time in it.
    async fn breaks(
        &mut self,
        fault: Fault,
        short: bool,
        other: Option<Fault>,
    ) -> Result<(), String> {
        let (world, random) = (&mut self.world, &mut self.random);
        let at = self.begun.elapsed().as_secs_f64();
        let beside = other.map_or_else(String::new, |it| format!(" and {}", it.as_str()));
        self.notes
            .push(format!("{at:.1} s: {}{beside}", fault.as_str()));
        let injected = fault.inject(world, random).await?;
        let lasts = fault.lasts(short);
        let Some(other) = other else {
            sleep(lasts).await;
            return injected.heal(world).await;
        };
        let early = lasts.mul_f64(random.random_range(0.0..1.0));
        sleep(early).await;
        let killed = other.inject(world, random).await?;
        sleep(lasts.saturating_sub(early)).await;
        injected.heal(world).await?;
        killed.heal(world).await
    }

    /// What was spooled while PostgreSQL was away is in Redis alone: it must not be emptied now.
    async fn spool_is_empty(&self) {
        let Ok(redis) = common::redis::connect(&self.world.platform.config.stores.redis_url) else {
            return;
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let length: Result<usize, _> = redis.llen("relais:spool").await;
            if length.is_ok_and(|length| length == 0) {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let _: Result<(), _> = redis.quit().await;
    }

    fn rate_before(&self) -> f64 {
        let now = self.world.history.now();
        rate(&arrivals(&self.world), now - WARM.1, WARM.1)
    }

    /// Looks at the work after a fault's end, which is now.
    async fn recovers(&mut self, fault: &str, before: f64) {
        let end = self.world.history.now();
        sleep((BACK.0 + BACK.1).to_std().unwrap_or_default()).await;
        let arrivals = arrivals(&self.world);
        let after = (0..=20)
            .map(|step| rate(&arrivals, end + BACK.0 * step / 20, BACK.1))
            .fold(0.0, f64::max);
        self.recoveries.push(Recovery {
            fault: fault.to_owned(),
            before,
            after,
            stalled_ms: gather::stalled_ms(&self.world, end, end + BACK.0 + BACK.1),
        });
    }

    /// Ends the load, lets everything drain, and gathers.
    async fn end(mut self, name: &str) -> Result<Trial, String> {
        let Self {
            mut world,
            sender,
            load,
            ..
        } = self;
        load.finish().await;
        let drained = gather::drained(&world, DRAIN).await;
        if !drained {
            self.notes.push("it did not drain".to_owned());
        }
        sleep(TIDY).await;
        let running = world.processes.running();
        world.samples.take(&running).await;
        let mut facts = gather::facts(&world, &sender).await?;
        facts.recoveries = self.recoveries;
        let fallen = world.processes.fallen().into_iter();
        facts.oddities = fallen
            .map(|name| format!("{name} ended, and nobody had killed it"))
            .collect();
        Ok(Trial {
            name: name.to_owned(),
            lines: lines(name, &world, &facts),
            facts,
            notes: self.notes,
            took: self.begun.elapsed(),
        })
    }
}

/// When each message was first answered, in order.
fn arrivals(world: &World) -> Vec<Time> {
    let mut seen: BTreeSet<Marker> = BTreeSet::new();
    let delivered = gather::delivered(world).into_iter();
    let first = delivered.flat_map(|delivered| {
        let new = delivered
            .markers
            .into_iter()
            .map(move |it| (it, delivered.at));
        new.collect::<Vec<_>>()
    });
    first
        .filter(|(marker, _)| seen.insert(*marker))
        .map(|(_, at)| at)
        .collect()
}

/// Answered messages a second over three seconds from `from`.
pub fn rate_of(world: &World, from: Time) -> f64 {
    rate(&arrivals(world), from, TimeDelta::seconds(3))
}

/// Answered messages a second over a stretch.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and milliseconds of minutes"
)]
fn rate(arrivals: &[Time], from: Time, stretch: TimeDelta) -> f64 {
    let within = |at: &&Time| (from..from + stretch).contains(at);
    arrivals.iter().filter(within).count() as f64 * 1_000.0 / stretch.num_milliseconds() as f64
}

/// The raw history of a run, oldest first.
pub fn lines(trial: &str, world: &World, facts: &Facts) -> Vec<Value> {
    let mut lines: Vec<(Time, Value)> = Vec::new();
    for entry in world.history.entries() {
        lines.push((entry.at, json!(entry)));
    }
    for call in &facts.calls {
        lines.push((call.started_at, json!({ "event": "asked", "call": call })));
    }
    for delivered in &facts.delivered {
        lines.push((
            delivered.at,
            json!({ "event": "delivered", "delivery": delivered }),
        ));
    }
    lines.sort_by_key(|(at, _)| *at);
    lines
        .into_iter()
        .map(|(at, mut line)| {
            line["at"] = json!(at);
            line["trial"] = json!(trial);
            line
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_what_arrived_within_the_stretch() {
        let at = |milliseconds| Time::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds);
        let arrivals = [at(0), at(500), at(1_999), at(2_000)];
        let counted = rate(&arrivals, at(0), TimeDelta::seconds(2));
        assert!((counted - 1.5).abs() < f64::EPSILON);
    }
}
