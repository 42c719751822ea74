//! Files of development's providers: secrets for the person at this machine.

use std::io;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// Writes a file that only its owner reads, whole or not at all.
pub(super) async fn write(path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
    let writing = move || {
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let unfinished = path.with_extension("tmp");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&bytes)?;
        std::fs::rename(&unfinished, &path)
    };
    tokio::task::spawn_blocking(writing)
        .await
        .map_err(io::Error::other)?
}
