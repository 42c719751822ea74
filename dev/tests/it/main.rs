//! Tests through the front door, against real PostgreSQL and Redis, with ManyChat played by the simulator.

#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

mod api;
mod bad_input;
mod conversation;
mod documents;
mod faults;
mod metrics;
mod models;
mod newcomer;
mod operations;
mod questions;
mod queue;
mod tenancy;
mod traces;

use std::time::Duration;

use common::database;
use common::database::jobs::dead::{self, Revival};
use common::domain::JobId;
use dev::testing::{Platform, Setup};

/// One of everything, in this process.
fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_relais"))
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
