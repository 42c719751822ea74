//! A private Redis.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::account::Account;
use super::error::ServersError;
use super::folder::{Folder, write_private};
use super::server::{Kind, Server};

const KIND: Kind = Kind {
    name: "redis",
    title: "Redis",
    graceful: Signal::TERM,
    graceful_name: "TERM",
    hard: Signal::KILL,
};

/// A Redis that is up answers in microseconds.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// How to run Redis.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The folder of the data, its log and its password; `None` for a temporary one, deleted in the end.
    pub data_dir: Option<PathBuf>,
    /// Whether data survives a stop; a crash costs the last second at most.
    pub durable: bool,
    /// The port on 127.0.0.1; `None` for a free one.
    pub port: Option<u16>,
}

impl RedisOptions {
    /// Data to keep, in `data_dir`.
    pub fn kept(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: Some(data_dir.into()),
            durable: true,
            port: None,
        }
    }

    /// Data for one test run: in memory alone.
    pub fn throwaway() -> Self {
        Self {
            data_dir: None,
            durable: false,
            port: None,
        }
    }
}

/// A private Redis on 127.0.0.1. Dropped, it is killed; durable data survives that.
pub struct Redis {
    server: Server,
    program: PathBuf,
    options: RedisOptions,
    password: String,
}

impl fmt::Debug for Redis {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Redis")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Starts `program`, a Redis or Valkey server, on the data of `options`.
    pub async fn start(program: &Path, options: RedisOptions) -> Result<Self, ServersError> {
        let account = Account::ourselves();
        let folder = Folder::open(KIND.name, options.data_dir.as_deref(), account).await?;
        let password = match folder.password() {
            Some(password) => password,
            None => folder.create_password()?,
        };
        let server = Server::new(&KIND, account, folder, options.port);
        let mut redis = Self {
            server,
            program: program.to_owned(),
            options,
            password,
        };
        redis.start_again().await?;
        Ok(redis)
    }

    /// Starts it on the same data and port after [`stop`](Self::stop), [`kill_hard`](Self::kill_hard) or a crash.
    pub async fn start_again(&mut self) -> Result<(), ServersError> {
        let config_file = self.server.folder().join("redis.conf");
        let arguments = |port| {
            // In a file, because anyone can read a command line.
            write_private(&config_file, &config(&self.options, &self.password, port))?;
            Ok(vec![config_file.display().to_string()])
        };
        self.server
            .start(&self.program, arguments, async |_, port| {
                is_ready(port, &self.password).await
            })
            .await
    }

    /// Stops it so that durable data is saved. The port is kept.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }

    /// Stops it and starts it again on the same port.
    pub async fn restart(&mut self) -> Result<(), ServersError> {
        self.stop().await;
        self.start_again().await
    }

    /// Kills it as a crash would.
    pub async fn kill_hard(&mut self) {
        self.server.kill_hard().await;
    }

    /// Makes it hang: connections stay open and nothing is answered until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.server.process() {
            process.signal(signal);
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The id of its process while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// The file that it logs to.
    pub fn log_file(&self) -> PathBuf {
        self.server.folder().join("server.log")
    }

    /// The URL of its database 0, with the password.
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port())
    }
}

fn config(options: &RedisOptions, password: &str, port: u16) -> String {
    let append_only = if options.durable { "yes" } else { "no" };
    // The data goes into the process's folder, and the log to its output.
    format!(
        "bind 127.0.0.1\n\
         port {port}\n\
         requirepass {password}\n\
         daemonize no\n\
         save \"\"\n\
         appendonly {append_only}\n\
         appendfsync everysec\n\
         maxmemory-policy noeviction\n"
    )
}

/// Whether the server on `port` knows the password, so is ours, and has loaded its data.
async fn is_ready(port: u16, password: &str) -> bool {
    const READY: &[u8] = b"+OK\r\n+PONG\r\n";
    let ping = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream
            .write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes())
            .await?;
        let mut answer = [0; READY.len()];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer == READY)
    };
    matches!(timeout(PING_TIMEOUT, ping).await, Ok(Ok(true)))
}
