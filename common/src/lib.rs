//! What the processes of Relais share: types, storage, the queue, outside services, configuration, telemetry.
//!
//! Knows no HTTP server and none of the services.

pub mod batch;
pub mod clock;
pub mod config;
pub mod database;
pub mod domain;
pub mod error;
pub mod faults;
pub mod providers;
pub mod queue;
pub mod redis;
pub mod retrieval;
pub mod secret;
pub mod shutdown;
pub mod telemetry;

pub use clock::Clock;
pub use config::Config;
pub use error::{Error, Result};
