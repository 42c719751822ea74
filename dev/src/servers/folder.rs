//! A server's folder: its data, its log, its password, and the locks that tell who uses it.
//!
//! ```text
//! session.lock   held by the process that runs the server, which wrote its id into it
//! server.lock    held by the server and its children, who inherit it: free means that none of them lives
//! server.pid     the server's process id
//! server.log     what it printed
//! password       its owner's password
//! data/          belongs to the user who runs the server
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::error::ServersError;
use super::place;

/// How long the previous session may take to let go of the folder; a killed one needs an instant.
const SESSION_TIMEOUT: Duration = Duration::from_secs(1);

/// After this long a server of an earlier run is stopped the hard way, and after twice as long given up.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(10);

/// A log larger than this is emptied at the next start.
const LOG_LIMIT_BYTES: u64 = 8 << 20;

/// A server's folder, ours until dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _session: File,
    /// Deletes the folder, after the lock is released.
    _temporary: Option<TempDir>,
}

impl Folder {
    /// Opens or creates the folder at `wanted`, or a temporary one, with its data in the hands of `account`.
    pub(super) async fn open(
        name: &str,
        wanted: Option<&Path>,
        account: Account,
    ) -> Result<Self, ServersError> {
        let (path, temporary) = match wanted {
            Some(wanted) => (place::kept(name, wanted, account)?, None),
            None => place::temporary(name, account)
                .map(|folder| (folder.path().to_owned(), Some(folder)))?,
        };
        let session = session(&path).await?;
        Ok(Self {
            path,
            _session: session,
            _temporary: temporary,
        })
    }

    /// The path of `name` in this folder.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of the server's data.
    pub(super) fn data(&self) -> PathBuf {
        self.join("data")
    }

    /// The password of the server's owner, if one was made.
    pub(super) fn password(&self) -> Option<String> {
        fs::read_to_string(self.join("password")).ok()
    }

    /// Makes a password for the server's owner, hard to guess and fit for a URL.
    pub(super) fn create_password(&self) -> Result<String, ServersError> {
        let password = format!("{:032x}", rand::random::<u128>());
        write_private(&self.join("password"), &password)?;
        Ok(password)
    }

    /// Takes the server's lock, to be handed to it, once no server of an earlier run is left.
    ///
    /// Such a server is sent `graceful` at once and `hard` when that does not help.
    pub(super) async fn vacate(
        &self,
        graceful: Signal,
        hard: Signal,
    ) -> Result<File, ServersError> {
        let path = self.join("server.lock");
        let lock = open_lock(&path)?;
        let started = Instant::now();
        let mut signals = [(Duration::ZERO, graceful), (ORPHAN_TIMEOUT, hard)]
            .into_iter()
            .peekable();
        while !try_lock(&lock, &path)? {
            if let Some((_, signal)) = signals.next_if(|(after, _)| started.elapsed() >= *after)
                && let Some(pid) = self.recorded_pid()
            {
                tracing::info!(
                    pid = pid.as_raw_nonzero(),
                    "stopping a server of an earlier run"
                );
                // Also wakes one that was paused; an error means that it has just ended.
                let _ = kill_process(pid, signal).and_then(|()| kill_process(pid, Signal::CONT));
            }
            if started.elapsed() > 2 * ORPHAN_TIMEOUT {
                let pid = self
                    .recorded_pid()
                    .map_or_else(|| "unknown".into(), |pid| pid.to_string());
                return Err(ServersError::StillRunning {
                    folder: self.path.clone(),
                    pid,
                });
            }
            sleep(POLL).await;
        }
        Ok(lock)
    }

    /// Notes the process id of the server that was started, for the session after a killed one.
    pub(super) fn record(&self, pid: Pid) -> Result<(), ServersError> {
        write_private(&self.join("server.pid"), &pid.to_string())
    }

    /// Forgets the server: it has ended, and its process id may be given to another process.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(self.join("server.pid"));
    }

    fn recorded_pid(&self) -> Option<Pid> {
        Pid::from_raw(
            fs::read_to_string(self.join("server.pid"))
                .ok()?
                .parse()
                .ok()?,
        )
    }

    /// The server's log to append to, and its length so far.
    pub(super) fn log(&self) -> Result<(File, u64), ServersError> {
        let path = self.join("server.log");
        let open = || {
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            if log.metadata()?.len() > LOG_LIMIT_BYTES {
                log.set_len(0)?;
            }
            let length = log.metadata()?.len();
            Ok((log, length))
        };
        open().map_err(ServersError::io("open", &path))
    }

    /// The last lines that the server has printed since its log was `from` bytes long.
    pub(super) fn log_tail(&self, from: u64) -> String {
        let mut text = Vec::new();
        let mut read = |path| {
            let mut log = File::open(path)?;
            log.seek(SeekFrom::Start(from))?;
            log.read_to_end(&mut text)
        };
        match read(self.join("server.log")) {
            Ok(0) => "(nothing)".into(),
            Ok(_) => last_lines(&String::from_utf8_lossy(&text), 12),
            Err(error) => format!("(unreadable: {error})"),
        }
    }
}

/// The last `count` lines of `text`.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Writes `text` into a file that only we can read, replacing an earlier one as a whole.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ServersError> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(ServersError::io("write", path))
}

/// Takes the folder for this process.
async fn session(folder: &Path) -> Result<File, ServersError> {
    let path = folder.join("session.lock");
    let mut lock = open_lock(&path)?;
    let deadline = Instant::now() + SESSION_TIMEOUT;
    while !try_lock(&lock, &path)? {
        if Instant::now() > deadline {
            let owner = fs::read_to_string(&path).unwrap_or_default();
            return Err(ServersError::InUse {
                folder: folder.to_owned(),
                owner,
            });
        }
        sleep(POLL).await;
    }
    let write = lock
        .set_len(0)
        .and_then(|()| lock.write_all(process::id().to_string().as_bytes()));
    write.map_err(ServersError::io("write", &path))?;
    Ok(lock)
}

fn open_lock(path: &Path) -> Result<File, ServersError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path).map_err(ServersError::io("open", path))
}

fn try_lock(lock: &File, path: &Path) -> Result<bool, ServersError> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(ServersError::io("lock", path)(source)),
    }
}
