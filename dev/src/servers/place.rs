//! Where a server's folder is: where it was asked for, or where the user who runs the server can work.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{env, io};

use tempfile::TempDir;

use super::account::Account;
use super::error::ServersError;

/// Where root's data goes when the folder it asked for is closed to the user who must run the server.
const OPEN_PARENT: &str = "/var/lib/relais";

/// Temporary folders younger than this are left alone: they may not have their lock yet.
const SWEEP_AGE: Duration = Duration::from_mins(1);

/// So much free memory for files is not used up by tests; a default container has 64 MB.
const PLENTY_BYTES: u64 = 4 << 30;

/// The folder at `wanted`, ready for `account`; a link to another place where `account` cannot work in it.
pub(super) fn kept(name: &str, wanted: &Path, account: Account) -> Result<PathBuf, ServersError> {
    let wanted = std::path::absolute(wanted).map_err(ServersError::io("find", wanted))?;
    // A link whose target is gone, as in a new container with an old volume: start anew.
    if wanted.is_symlink() && !wanted.exists() {
        fs::remove_file(&wanted).map_err(ServersError::io("remove the broken link", &wanted))?;
    }
    fs::create_dir_all(&wanted).map_err(ServersError::io("create", &wanted))?;
    let folder = fs::canonicalize(&wanted).map_err(ServersError::io("find", &wanted))?;
    if furnish(&folder, account)? {
        Ok(folder)
    } else {
        moved(name, &wanted, account)
    }
}

/// Moves the empty folder at `wanted` to a place where `account` can work, and leaves a link.
fn moved(name: &str, wanted: &Path, account: Account) -> Result<PathBuf, ServersError> {
    let closed = || ServersError::Closed {
        folder: wanted.to_owned(),
        uid: account.other_uid().unwrap_or_default(),
    };
    // Neither of these removes a folder that holds anything.
    let _ = fs::remove_dir(wanted.join("data"));
    fs::remove_dir(wanted).map_err(|_| closed())?;
    let create = || {
        fs::create_dir_all(OPEN_PARENT)?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(OPEN_PARENT)?
            .keep();
        symlink(&folder, wanted)?;
        Ok(folder)
    };
    let folder = create().map_err(ServersError::io(
        "create a folder in",
        Path::new(OPEN_PARENT),
    ))?;
    tracing::warn!(
        wanted = %wanted.display(),
        folder = %folder.display(),
        "the data is kept in another folder: the user who runs the server, as root may not, cannot work in this one"
    );
    if furnish(&folder, account)? {
        Ok(folder)
    } else {
        Err(closed())
    }
}

/// A new temporary folder where `account` can work.
pub(super) fn temporary(name: &str, account: Account) -> Result<TempDir, ServersError> {
    let prefix = format!("relais-{name}-");
    for parent in temporary_parents() {
        sweep(&parent, &prefix);
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent);
        let folder = folder.map_err(ServersError::io("create a folder in", &parent))?;
        if furnish(folder.path(), account)? {
            return Ok(folder);
        }
    }
    Err(ServersError::Closed {
        folder: env::temp_dir(),
        uid: account.other_uid().unwrap_or_default(),
    })
}

/// Where temporary folders may be: in memory if nobody chose a place and there is plenty, or else on disk.
///
/// A database is hundreds of small files. A disk's file system that has just deleted some, as tests do, creates new
/// ones ten times slower than memory (ext4 avoids the places of deleted files for a while).
fn temporary_parents() -> impl Iterator<Item = PathBuf> {
    let memory = Path::new("/dev/shm");
    let is_plenty =
        || rustix::fs::statvfs(memory).is_ok_and(|shm| shm.f_bavail * shm.f_frsize > PLENTY_BYTES);
    let memory = (env::var_os("TMPDIR").is_none() && is_plenty()).then(|| memory.to_owned());
    memory
        .into_iter()
        .chain([env::temp_dir(), "/tmp".into(), "/var/tmp".into()])
}

/// Gives `account` its data folder in `folder`. Whether it can work there.
fn furnish(folder: &Path, account: Account) -> Result<bool, ServersError> {
    let prepare = || {
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        if account.other_uid().is_some() {
            // Others may pass through, no more. What cannot be given away shows below.
            fs::set_permissions(folder, Permissions::from_mode(0o711))?;
            let _ = account.give(&data);
        }
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        Ok(account.can_work_in(&data))
    };
    prepare().map_err(ServersError::io("prepare", folder))
}

/// Deletes the temporary folders that killed runs have left.
fn sweep(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix)
            && abandoned(&entry.path()).unwrap_or(false)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the temporary folder at `path` is ours and neither a session nor a server uses it.
fn abandoned(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    let age = SystemTime::now()
        .duration_since(metadata.modified()?)
        .unwrap_or_default();
    let ours = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    let free = |name| File::open(path.join(name)).map_or(true, |lock| lock.try_lock().is_ok());
    Ok(ours && age > SWEEP_AGE && free("session.lock") && free("server.lock"))
}
