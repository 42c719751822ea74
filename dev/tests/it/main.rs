//! Tests through the front door, against real PostgreSQL and Redis, with ManyChat played by the simulator.

#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

mod access;
mod api;
mod api_keys;
mod bad_input;
mod businesses;
mod contract;
mod conversation;
mod documents;
mod faults;
mod idempotency;
mod limits;
mod members;
mod metrics;
mod models;
mod newcomer;
mod open_id;
mod operations;
mod pool;
mod questions;
mod queue;
mod row_security;
mod settings;
mod sign_in;
mod sign_in_codes;
mod sign_in_mail;
mod sign_in_tokens;
mod tenancy;
mod traces;
mod users;

use std::collections::BTreeMap;
use std::time::Duration;

use common::database;
use common::database::jobs::dead::{self, Revival};
use common::domain::{BusinessId, JobId};
use common::queue::jobs::Probe;
use common::queue::{Job, NewJob, QueueName};
use dev::testing::{Platform, Setup};
use workers::Concurrency;

/// One of everything, in this process.
fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_relais"))
}

/// One of everything, with `slots` for the queue of probes.
fn setup_for_probes(slots: usize) -> Setup {
    Setup {
        concurrency: Concurrency(BTreeMap::from([
            (QueueName::Chat, 8),
            (QueueName::Delivery, 8),
            (Probe::QUEUE, slots),
        ])),
        ..setup()
    }
}

/// A probe that does nothing.
fn probe(business_id: Option<BusinessId>) -> Probe {
    Probe {
        business_id,
        ..Probe::default()
    }
}

/// Inserts jobs as another process would: rows only, and the dispatcher finds them.
async fn insert(platform: &Platform, jobs: &[NewJob]) {
    for jobs in jobs.chunks(500) {
        let mut tx = database::platform(&platform.pool).await.unwrap();
        database::jobs::insert_many(&mut tx, jobs, platform.clock.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
}

/// Gives a dead job three attempts more, at once.
async fn revive(platform: &Platform, id: JobId) {
    let revival = Revival {
        attempts: Some(3),
        after: Duration::ZERO,
        apart: Duration::ZERO,
        note: None,
    };
    let mut tx = database::platform(&platform.pool).await.unwrap();
    let revived = dead::revive(&mut tx, &[id.0], revival).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(revived.len(), 1);
}
