//! A private PostgreSQL.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use super::account::Account;
use super::cluster;
use super::error::ServersError;
use super::folder::Folder;
use super::server::{Kind, Server};

const KIND: Kind = Kind {
    name: "postgres",
    title: "PostgreSQL",
    // Fast shutdown: sessions are ended and everything is written. SIGTERM would wait for the sessions.
    graceful: Signal::INT,
    graceful_name: "INT",
    // Immediate shutdown: as a crash, but the system's shared memory is given back.
    hard: Signal::QUIT,
};

/// With less than this in `/dev/shm`, as in a default container, building an index in parallel fails there.
const ENOUGH_SHARED_MEMORY_BYTES: u64 = 512 << 20;

/// How to run PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The folder of the data, its log and its password; `None` for a temporary one, deleted in the end.
    pub data_dir: Option<PathBuf>,
    /// Whether what was committed survives a power cut.
    pub durable: bool,
    /// The memory for pages.
    pub shared_buffers_mb: u32,
    /// The port on 127.0.0.1; `None` for a free one.
    pub port: Option<u16>,
}

impl PostgresOptions {
    /// Data to keep, in `data_dir`.
    pub fn kept(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: Some(data_dir.into()),
            durable: true,
            shared_buffers_mb: 128,
            port: None,
        }
    }

    /// Data for one test run: in a temporary folder, and fast.
    pub fn throwaway() -> Self {
        Self {
            data_dir: None,
            durable: false,
            shared_buffers_mb: 128,
            port: None,
        }
    }
}

/// A private PostgreSQL on 127.0.0.1. Dropped, it is ended at once; its data survives that.
pub struct Postgres {
    server: Server,
    bin: PathBuf,
    options: PostgresOptions,
    password: String,
}

impl fmt::Debug for Postgres {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Postgres")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Starts the PostgreSQL of the folder `bin` on the data of `options`, which the first start creates.
    pub async fn start(bin: &Path, options: PostgresOptions) -> Result<Self, ServersError> {
        let data_dir = options.data_dir.as_deref();
        let account =
            Account::unprivileged_for(&data_dir.unwrap_or(Path::new("")).join("data/cluster"));
        let folder = Folder::open(KIND.name, data_dir, account).await?;
        let password = match fs::read_to_string(folder.data().join("cluster/PG_VERSION")) {
            Ok(version) => cluster::existing(&folder, bin, account, version.trim()).await?,
            Err(_) => cluster::create(&folder, bin, account, options.durable).await?,
        };
        let server = Server::new(&KIND, account, folder, options.port);
        let mut postgres = Self {
            server,
            bin: bin.to_owned(),
            options,
            password,
        };
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// Starts it on the same data and port after [`stop`](Self::stop), [`kill_hard`](Self::kill_hard) or a crash.
    pub async fn start_again(&mut self) -> Result<(), ServersError> {
        let cluster = self.cluster();
        let pid_file = cluster.join("postmaster.pid");
        cluster::forget_stale(&pid_file, &cluster);
        let arguments = |port| Ok(arguments(&self.options, &cluster, port));
        self.server
            .start(&self.bin.join("postgres"), arguments, async |pid, _| {
                is_ready(&pid_file, pid)
            })
            .await
    }

    /// Stops it: sessions are ended, everything is written. The data and the port are kept.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }

    /// Stops it and starts it again on the same data and port.
    pub async fn restart(&mut self) -> Result<(), ServersError> {
        self.stop().await;
        self.start_again().await
    }

    /// Kills it as a crash would; its sessions end a moment later by themselves.
    pub async fn kill_hard(&mut self) {
        self.server.kill_hard().await;
    }

    /// Gives the next starts this environment as well.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.server.set_environment(environment);
    }

    /// The folder of the database's own files.
    pub fn cluster(&self) -> PathBuf {
        self.server.folder().data().join("cluster")
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The id of its first process while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// The file that it logs to.
    pub fn log_file(&self) -> PathBuf {
        self.server.folder().join("server.log")
    }

    /// The URL of `database` for the superuser `relais_owner`. `postgres` is a database that always exists.
    pub fn owner_url(&self, database: &str) -> String {
        self.url_for(cluster::OWNER, &self.password, database)
    }

    /// The URL of `database` for `role`.
    pub fn url_for(&self, role: &str, password: &str, database: &str) -> String {
        let base = format!("postgres://127.0.0.1:{}", self.port());
        let mut url = reqwest::Url::parse(&base).expect("a host and a port are a URL");
        url.set_username(role)
            .and_then(|()| url.set_password(Some(password)))
            .expect("a URL with a host has a user");
        url.path_segments_mut()
            .expect("a URL with a host has a path")
            .push(database);
        url.into()
    }
}

fn arguments(options: &PostgresOptions, cluster: &Path, port: u16) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        format!("shared_buffers={}MB", options.shared_buffers_mb),
        "listen_addresses=127.0.0.1".into(),
        // A socket's path may be no longer than 107 bytes, and the port is enough.
        "unix_socket_directories=".into(),
        "max_connections=200".into(),
        "timezone=UTC".into(),
        "log_timezone=UTC".into(),
        "log_checkpoints=off".into(),
    ];
    if !options.durable {
        settings.extend(
            [
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
                cluster::QUICK_PASSWORDS,
            ]
            .map(Into::into),
        );
        // The least, and what it demands.
        settings.extend(["wal_level=minimal", "max_wal_senders=0"].map(Into::into));
    }
    if rustix::fs::statvfs("/dev/shm")
        .is_ok_and(|shm| shm.f_blocks * shm.f_frsize < ENOUGH_SHARED_MEMORY_BYTES)
    {
        settings.push("dynamic_shared_memory_type=mmap".into());
    }
    let flags = settings
        .into_iter()
        .flat_map(|setting| ["-c".to_owned(), setting]);
    ["-D".to_owned(), cluster.display().to_string()]
        .into_iter()
        .chain(flags)
        .collect()
}

/// Whether the postmaster `pid` says that it accepts connections: its id is on line 1, its state on line 8.
fn is_ready(pid_file: &Path, pid: Pid) -> bool {
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
}
