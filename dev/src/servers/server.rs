//! What PostgreSQL and Redis have in common: a folder, a port, a start that is awaited, and an end.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::error::ServersError;
use super::folder::Folder;
use super::process::{Process, guarded};

/// The recovery of a killed PostgreSQL reads up to `max_wal_size`; all other starts take less than a second.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// A fast shutdown of PostgreSQL writes out all that is in memory.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(5);

/// How often another port is tried, or the same one again after [`PORT_RETRY`].
const PORT_ATTEMPTS: usize = 5;
const PORT_RETRY: Duration = Duration::from_millis(200);

/// Below what systems give to outgoing connections, so that a port stays free while its server is down.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// What differs between the two servers.
#[derive(Debug)]
pub(super) struct Kind {
    /// In the names of files and threads.
    pub(super) name: &'static str,
    /// In messages.
    pub(super) title: &'static str,
    /// The signal after which the server saves everything and ends.
    pub(super) graceful: Signal,
    /// Its name for `setpriv`.
    pub(super) graceful_name: &'static str,
    /// The signal after which it ends at once.
    pub(super) hard: Signal,
}

/// A server: running, or stopped with its data and port kept for the next start.
#[derive(Debug)]
pub(super) struct Server {
    kind: &'static Kind,
    account: Account,
    /// `None` while stopped. Before the folder: it must end before that is deleted.
    process: Option<Process>,
    folder: Folder,
    port: u16,
    port_is_fixed: bool,
    /// Further environment of its next starts.
    environment: Vec<(String, String)>,
}

impl Server {
    /// A stopped server in `folder`.
    pub(super) fn new(
        kind: &'static Kind,
        account: Account,
        folder: Folder,
        port: Option<u16>,
    ) -> Self {
        Self {
            kind,
            account,
            process: None,
            folder,
            port: port.unwrap_or_default(),
            port_is_fixed: port.is_some(),
            environment: Vec::new(),
        }
    }

    /// Gives the next starts this environment as well.
    pub(super) fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// The server's folder.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The server's port on 127.0.0.1, chosen at the first start and kept.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The process, while it runs.
    pub(super) fn process(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| !process.has_ended())
    }

    /// The process's id, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process()
            .map(|process| process.pid().as_raw_nonzero().get().unsigned_abs())
    }

    /// Starts `program` with `arguments` for a port, and returns once `ready` says so; does nothing if it runs.
    ///
    /// A taken port is tried again for a moment or, if nobody asked for that one, replaced by another.
    pub(super) async fn start(
        &mut self,
        program: &Path,
        arguments: impl Fn(u16) -> Result<Vec<String>, ServersError>,
        ready: impl AsyncFn(Pid, u16) -> bool,
    ) -> Result<(), ServersError> {
        if self.process().is_some() {
            return Ok(());
        }
        self.process = None;
        for attempt in 1.. {
            if !self.port_is_fixed {
                self.port = free_port();
            }
            let mut command = guarded(program, self.kind.graceful_name);
            self.account.run(&mut command).args(arguments(self.port)?);
            command.envs(self.environment.iter().cloned());
            match self.launch(command, &ready).await {
                Err(ServersError::PortTaken { .. }) if attempt < PORT_ATTEMPTS => {
                    sleep(PORT_RETRY).await;
                }
                result => {
                    self.port_is_fixed |= result.is_ok();
                    return result;
                }
            }
        }
        unreachable!("the last attempt returns");
    }

    async fn launch(
        &mut self,
        mut command: Command,
        ready: &impl AsyncFn(Pid, u16) -> bool,
    ) -> Result<(), ServersError> {
        let (name, server) = (self.kind.name, self.kind.title);
        let started = Instant::now();
        let lock = self
            .folder
            .vacate(self.kind.graceful, self.kind.hard)
            .await?;
        let (log, log_start) = self.folder.log()?;
        let log_copy = log
            .try_clone()
            .map_err(ServersError::io("open", &self.folder.join("server.log")))?;
        command
            .stdin(lock)
            .stdout(log_copy)
            .stderr(log)
            .current_dir(self.folder.data());
        clean_environment(&mut command);

        let program = command.get_program().to_owned();
        let process = Process::spawn(name, command, self.kind.hard);
        let process = process.map_err(ServersError::io("run", Path::new(&program)))?;
        self.folder.record(process.pid())?;
        loop {
            let is_ready = tokio::select! {
                () = process.ended() => false,
                is_ready = ready(process.pid(), self.port) => is_ready,
            };
            if is_ready {
                break;
            }
            if process.ended_within(POLL).await {
                let log = self.folder.log_tail(log_start);
                let taken = log.contains("Address already in use");
                let port = self.port;
                return Err(if taken {
                    ServersError::PortTaken { server, port }
                } else {
                    ServersError::Ended { server, log }
                });
            }
            if started.elapsed() > START_TIMEOUT {
                let log = self.folder.log_tail(log_start);
                return Err(ServersError::NotReady {
                    server,
                    seconds: START_TIMEOUT.as_secs(),
                    log,
                });
            }
        }
        tracing::debug!(
            server,
            port = self.port,
            duration_ms = started.elapsed().as_millis(),
            "server is ready"
        );
        self.process = Some(process);
        Ok(())
    }

    /// Stops the server so that it saves everything; the hard way if it takes too long.
    pub(super) async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal(self.kind.graceful);
            // It may be paused.
            process.signal(Signal::CONT);
            if !process.ended_within(STOP_TIMEOUT).await {
                tracing::warn!(
                    server = self.kind.title,
                    "server does not stop and is ended the hard way"
                );
            }
            drop(process);
            self.folder.forget();
        }
    }

    /// Kills the server as a crash would.
    pub(super) async fn kill_hard(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
            self.folder.forget();
        }
    }
}

/// A port on 127.0.0.1 on which nothing listens at the moment.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::random_range(PORTS));
    ports
        .by_ref()
        .take(1000)
        .find(is_free)
        .unwrap_or(PORTS.start)
}

/// Keeps settings for other PostgreSQL servers, as `PGDATA`, and the user's language away from this one.
pub(super) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C");
}
