//! The data of a PostgreSQL: created once, and found again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::account::Account;
use super::error::ServersError;
use super::find::major_version;
use super::folder::{Folder, last_lines, write_private};
use super::server::clean_environment;

/// The superuser that `initdb` makes.
pub(super) const OWNER: &str = "relais_owner";

/// A connection then takes 2 ms instead of 5. The rounds protect passwords that can be guessed.
pub(super) const QUICK_PASSWORDS: &str = "scram_iterations=1";

/// Checks that `bin` can read the cluster of `version` in `folder`. Its password.
pub(super) async fn existing(
    folder: &Folder,
    bin: &Path,
    account: Account,
    version: &str,
) -> Result<String, ServersError> {
    let found = major_version(&bin.join("postgres"), account)
        .await
        .map_or_else(|| "unknown".into(), |v| v.to_string());
    if found != version {
        return Err(ServersError::Version {
            folder: folder.data(),
            data: version.to_owned(),
            found,
        });
    }
    folder.password().ok_or_else(|| ServersError::NoPassword {
        file: folder.join("password"),
    })
}

/// Creates the cluster: aside, then moved into its place, so that an interrupted creation starts over. Its password.
pub(super) async fn create(
    folder: &Folder,
    bin: &Path,
    account: Account,
    durable: bool,
) -> Result<String, ServersError> {
    let (cluster, unfinished) = (
        folder.data().join("cluster"),
        folder.data().join("unfinished"),
    );
    let password_file = folder.data().join("password");
    let password = folder.create_password()?;
    write_private(&password_file, &password)?;
    account
        .give(&password_file)
        .map_err(ServersError::io("give away", &password_file))?;

    // Bytes decide the order of text and Unicode the case of letters; a system without C.UTF-8 knows ASCII case only.
    let mut said = String::new();
    for character_type in ["C.UTF-8", "C"] {
        let _ = fs::remove_dir_all(&unfinished);
        let mut initdb = Command::new(bin.join("initdb"));
        initdb
            .arg("--pgdata")
            .arg(&unfinished)
            .arg("--pwfile")
            .arg(&password_file);
        initdb.args([
            "--username",
            OWNER,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
        ]);
        initdb.args([
            "--locale=C",
            "--lc-ctype",
            character_type,
            "--no-instructions",
        ]);
        if !durable {
            initdb.args(["--no-sync", "-c", QUICK_PASSWORDS]);
        }
        clean_environment(&mut initdb);
        account
            .run(&mut initdb)
            .current_dir(folder.data())
            .stdin(Stdio::null());
        let output = tokio::process::Command::from(initdb)
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.map_err(ServersError::io("run", &bin.join("initdb")))?;
        if output.status.success() {
            let _ = fs::remove_file(&password_file);
            fs::rename(&unfinished, &cluster).map_err(ServersError::io("create", &cluster))?;
            return Ok(password);
        }
        said = last_lines(&String::from_utf8_lossy(&output.stderr), 4);
        if !said.contains("locale") {
            break;
        }
    }
    Err(ServersError::Init {
        folder: cluster,
        detail: said,
    })
}

/// Removes the file of a killed postmaster, whose process id another program may have by now.
///
/// PostgreSQL would take that program for the postmaster and refuse to start. A postmaster works in its cluster's
/// folder, and only where that can be seen is the file removed.
pub(super) fn forget_stale(pid_file: &Path, cluster: &Path) {
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let process = Path::new("/proc").join(text.lines().next().unwrap_or_default());
    let works_here = fs::read_link(process.join("cwd")).map(|folder| folder == cluster);
    if Path::new("/proc/self").exists()
        && !text.is_empty()
        && (!process.exists() || works_here.is_ok_and(|here| !here))
    {
        let _ = fs::remove_file(pid_file);
    }
}
