//! Servers that are on this machine already.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::account::Account;
use super::error::ServersError;
use super::fetch::{POSTGRES, REDIS, fetch};

/// The first PostgreSQL that is tested.
const LEAST_POSTGRES: u32 = 16;

/// The first pgvector with `halfvec`.
const LEAST_PGVECTOR: (u32, u32) = (0, 7);

/// The first Redis with all commands in use.
const LEAST_REDIS: (u32, u32) = (6, 2);

/// Where packages put PostgreSQL off `PATH`: a folder, and how the names of its versions' folders begin.
const PACKAGED: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// The folder of a PostgreSQL with pgvector: on `PATH`, packaged, in `cache`, or else fetched into `cache`.
pub async fn find_postgres(cache: &Path) -> Result<PathBuf, ServersError> {
    let account = Account::unprivileged();
    for bin in postgres_folders() {
        match postgres_flaw(&bin, account).await {
            None => return Ok(bin),
            Some(flaw) => tracing::debug!(bin = %bin.display(), flaw, "PostgreSQL is not used"),
        }
    }
    let program = fetch(&POSTGRES, cache, account).await?;
    Ok(program.parent().unwrap_or(cache).to_owned())
}

/// A Redis or Valkey: on `PATH`, in `cache`, or else fetched into `cache`.
pub async fn find_redis(cache: &Path) -> Result<PathBuf, ServersError> {
    let account = Account::ourselves();
    for program in on_path("redis-server").chain(on_path("valkey-server")) {
        let said = output(&program, &["--version"], account)
            .await
            .unwrap_or_default();
        // "Redis server v=7.0.15 sha=…"
        let version = said
            .split_once("v=")
            .and_then(|(_, version)| version_of(version));
        if version >= Some(LEAST_REDIS) {
            return Ok(program);
        }
        tracing::debug!(program = %program.display(), "Redis is not used: it does not run or is too old");
    }
    fetch(&REDIS, cache, account).await
}

/// The major version of the PostgreSQL `program`, if it runs as `account`.
pub(super) async fn major_version(program: &Path, account: Account) -> Option<u32> {
    // "postgres (PostgreSQL) 16.14 (Debian 16.14-1)", or "17beta1" for the number
    let said = output(program, &["--version"], account).await.ok()?;
    version_of(said.split_once(") ")?.1).map(|(major, _)| major)
}

/// What `program` prints, or its complaint if it fails or does not run.
pub(super) async fn output(
    program: &Path,
    arguments: &[&str],
    account: Account,
) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .current_dir("/");
    account.run(&mut command);
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await;
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// The folders that hold a `postgres`: those of `PATH` first, then packages, newest first.
fn postgres_folders() -> impl Iterator<Item = PathBuf> {
    let linked = |program: PathBuf| Some(fs::canonicalize(program).ok()?.parent()?.to_owned());
    let mut packaged: Vec<(u32, PathBuf)> = PACKAGED
        .iter()
        .flat_map(|(parent, prefix)| versions_in(parent, prefix))
        .collect();
    packaged.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    on_path("postgres")
        .filter_map(linked)
        .chain(packaged.into_iter().map(|(_, bin)| bin))
}

/// The `bin` folders of the versions in `parent`.
fn versions_in(parent: &str, prefix: &str) -> impl Iterator<Item = (u32, PathBuf)> {
    let bin = move |entry: fs::DirEntry| {
        let version = entry
            .file_name()
            .to_str()?
            .strip_prefix(prefix)?
            .parse()
            .ok()?;
        Some((version, entry.path().join("bin")))
    };
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(bin)
}

fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let programs: Vec<PathBuf> = env::split_paths(&path)
        .map(|folder| folder.join(name))
        .collect();
    programs
        .into_iter()
        .filter(|program| program.is_absolute() && program.is_file())
}

/// Why the PostgreSQL in `bin` cannot be used by `account`, or `None` if it can.
async fn postgres_flaw(bin: &Path, account: Account) -> Option<&'static str> {
    let Some(major) = major_version(&bin.join("postgres"), account).await else {
        return Some("it does not run");
    };
    if major < LEAST_POSTGRES {
        return Some("it is too old");
    }
    if output(&bin.join("initdb"), &["--version"], account)
        .await
        .is_err()
    {
        return Some("its initdb does not run");
    }
    let share = output(&bin.join("pg_config"), &["--sharedir"], account)
        .await
        .unwrap_or_default();
    let control =
        fs::read_to_string(Path::new(&share).join("extension/vector.control")).unwrap_or_default();
    (pgvector_version(&control) < Some(LEAST_PGVECTOR))
        .then_some("it has no pgvector or an old one")
}

/// The version in the text of `vector.control`.
fn pgvector_version(control: &str) -> Option<(u32, u32)> {
    version_of(control.split_once("default_version = '")?.1)
}

/// The first two numbers of a version such as `7.0.15 sha=…`, `16.14`, or `17beta1`, whose second one is 0.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_say() {
        assert_eq!(version_of("7.0.15 sha=00000000"), Some((7, 0)));
        assert_eq!(version_of("16.14 (Debian 16.14-1)"), Some((16, 14)));
        assert_eq!(version_of("17beta1"), Some((17, 0)));
        assert_eq!(version_of("unknown"), None);
        assert_eq!(
            pgvector_version("comment = 'x'\ndefault_version = '0.8.5'\n"),
            Some((0, 8))
        );
    }

    #[test]
    fn an_unknown_version_is_too_old() {
        assert!(pgvector_version("") < Some(LEAST_PGVECTOR));
        assert!(Some((0, 6)) < Some(LEAST_PGVECTOR));
        assert!(Some((0, 10)) >= Some(LEAST_PGVECTOR));
    }
}
