//! PostgreSQL with pgvector and Redis, found or fetched, and run privately.
//!
//! Servers on `PATH` are used when they are new enough, and otherwise fetched once into a cache folder. They listen
//! on 127.0.0.1 alone, behind a random password. As root, PostgreSQL, which refuses root, runs as another user.
//!
//! A server ends with the process that started it: stopped, dropped, or killed by the system when that process is
//! killed. What an earlier, killed run left behind is stopped before the next start in the same folder.

mod account;
mod cluster;
mod error;
mod fetch;
mod find;
mod folder;
mod place;
mod postgres;
mod process;
mod redis;
mod server;

use std::env;
use std::path::{Path, PathBuf};

pub use error::ServersError;
pub use find::{find_postgres, find_redis};
pub use postgres::{Postgres, PostgresOptions};
pub use redis::{Redis, RedisOptions};

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The folder of `postgres` and `initdb`.
    pub postgres_bin: PathBuf,
    /// The `redis-server` or `valkey-server` program.
    pub redis_server: PathBuf,
}

impl Binaries {
    /// Finds both servers on this machine or in `cache`, or else fetches what is missing into `cache`.
    pub async fn locate(cache: &Path) -> Result<Self, ServersError> {
        let (postgres_bin, redis_server) =
            tokio::try_join!(find_postgres(cache), find_redis(cache))?;
        Ok(Self {
            postgres_bin,
            redis_server,
        })
    }
}

/// Where fetched servers are kept: `RELAIS_CACHE_DIR`, or else the system's or the user's cache folder.
///
/// Root's own `~/.cache` is closed to the user who must run PostgreSQL, so root's cache is in `/var`.
pub fn default_cache_dir() -> PathBuf {
    let variable = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user_cache = || {
        let home = variable("HOME").map(|home| home.join(".cache"));
        variable("XDG_CACHE_HOME")
            .or(home)
            .map(|cache| cache.join("relais"))
    };
    let system_cache = || {
        rustix::process::geteuid()
            .is_root()
            .then(|| PathBuf::from("/var/cache/relais"))
    };
    let own_temporary = || {
        env::temp_dir().join(format!(
            "relais-cache-{}",
            rustix::process::geteuid().as_raw()
        ))
    };
    variable("RELAIS_CACHE_DIR")
        .or_else(system_cache)
        .or_else(user_cache)
        .unwrap_or_else(own_temporary)
}
