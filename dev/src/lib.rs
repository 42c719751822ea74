//! What makes Relais run on a bare machine: servers of its own, a demo business, simulators, benchmarks, a test harness; and
//! the operator's commands.

pub mod bench;
pub mod business;
pub mod chaos;
pub mod keys;
pub mod operate;
pub mod seed;
pub mod servers;
pub mod simulators;
pub mod stores;
pub mod testing;
pub mod up;
pub mod user;
