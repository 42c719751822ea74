//! Where the operator's commands look: the stores of the environment, else those of the `cargo run` that runs here.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use common::queue::Dispatch;
use common::{Clock, database, redis};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::told;

/// In the data folder, what `cargo run` tells the commands beside it.
pub(crate) const STORES_FILE: &str = "stores.json";

/// The stores of a `cargo run`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunningStores {
    /// `DATABASE_URL`
    pub(crate) database_url: String,
    /// `REDIS_URL`
    pub(crate) redis_url: String,
}

/// The stores, connected.
pub(super) struct Operator {
    /// PostgreSQL, as the services' role.
    pub(super) pool: PgPool,
    /// Redis.
    pub(super) dispatch: Dispatch,
    /// How long ended jobs are kept.
    pub(super) retention: Duration,
    /// The time.
    pub(super) clock: Clock,
}

impl Operator {
    /// Needs no more than where the stores are, so that it works wherever an operator has that.
    pub(super) fn from_env() -> Result<Self, String> {
        let vars: HashMap<String, String> = std::env::vars()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let data_dir = vars
            .get("RELAIS_DATA_DIR")
            .map_or(".relais", String::as_str);
        let running = read(&Path::new(data_dir).join(STORES_FILE));
        let url = |name: &str, running: Option<&String>| {
            let url = vars.get(name).or(running).cloned();
            url.map(SecretString::from).ok_or_else(|| {
                format!("{name} is not set, and no `cargo run` has left its stores in {data_dir}")
            })
        };
        let database_url = url(
            "DATABASE_URL",
            running.as_ref().map(|stores| &stores.database_url),
        )?;
        let redis_url = url(
            "REDIS_URL",
            running.as_ref().map(|stores| &stores.redis_url),
        )?;
        Ok(Self {
            pool: database::connect_lazy(&database_url, 2).map_err(told)?,
            dispatch: Dispatch::new(redis::connect(&redis_url).map_err(told)?),
            retention: retention(&vars)?,
            clock: Clock::default(),
        })
    }
}

fn read(path: &Path) -> Option<RunningStores> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// As the services read it.
fn retention(vars: &HashMap<String, String>) -> Result<Duration, String> {
    let days = vars
        .get("RELAIS_JOB_RETENTION_DAYS")
        .map_or(Ok(7), |days| days.trim().parse::<u64>());
    days.map(|days| Duration::from_hours(24 * days))
        .map_err(|_| "RELAIS_JOB_RETENTION_DAYS does not read as a number of days".to_owned())
}
