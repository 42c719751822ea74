//! What the same disk does for others: a Redis that syncs every write, and PostgreSQL's own benchmark.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::super::Failure;
use super::super::client::{Load, Wire, saturate_with};
use crate::servers::{Redis, RedisOptions};
use crate::stores;
use crate::testing::Platform;

/// A Redis with `appendfsync always`, spoken to without a library.
pub(super) struct RedisAlways {
    redis: Redis,
    password: String,
    _files: tempfile::TempDir,
}

impl RedisAlways {
    /// Starts it on a folder of its own.
    pub(super) async fn start() -> Result<Self, Failure> {
        let files = tempfile::tempdir()?;
        let binaries = stores::locate().await?;
        let options = RedisOptions::kept(files.path().join("redis"));
        let redis = Redis::start(&binaries.redis_server, options).await?;
        let url = reqwest::Url::parse(&redis.url())?;
        let always = Self {
            password: url.password().unwrap_or_default().to_owned(),
            redis,
            _files: files,
        };
        let mut wire = Wire::open(always.address()).await?;
        always.authenticate(&mut wire).await?;
        let set = command(&[b"CONFIG", b"SET", b"appendfsync", b"always"]);
        wire.exchange(&set, reply).await?;
        Ok(always)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.redis.port()))
    }

    async fn authenticate(&self, wire: &mut Wire) -> std::io::Result<()> {
        let auth = command(&[b"AUTH", self.password.as_bytes()]);
        wire.exchange(&auth, reply).await.map(drop)
    }

    /// As many payloads as `connections` get through in `time`, one `RPUSH` each.
    pub(super) async fn saturate(
        &self,
        connections: usize,
        time: Duration,
        payload: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Result<Load, Failure> {
        let mut wires = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut wire = Wire::open(self.address()).await?;
            self.authenticate(&mut wire).await?;
            wires.push(wire);
        }
        let request = move |number| command(&[b"RPUSH", b"inbox", &payload(number)]);
        Ok(saturate_with(wires, time, request, reply).await?)
    }
}

/// A command as Redis reads it.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A reply of one line, and its length; whether it is an error.
fn reply(bytes: &[u8]) -> Option<(bool, usize)> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    Some((bytes[0] != b'-', end + 2))
}

/// PostgreSQL's `pgbench`, inserting the same payload, a commit each.
pub(super) struct PgBench {
    program: PathBuf,
    url: reqwest::Url,
    password: String,
    script: tempfile::NamedTempFile,
}

/// Connections that PostgreSQL has left for it.
const MOST_CLIENTS: usize = 128;

impl PgBench {
    /// Makes its table; where there is no such program: why it is left out.
    pub(super) async fn prepare(platform: &Platform) -> Result<Self, String> {
        let binaries = stores::locate().await?;
        let program = binaries.postgres_bin.join("pgbench");
        if !program.exists() {
            return Err(format!("there is no {}", program.display()));
        }
        let told = |error: &dyn std::fmt::Display| format!("it cannot be prepared: {error}");
        let postgres = platform.postgres.as_ref().ok_or("PostgreSQL is shared")?;
        let url = reqwest::Url::parse(&postgres.owner_url("postgres"));
        let mut url = url.map_err(|error| told(&error))?;
        let password = url.password().unwrap_or_default().to_owned();
        url.set_password(None)
            .map_err(|()| told(&"its URL takes no password"))?;
        let payload = String::from_utf8(super::webhook(
            "secret",
            1,
            "Bonjour, quelle est votre adresse ?",
            1,
        ))
        .map_err(|error| told(&error))?;
        let body = payload.rsplit("\r\n\r\n").next().unwrap_or_default();
        let script = tempfile::NamedTempFile::new().map_err(|error| told(&error))?;
        std::fs::write(
            script.path(),
            format!("INSERT INTO inbox (payload) VALUES ('{body}');\n"),
        )
        .map_err(|error| told(&error))?;
        let pgbench = Self {
            program,
            url,
            password,
            script,
        };
        let table = "DROP TABLE IF EXISTS inbox;
                     CREATE TABLE inbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload jsonb NOT NULL)";
        let owner = postgres.owner_url("postgres");
        let made = async {
            let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&owner).await?;
            sqlx::raw_sql(table).execute(&mut conn).await.map(drop)
        };
        made.await.map_err(|error: sqlx::Error| told(&error))?;
        Ok(pgbench)
    }

    /// Transactions a second with `connections`, of which PostgreSQL takes no more than [`MOST_CLIENTS`].
    pub(super) async fn run(&self, connections: usize, time: Duration) -> Result<f64, Failure> {
        let clients = connections.min(MOST_CLIENTS).to_string();
        let threads = connections.min(2).to_string();
        let output = Command::new(&self.program)
            .args(["-n", "-M", "prepared", "-c", &clients, "-j", &threads])
            .args(["-T", &time.as_secs().max(1).to_string(), "-f"])
            .arg(self.script.path())
            .arg(self.url.as_str())
            // On a command line anyone could read it.
            .env("PGPASSWORD", &self.password)
            .stdin(Stdio::null())
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let tps = text.lines().find_map(|line| {
            let rest = line.strip_prefix("tps = ")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        tps.ok_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("pgbench told no rate: {}", errors.trim()).into()
        })
    }
}
