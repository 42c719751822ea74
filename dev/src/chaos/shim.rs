//! The preloaded C library that makes one folder's disk forget or be full, and the power cut over what it keeps.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library's source.
const SOURCE: &str = include_str!("shim.c");

/// A compiled library, with a folder for what it keeps. Deleted when dropped.
pub struct Shim {
    folder: tempfile::TempDir,
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolledBack {
    /// Files that lost something.
    pub files: usize,
    /// Writes that were lost.
    pub writes: usize,
}

/// A write, as it is undone.
struct Undo {
    offset: u64,
    old: Vec<u8>,
    size: u64,
}

impl Shim {
    /// Compiles it.
    ///
    /// # Errors
    ///
    /// Why there is none, for people: no compiler, or one that does not build it.
    pub fn build() -> Result<Self, String> {
        let told = |error: io::Error| format!("the preloaded library has no place: {error}");
        let folder = tempfile::tempdir().map_err(told)?;
        // The user who runs PostgreSQL for root reads the one and writes into the other.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).map_err(told)?;
        let shim = Self { folder };
        fs::create_dir(shim.undo()).map_err(told)?;
        fs::set_permissions(shim.undo(), Permissions::from_mode(0o777)).map_err(told)?;
        let source = shim.folder.path().join("shim.c");
        fs::write(&source, SOURCE).map_err(told)?;
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&shim.library(), &source])
            .arg("-ldl")
            .output();
        let compiled = compiled.map_err(|error| format!("there is no C compiler: {error}"))?;
        if compiled.status.success() {
            Ok(shim)
        } else {
            let said = String::from_utf8_lossy(&compiled.stderr);
            Err(format!("the preloaded library does not compile: {said}"))
        }
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("shim.so")
    }

    fn undo(&self) -> PathBuf {
        self.folder.path().join("undo")
    }

    fn full(&self) -> PathBuf {
        self.folder.path().join("full")
    }

    /// The environment of a program whose files in `folder` forget what was not synchronised.
    pub fn forgetting(&self, folder: &Path) -> Vec<(String, String)> {
        self.vars(folder, "RELAIS_SHIM_UNDO", &self.undo())
    }

    /// The environment of a program whose disk in `folder` can be full.
    pub fn filling(&self, folder: &Path) -> Vec<(String, String)> {
        self.vars(folder, "RELAIS_SHIM_FULL", &self.full())
    }

    fn vars(&self, folder: &Path, name: &str, value: &Path) -> Vec<(String, String)> {
        let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        [
            ("LD_PRELOAD", self.library()),
            ("RELAIS_SHIM_FOLDER", folder),
            (name, value.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value.display().to_string()))
        .into()
    }

    /// Fills the disk, or makes room again.
    pub fn fill(&self, full: bool) -> io::Result<()> {
        if full {
            fs::write(self.full(), "")
        } else {
            fs::remove_file(self.full())
        }
    }

    /// Takes back from the files in `folder` all that was written since it was last synchronised. Nobody may be using them.
    pub fn cut_power(&self, folder: &Path) -> io::Result<RolledBack> {
        let mut files = HashMap::new();
        list(folder, &mut files)?;
        let mut rolled = RolledBack::default();
        for entry in fs::read_dir(self.undo())? {
            let log = entry?.path();
            let undone = records(&fs::read(&log)?);
            let name = log.file_name().unwrap_or_default().to_owned();
            if let (Some(file), Some(_)) = (files.get(name.as_os_str()), undone.last()) {
                rolled.files += 1;
                rolled.writes += undone.len();
                roll_back(file, &undone)?;
            }
            fs::remove_file(log)?;
        }
        Ok(rolled)
    }
}

/// Every file below `folder`, by the name of its log.
fn list(folder: &Path, files: &mut HashMap<std::ffi::OsString, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let about = fs::symlink_metadata(&path)?;
        if about.is_dir() {
            list(&path, files)?;
        } else if about.is_file() {
            files.insert(format!("{:x}-{:x}", about.dev(), about.ino()).into(), path);
        }
    }
    Ok(())
}

/// The records of a log; one that its writer did not finish, whose write was therefore never made, is left out.
fn records(mut log: &[u8]) -> Vec<Undo> {
    let mut records = Vec::new();
    while let Some((head, rest)) = log.split_at_checked(24) {
        let number = |at: usize| {
            let bytes = head[at..at + 8].try_into();
            u64::from_ne_bytes(bytes.unwrap_or_default())
        };
        let length = usize::try_from(number(8)).unwrap_or(usize::MAX);
        let Some((old, rest)) = rest.split_at_checked(length) else {
            break;
        };
        records.push(Undo {
            offset: number(0),
            old: old.to_vec(),
            size: number(16),
        });
        log = rest;
    }
    records
}

/// Newest first.
fn roll_back(path: &Path, records: &[Undo]) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    for undo in records.iter().rev() {
        file.write_all_at(&undo.old, undo.offset)?;
        file.set_len(undo.size)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python does to `file` under the library, if there is a compiler and a Python.
    fn after(shim: &Shim, folder: &Path, script: &str) -> bool {
        Command::new("python3")
            .args(["-c", script])
            .arg(folder.join("file"))
            .envs(shim.forgetting(folder))
            .envs(shim.filling(folder))
            .status()
            .is_ok_and(|status| status.success())
    }

    #[test]
    fn what_was_not_synchronised_is_taken_back_and_the_rest_stays() {
        let (Ok(shim), Ok(folder)) = (Shim::build(), tempfile::tempdir()) else {
            return;
        };
        let script = "import os, sys\n\
            fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n\
            os.write(fd, b'kept, kept'); os.fsync(fd)\n\
            os.pwrite(fd, b'lost', 0); os.pwrite(fd, b'gone', 2); os.ftruncate(fd, 5); os.pwrite(fd, b'far', 40)\n";
        if !after(&shim, folder.path(), script) {
            return;
        }
        let file = folder.path().join("file");
        assert_eq!(fs::read(&file).unwrap().len(), 43);

        let rolled = shim.cut_power(folder.path()).unwrap();
        assert_eq!((rolled.files, rolled.writes), (1, 4));
        assert_eq!(fs::read(&file).unwrap(), b"kept, kept");
        assert_eq!(shim.cut_power(folder.path()).unwrap().writes, 0);
    }

    #[test]
    fn a_full_disk_takes_nothing_until_there_is_room() {
        let (Ok(shim), Ok(folder)) = (Shim::build(), tempfile::tempdir()) else {
            return;
        };
        let write =
            "import os, sys; os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), b'a')";
        if !after(&shim, folder.path(), write) {
            return;
        }
        shim.fill(true).unwrap();
        assert!(!after(&shim, folder.path(), write));
        shim.fill(false).unwrap();
        assert!(after(&shim, folder.path(), write));
    }
}
