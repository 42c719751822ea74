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

use dev::testing::Setup;

/// One of everything, in this process.
fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_relais"))
}
