//! What a disk does: it forgets what it was not asked to keep when the power fails, and it is full.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;
use tokio::time::sleep;

use super::facts::Policy;
use super::gather;
use super::history::{Event, Marker};
use super::load::Sender;
use super::processes::Role;
use super::shim::{RolledBack, Shim};
use super::trial::{self, Trial};
use super::world::{Plan, World};
use crate::seed::Seeded;

/// Contacts that write at once, each as fast as they are acknowledged.
const CONTACTS: u64 = 30;

/// How long they write before the power fails.
const WRITING: Duration = Duration::from_millis(1_200);

/// How long everything may take to be answered after it.
const DRAIN: Duration = Duration::from_secs(10);

/// The name of the power cut in the history and the report.
pub const POWER_CUT: &str = "power_cut";

/// The name of the full disk.
pub const DISK_FULL: &str = "disk_full";

/// The power of PostgreSQL's machine fails while messages are acknowledged; what was not synchronised is gone.
pub async fn power_cut(plan: Plan) -> Result<Trial, String> {
    let begun = Instant::now();
    let shim = Shim::build()?;
    let mut world = World::start(Plan {
        own_postgres: true,
        policies: vec![Policy::AtLeastOnce; 3],
        // Nobody else commits: what makes an acknowledgement durable is its own commit alone.
        processes: vec![(Role::Ingress, 2)],
        ..plan
    })
    .await?;
    let sender = world.sender()?;
    let postgres = world.platform.postgres.as_mut();
    let postgres = postgres.ok_or("there is no PostgreSQL of its own")?;
    let folder = postgres.cluster();
    postgres.set_environment(shim.forgetting(&folder));
    let told = |error: crate::servers::ServersError| format!("PostgreSQL does not start: {error}");
    postgres.restart().await.map_err(told)?;

    let writing = tokio::spawn(write_for(sender.clone(), WRITING * 2));
    sleep(WRITING).await;
    world.history.record(Event::Injected { fault: POWER_CUT });
    postgres.kill_hard().await;
    let rolled = shim
        .cut_power(&folder)
        .map_err(|error| format!("the power cut failed: {error}"))?;
    // After the cut the disk is one that keeps what it is given.
    postgres.set_environment(Vec::new());
    postgres.start_again().await.map_err(told)?;
    world.history.record(Event::Healed { fault: POWER_CUT });
    writing.await.map_err(|error| error.to_string())?;
    world.processes.add(Role::Worker)?;
    world.processes.add(Role::Worker)?;
    world.processes.add(Role::Scheduler)?;
    gather::drained(&world, DRAIN).await;
    let mut facts = gather::facts(&world, &sender).await?;
    if rolled == RolledBack::default() {
        let proves_nothing = "the power cut took nothing back, and so proves nothing";
        facts.oddities.push(proves_nothing.to_owned());
    }
    let note = format!(
        "{} writes to {} files were taken back",
        rolled.writes, rolled.files
    );
    Ok(Trial {
        name: POWER_CUT.to_owned(),
        lines: trial::lines(POWER_CUT, &world, &facts),
        facts,
        notes: vec![note],
        took: begun.elapsed(),
    })
}

/// Each contact writes one message after the other.
async fn write_for(sender: Sender, lasts: Duration) {
    let end = Instant::now() + lasts;
    let writing = (1..=CONTACTS).map(|contact| {
        let sender = &sender;
        async move {
            for number in 1.. {
                let marker = Marker { contact, number };
                sender.insist(marker, usize::from(contact % 2 == 0)).await;
                if Instant::now() > end {
                    break;
                }
                sleep(Duration::from_millis(40)).await;
            }
        }
    });
    join_all(writing).await;
}

/// The disk under the data folder is full: a document is refused without a trace, messages go on, and it heals.
pub async fn disk_full(plan: Plan) -> Result<Trial, String> {
    let begun = Instant::now();
    let told = |error: std::io::Error| error.to_string();
    let shim = Shim::build()?;
    let data = tempfile::tempdir().map_err(told)?;
    let mut vars = plan.vars.clone();
    vars.extend(shim.filling(data.path()));
    vars.push((
        "RELAIS_DATA_DIR".to_owned(),
        data.path().display().to_string(),
    ));
    let mut world = World::start(Plan { vars, ..plan }).await?;
    let sender = world.sender()?;
    world.platform.ingresses = world.processes.addresses();
    let business = world.platform.business.clone();

    let mut oddities = Vec::new();
    let (before, _) = upload(&world, &business).await?;
    oddities.extend((before != 202).then(|| format!("an upload was answered with {before}")));
    shim.fill(true).map_err(told)?;
    world.history.record(Event::Injected { fault: DISK_FULL });
    let (files, rows) = (count_files(data.path()), documents(&world).await?);
    let (status, body) = upload(&world, &business).await?;
    let explained = body["error"]["code"].is_string() && body["error"]["message"].is_string();
    if status < 400 || !explained {
        oddities.push(format!("with a full disk an upload got {status}: {body}"));
    }
    let left = (count_files(data.path()), documents(&world).await?);
    if left != (files, rows) {
        oddities.push(format!(
            "a refused upload left traces: {files} files and {rows} rows before, {} and {} after",
            left.0, left.1
        ));
    }
    for contact in 1..=5 {
        sender.insist(Marker { contact, number: 1 }, 0).await;
    }
    gather::drained(&world, DRAIN).await;
    shim.fill(false).map_err(told)?;
    world.history.record(Event::Healed { fault: DISK_FULL });
    let (after, _) = upload(&world, &business).await?;
    oddities.extend((after != 202).then(|| format!("with room again an upload got {after}")));
    let mut facts = gather::facts(&world, &sender).await?;
    facts.oddities.extend(oddities);
    Ok(Trial {
        name: DISK_FULL.to_owned(),
        lines: trial::lines(DISK_FULL, &world, &facts),
        facts,
        notes: vec![format!(
            "an upload was refused with {status}: {}",
            body["error"]["code"]
        )],
        took: begun.elapsed(),
    })
}

/// Uploads a small document; the status and the body.
async fn upload(world: &World, business: &Seeded) -> Result<(u16, Value), String> {
    // Documents with the same bytes would be one.
    let text = format!("Our shop {} opens at nine.", uuid::Uuid::now_v7());
    let platform = &world.platform;
    let answer = platform.upload_as(business, "hours.txt", text.into()).await;
    let status = answer.status().as_u16();
    Ok((status, answer.json().await.unwrap_or_default()))
}

async fn documents(world: &World) -> Result<i64, String> {
    sqlx::query_scalar("SELECT count(*) FROM documents")
        .fetch_one(&world.platform.owner)
        .await
        .map_err(|error| error.to_string())
}

fn count_files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |path: std::path::PathBuf| {
        if path.is_dir() { count_files(&path) } else { 1 }
    };
    entries.map(|entry| count(entry.path())).sum()
}
