//! Small scenes of a few seconds, each made to show one defect; without it, nothing is found in them.

use std::time::Duration;

use chrono::TimeDelta;
use common::faults::Point;
use futures::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use secrecy::ExposeSecret;
use tokio::time::sleep;

use super::disk;
use super::facts::{Facts, Policy, Recovery};
use super::fault::Fault;
use super::gather;
use super::history::Marker;
use super::load::{Load, Sender};
use super::processes::Role;
use super::proxy::Mode;
use super::trial;
use super::world::{Plan, World};
use crate::simulators::{manychat, openai};

/// How long anything may take to show, at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Every message comes three times.
    Repeats,
    /// An ingress dies right after it acknowledged.
    IngressDies,
    /// PostgreSQL cannot be reached for a moment.
    DatabaseAway,
    /// An ingress freezes with something in the spool, and the next message comes to another.
    OneSpools,
    /// A worker is frozen while its answers wait to be sent, and wakes when another has sent them.
    WorkerWakes,
    /// The channel takes an answer and does not say so.
    ChannelSilent,
    /// The channel is busy when the first of two answers comes.
    ChannelRefuses,
    /// A worker dies with the first of two messages.
    WorkerDiesWithTheFirst,
    /// A message comes while the model thinks about the one before.
    SlowModel,
    /// Two schedulers tick.
    TwoSchedulers,
    /// A worker dies while others live.
    WorkerDies,
    /// Redis comes back empty under load.
    RedisRestarts,
    /// Many messages, and quiet after them.
    ManyMessages,
    /// The model refuses a message for good.
    ModelRefuses,
    /// One table is open to every business.
    TableOpen,
    /// The power fails while messages are acknowledged.
    PowerCut,
}

fn marker(contact: u64, number: u32) -> Marker {
    Marker { contact, number }
}

/// One of each process, and one business that wants at least one delivery.
fn small(plan: Plan) -> Plan {
    Plan {
        policies: vec![Policy::AtLeastOnce],
        processes: [Role::Ingress, Role::Worker, Role::Scheduler]
            .map(|role| (role, 1))
            .into(),
        ..plan
    }
}

/// Plays `scene`; `opened`: with one table open to all.
pub async fn play(scene: Scene, plan: Plan, opened: bool) -> Result<Facts, String> {
    let small = small(plan);
    match scene {
        Scene::Repeats => repeats(small).await,
        Scene::IngressDies => ingress_dies(small).await,
        Scene::DatabaseAway => database_away(small).await,
        Scene::OneSpools => one_spools(small).await,
        Scene::WorkerWakes => worker_wakes(small).await,
        Scene::ChannelSilent => channel_silent(small).await,
        Scene::ChannelRefuses => channel_refuses(small).await,
        Scene::WorkerDiesWithTheFirst => worker_dies_with_the_first(small).await,
        Scene::SlowModel => slow_model(small).await,
        Scene::TwoSchedulers => two_schedulers(small).await,
        Scene::WorkerDies => worker_dies(small).await,
        Scene::RedisRestarts => redis_restarts(small).await,
        Scene::ManyMessages => many_messages(small).await,
        Scene::ModelRefuses => model_refuses(small).await,
        Scene::TableOpen => table_open(small, opened).await,
        Scene::PowerCut => Ok(disk::power_cut(small).await?.facts),
    }
}

/// The world of a scene, and who writes to it.
async fn open(plan: Plan) -> Result<(World, Sender), String> {
    let world = World::start(plan).await?;
    let sender = world.sender()?;
    Ok((world, sender))
}

async fn delivered(world: &World, count: usize) -> bool {
    let manychat = &world.platform.manychat;
    manychat
        .wait_until(PATIENCE, |delivered| delivered.len() >= count)
        .await
}

/// Sends message `number` of each of `contacts` at once.
async fn all(sender: &Sender, contacts: std::ops::RangeInclusive<u64>, number: u32) {
    join_all(contacts.map(|contact| sender.insist(marker(contact, number), 0))).await;
}

async fn repeats(plan: Plan) -> Result<Facts, String> {
    let (world, sender) = open(plan).await?;
    for _ in 0..3 {
        all(&sender, 1..=5, 1).await;
    }
    delivered(&world, 5).await;
    sleep(Duration::from_millis(800)).await;
    gather::facts(&world, &sender).await
}

async fn ingress_dies(plan: Plan) -> Result<Facts, String> {
    let (mut world, sender) = open(Plan {
        processes: vec![(Role::Ingress, 2), (Role::Worker, 1), (Role::Scheduler, 1)],
        ..plan
    })
    .await?;
    let contacts: Vec<u64> = (1..=20).collect();
    let sending = join_all(
        contacts
            .iter()
            .map(|contact| sender.send(marker(*contact, 1), 0)),
    );
    sending.await;
    world.kill("ingress-1").await;
    gather::drained(&world, Duration::from_secs(4)).await;
    gather::facts(&world, &sender).await
}

async fn database_away(plan: Plan) -> Result<Facts, String> {
    let (world, sender) = open(plan).await?;
    all(&sender, 1..=1, 1).await;
    delivered(&world, 1).await;
    world.postgres.set(Mode::Cut);
    all(&sender, 1..=3, 2).await;
    world.postgres.set(Mode::Pass);
    gather::drained(&world, Duration::from_secs(5)).await;
    gather::facts(&world, &sender).await
}

async fn one_spools(plan: Plan) -> Result<Facts, String> {
    let (world, sender) = open(Plan {
        processes: vec![(Role::Ingress, 2), (Role::Worker, 1), (Role::Scheduler, 1)],
        ..plan
    })
    .await?;
    // Both have looked for the business's secret.
    all(&sender, 9..=9, 1).await;
    sender.insist(marker(8, 1), 1).await;
    delivered(&world, 2).await;
    world.postgres.set(Mode::Cut);
    all(&sender, 1..=1, 1).await;
    world.processes.stop("ingress-1");
    world.postgres.set(Mode::Pass);
    // The other ingress is well: it has connections again.
    let address = world.processes.addresses()[1];
    let key = world.platform.business.api_key.expose_secret();
    for _ in 0..3 {
        let contacts = world
            .platform
            .http
            .get(format!("http://{address}/api/v1/contacts"))
            .bearer_auth(key);
        contacts.send().await.map_err(|error| error.to_string())?;
    }
    sender.insist(marker(1, 2), 1).await;
    gather::drained(&world, PATIENCE).await;
    world.processes.go_on("ingress-1");
    gather::facts(&world, &sender).await
}

async fn worker_wakes(plan: Plan) -> Result<Facts, String> {
    let (mut world, sender) = open(plan).await?;
    // More answers than the channel's budget lets out at once: most are on record as about to be sent, and wait.
    let contacts = 30;
    all(&sender, 1..=contacts, 1).await;
    delivered(&world, 12).await;
    world.processes.stop("worker-1");
    world.processes.add(Role::Worker)?;
    delivered(&world, 30).await;
    sleep(Duration::from_millis(300)).await;
    world.processes.go_on("worker-1");
    sleep(Duration::from_secs(1)).await;
    gather::drained(&world, PATIENCE).await;
    gather::facts(&world, &sender).await
}

async fn channel_silent(plan: Plan) -> Result<Facts, String> {
    let (world, sender) = open(Plan {
        policies: vec![Policy::AtMostOnce],
        ..plan
    })
    .await?;
    world.platform.manychat.fail_next([manychat::Fault::Silent]);
    all(&sender, 1..=1, 1).await;
    delivered(&world, 1).await;
    gather::drained(&world, Duration::from_secs(5)).await;
    sleep(Duration::from_millis(1_200)).await;
    gather::drained(&world, Duration::from_secs(5)).await;
    gather::facts(&world, &sender).await
}

async fn channel_refuses(plan: Plan) -> Result<Facts, String> {
    let (world, sender) = open(plan).await?;
    let busy = manychat::Fault::RateLimited(Some(2));
    world.platform.manychat.fail_next([busy]);
    all(&sender, 1..=1, 1).await;
    sleep(Duration::from_millis(700)).await;
    all(&sender, 1..=1, 2).await;
    delivered(&world, 2).await;
    gather::facts(&world, &sender).await
}

async fn worker_dies_with_the_first(plan: Plan) -> Result<Facts, String> {
    let (mut world, sender) = open(Plan {
        probe_seconds: 3_600,
        ..plan
    })
    .await?;
    // The first ticks are through, so that the message is what it dies with.
    all(&sender, 9..=9, 1).await;
    delivered(&world, 1).await;
    // The heir is up and asleep, so that it is at the second message before the first is free again.
    let heir = world.processes.add(Role::Worker)?;
    sleep(Duration::from_secs(1)).await;
    world.processes.stop(&heir);
    world.processes.kill("worker-1");
    world
        .processes
        .start("worker-1", Some((Point::Claimed, 1)))?;
    all(&sender, 1..=1, 1).await;
    world.died("worker-1", PATIENCE).await;
    world.processes.go_on(&heir);
    all(&sender, 1..=1, 2).await;
    gather::drained(&world, PATIENCE).await;
    gather::facts(&world, &sender).await
}

async fn slow_model(plan: Plan) -> Result<Facts, String> {
    let (world, sender) = open(plan).await?;
    world.model.set_pace(Duration::from_millis(900));
    all(&sender, 1..=1, 1).await;
    sleep(Duration::from_millis(400)).await;
    all(&sender, 1..=1, 2).await;
    gather::drained(&world, PATIENCE).await;
    gather::facts(&world, &sender).await
}

async fn two_schedulers(plan: Plan) -> Result<Facts, String> {
    let (world, sender) = open(Plan {
        processes: vec![(Role::Ingress, 1), (Role::Scheduler, 2)],
        probe_seconds: 1,
        ..plan
    })
    .await?;
    sleep(Duration::from_secs(4)).await;
    gather::facts(&world, &sender).await
}

async fn worker_dies(plan: Plan) -> Result<Facts, String> {
    let (mut world, sender) = open(plan).await?;
    world.model.set_pace(Duration::from_millis(1_700));
    all(&sender, 1..=6, 1).await;
    world.processes.add(Role::Worker)?;
    sleep(Duration::from_secs(1)).await;
    world.kill("worker-1").await;
    gather::drained(&world, Duration::from_secs(6)).await;
    gather::facts(&world, &sender).await
}

async fn redis_restarts(plan: Plan) -> Result<Facts, String> {
    let (mut world, sender) = open(plan).await?;
    let load = Load::start(&sender, 1, 12, 8.0, 1);
    sleep(Duration::from_secs(4)).await;
    let before = trial::rate_of(&world, world.history.now() - TimeDelta::seconds(3));
    let mut random = StdRng::seed_from_u64(1);
    let injected = Fault::RedisRestarted
        .inject(&mut world, &mut random)
        .await?;
    sleep(Duration::from_millis(500)).await;
    injected.heal(&mut world).await?;
    let end = world.history.now();
    sleep(Duration::from_secs(8)).await;
    let after = (0..=10)
        .map(|step| trial::rate_of(&world, end + TimeDelta::milliseconds(500 * step)))
        .fold(0.0, f64::max);
    load.finish().await;
    gather::drained(&world, Duration::from_secs(3)).await;
    let mut facts = gather::facts(&world, &sender).await?;
    facts.recoveries.push(Recovery {
        fault: Fault::RedisRestarted.as_str().to_owned(),
        before,
        after,
        stalled_ms: 0,
    });
    Ok(facts)
}

async fn many_messages(plan: Plan) -> Result<Facts, String> {
    let (mut world, sender) = open(plan).await?;
    world.model.set_pace(Duration::ZERO);
    for number in 1..=8 {
        if number == 2 {
            let running = world.processes.running();
            world.samples.take(&running).await;
        }
        all(&sender, 1..=20, number).await;
    }
    gather::drained(&world, PATIENCE).await;
    sleep(Duration::from_millis(1_500)).await;
    let running = world.processes.running();
    world.samples.take(&running).await;
    gather::facts(&world, &sender).await
}

async fn model_refuses(plan: Plan) -> Result<Facts, String> {
    let (world, sender) = open(Plan {
        policies: vec![Policy::AtMostOnce],
        ..plan
    })
    .await?;
    let refusal = openai::Fault::refusal(400, "invalid_prompt", "this is not answered");
    world.model.fail_next([refusal]);
    all(&sender, 1..=1, 1).await;
    gather::drained(&world, Duration::from_secs(4)).await;
    gather::facts(&world, &sender).await
}

async fn table_open(plan: Plan, opened: bool) -> Result<Facts, String> {
    let (world, sender) = open(Plan {
        policies: vec![Policy::AtLeastOnce, Policy::AtLeastOnce],
        ..plan
    })
    .await?;
    all(&sender, 1..=2, 1).await;
    delivered(&world, 2).await;
    if opened {
        sqlx::query("ALTER TABLE messages DISABLE ROW LEVEL SECURITY")
            .execute(&world.platform.owner)
            .await
            .map_err(|error| error.to_string())?;
    }
    gather::facts(&world, &sender).await
}
