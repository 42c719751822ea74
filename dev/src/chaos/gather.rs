//! From what was recorded, seen and stored to the facts that are judged.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{Instant, sleep};

use super::facts::{Call, Delivered, Disturbance, Facts, Policy, Takeover, Ticks, Time};
use super::fault::{Fault, Scope};
use super::history::{Event, Marker, markers};
use super::load::Sender;
use super::looks;
use super::processes::Role;
use super::watch::Held;
use super::world::{PROVIDER_TIMEOUT, World};

/// How long after a fault others may still suffer from it.
const AFTERMATH: TimeDelta = TimeDelta::seconds(2);

/// How long what a dead worker held is given to move.
const TAKEOVER: TimeDelta = TimeDelta::milliseconds(4_700);

/// With more than this, that something has not moved says nothing.
const LONG_STALL_MS: i64 = 2_000;

/// Until when everything acknowledged has an answer, or says why not, and no job of a message is left; whether so.
pub async fn drained(world: &World, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running', 'failed') \
                    AND kind IN ('receive_message', 'take_turn', 'deliver_message')";
        let left: Result<i64, _> = sqlx::query_scalar(left)
            .fetch_one(&world.platform.owner)
            .await;
        if left.is_ok_and(|left| left == 0) && unanswered(world).await == Some(0) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn unanswered(world: &World) -> Option<usize> {
    let mut open = acknowledged(world);
    for delivered in world.platform.manychat.delivered() {
        for marker in markers(&delivered.text) {
            open.remove(&marker);
        }
    }
    for ending in looks::endings(&world.platform.owner).await.ok()? {
        for marker in ending.markers {
            open.remove(&marker);
        }
    }
    Some(open.len())
}

fn acknowledged(world: &World) -> BTreeMap<Marker, Time> {
    let mut first = BTreeMap::new();
    for entry in world.history.entries() {
        if let Event::Acknowledged { marker } = entry.event {
            first.entry(marker).or_insert(entry.at);
        }
    }
    first
}

/// All facts of a run that is over, but for recoveries.
pub async fn facts(world: &World, sender: &Sender) -> Result<Facts, String> {
    let told = |error: sqlx::Error| format!("the database could not be asked: {error}");
    let pool = &world.platform.owner;
    let disturbances = disturbances(world);
    let workers_started = world
        .history
        .entries()
        .iter()
        .filter(|entry| matches!(&entry.event, Event::Started { process, .. } if process.starts_with("worker")))
        .count();
    let workers = world.processes.names(Role::Worker).len();
    Ok(Facts {
        policies: policies(world, sender),
        acknowledged: acknowledged(world),
        statuses: statuses(world),
        calls: calls(world),
        delivered: delivered(world),
        attempts: looks::attempts(pool).await.map_err(told)?,
        endings: looks::endings(pool).await.map_err(told)?,
        stalled_ms: stalled_ms(world, Time::UNIX_EPOCH, world.history.now()),
        takeovers: takeovers(world),
        ticks: ticks(world, &disturbances).await.map_err(told)?,
        recoveries: Vec::new(),
        oddities: Vec::new(),
        memory: world.samples.memory((workers_started - workers) as u64),
        leftovers: looks::leftovers(pool).await.map_err(told)?,
        views: looks::views(world).await?,
        disturbances,
    })
}

fn policies(world: &World, sender: &Sender) -> HashMap<u64, Policy> {
    let acknowledged = acknowledged(world);
    let policy = |contact: u64| world.businesses[sender.business_of(contact)].1;
    acknowledged
        .keys()
        .map(|marker| (marker.contact, policy(marker.contact)))
        .collect()
}

fn statuses(world: &World) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for entry in world.history.entries() {
        if let Event::NotAcknowledged { status, .. } = entry.event {
            *counts.entry(status.unwrap_or(0)).or_default() += 1;
        }
    }
    counts
}

fn calls(world: &World) -> Vec<Call> {
    let calls = world.model.chat_calls().into_iter().filter_map(|call| {
        let asked = call.body["messages"].as_array()?.last()?["content"].as_str()?;
        let markers = markers(asked);
        // Nobody waits longer for a model that says nothing.
        let given_up_at = call.started_at + PROVIDER_TIMEOUT;
        Some(Call {
            contact: markers.first()?.contact,
            markers,
            source: call.source.unwrap_or_default(),
            started_at: call.started_at,
            ended_at: call.ended_at.unwrap_or(given_up_at).min(given_up_at),
        })
    });
    calls.collect()
}

/// What reached contacts so far.
pub fn delivered(world: &World) -> Vec<Delivered> {
    let delivered = world.platform.manychat.delivered().into_iter();
    let read = delivered.filter_map(|delivered| {
        Some(Delivered {
            contact: delivered.subscriber_id.parse().ok()?,
            markers: markers(&delivered.text),
            at: delivered.received_at,
        })
    });
    read.collect()
}

/// When what was not itself: from a kill to the next start, from a freeze to its end, from a fault to its healing.
fn disturbances(world: &World) -> Vec<Disturbance> {
    let entries = world.history.entries();
    let now = world.history.now();
    let end_of = |index: usize, is_end: &dyn Fn(&Event) -> bool| {
        let later = entries[index + 1..].iter();
        later
            .filter(|entry| is_end(&entry.event))
            .map(|entry| entry.at)
            .next()
            .unwrap_or(now)
    };
    let mut disturbances = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let (process, from, until) = match &entry.event {
            Event::Killed { process: name } => {
                let started = |event: &Event| matches!(event, Event::Started { process, .. } if process == name);
                (Some(name.clone()), entry.at, end_of(index, &started))
            }
            Event::Stopped { process: name } => {
                let continued = |event: &Event| matches!(event, Event::Continued { process } if process == name);
                (Some(name.clone()), entry.at, end_of(index, &continued))
            }
            Event::Injected { fault } if Fault::named(fault).is_some_and(Fault::touches_leases) => {
                let healed =
                    |event: &Event| matches!(event, Event::Healed { fault: it } if it == fault);
                (None, entry.at, end_of(index, &healed))
            }
            Event::Stalled { milliseconds } => {
                let stalled = i64::try_from(*milliseconds).unwrap_or(i64::MAX);
                (None, entry.at - TimeDelta::milliseconds(stalled), entry.at)
            }
            _ => continue,
        };
        disturbances.push(Disturbance {
            process,
            from,
            until,
        });
    }
    disturbances
}

/// Milliseconds between `from` and `until` for which the machine stood still.
pub fn stalled_ms(world: &World, from: Time, until: Time) -> i64 {
    let stalls = world
        .history
        .entries()
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::Stalled { milliseconds } => Some((entry.at, milliseconds)),
            _ => None,
        });
    let within = stalls.filter(|(at, _)| (from..=until + AFTERMATH).contains(at));
    within
        .map(|(_, milliseconds)| i64::try_from(milliseconds).unwrap_or(i64::MAX))
        .sum()
}

/// What killed workers held; disturbed where a store, a scheduler or another worker was not itself meanwhile.
fn takeovers(world: &World) -> Vec<Takeover> {
    let mut others = disturbances(world);
    // The machine's own are counted by their length.
    others.retain(|it| it.process.is_some());
    let entries = world.history.entries();
    let stores = entries.iter().filter_map(|entry| match &entry.event {
        Event::Injected { fault } | Event::Healed { fault } => {
            let fault = Fault::named(fault)?;
            matches!(fault.scope(), Scope::Postgres | Scope::Redis).then_some(Disturbance {
                process: None,
                from: entry.at,
                until: entry.at,
            })
        }
        _ => None,
    });
    others.extend(stores);
    let now = world.history.now();
    let all = world.held().into_iter();
    // One that may still move in time is nothing to judge.
    let over = all.filter(|held| held.moved_at.is_some() || now - held.killed_at > TAKEOVER);
    let takeover = |held: Held| {
        let until = held.moved_at.unwrap_or(held.killed_at + TAKEOVER);
        let disturbed = others.iter().any(|other| {
            // A second death of the same process is another one's too.
            let elsewhere =
                other.process.as_deref() != Some(&held.process) || other.from > held.killed_at;
            let counts = other
                .process
                .as_ref()
                .is_none_or(|name| !name.starts_with("ingress"));
            elsewhere && counts && other.touches(held.killed_at, until, AFTERMATH)
        });
        let stalled = stalled_ms(world, held.killed_at, until);
        Takeover {
            job: held.job.to_string(),
            kind: held.kind,
            after_ms: held
                .moved_at
                .map(|moved_at| (moved_at - held.killed_at).num_milliseconds() - stalled),
            disturbed: disturbed || held.moved_at.is_none() && stalled > LONG_STALL_MS,
        }
    };
    over.map(takeover).collect()
}

async fn ticks(world: &World, disturbances: &[Disturbance]) -> Result<Ticks, sqlx::Error> {
    let keys: Vec<String> =
        sqlx::query_scalar("SELECT key FROM jobs WHERE kind = 'probe' AND key LIKE 'probe@%'")
            .fetch_all(&world.platform.owner)
            .await?;
    let mut jobs = BTreeMap::new();
    for key in keys {
        let time: String = key
            .chars()
            .skip_while(|c| *c != '@')
            .skip(1)
            .take_while(char::is_ascii_digit)
            .collect();
        if let Ok(time) = time.parse::<i64>() {
            *jobs.entry(time).or_default() += 1;
        }
    }
    let every = i64::from(world.probe_seconds);
    let begun = world.history.entries().into_iter().find_map(|entry| {
        let ticks = matches!(&entry.event, Event::Started { process, .. } if process.starts_with("scheduler"));
        ticks.then_some(entry.at)
    });
    // The first ticks may fall before the schedulers are up, the last after they were looked for.
    let expected = begun.map(|begun| {
        let round = |time: Time| time.timestamp().div_euclid(every) * every;
        (round(begun) + 2 * every, round(world.history.now()) - every)
    });
    let schedulers = world.processes.names(Role::Scheduler);
    let away = disturbances.iter().filter(|it| {
        it.process.is_none() || schedulers.len() == 1 && it.process == schedulers.first().cloned()
    });
    let excused = away.map(|it| (it.from.timestamp() - 1, (it.until + AFTERMATH).timestamp()));
    Ok(Ticks {
        every,
        jobs,
        expected,
        excused: excused.collect(),
    })
}
