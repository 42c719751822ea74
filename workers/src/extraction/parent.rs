//! The worker's side: starts the child, bounds it, and names what became of it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use common::domain::document_kind::DocumentKind;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::protocol::{REQUEST_VARIABLE, Request, max_frame_bytes, read_frame};
use super::{ExtractedDocument, ExtractionError, Limits, Refusal};

/// How much of the child's standard error is kept for the log.
const STDERR_BYTES: u64 = 4096;

/// Extracts documents, each in a process of its own.
#[derive(Clone, Debug)]
pub struct Extractor {
    program: PathBuf,
    args: Vec<OsString>,
    limits: Limits,
}

impl Extractor {
    /// An extractor that starts `program` with `args`, which must lead to [`child_main`](super::child_main).
    pub fn new(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            limits: Limits::default(),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Extracts the text of `file`.
    ///
    /// # Errors
    ///
    /// [`ExtractionError`]: the file is at fault, or the child could not do its work. Dropping the future kills it.
    #[tracing::instrument(name = "extraction.extract", skip_all, fields(kind = ?kind), err)]
    pub async fn extract(
        &self,
        file: &Path,
        kind: DocumentKind,
    ) -> Result<ExtractedDocument, ExtractionError> {
        let document = tokio::fs::File::open(file).await?;
        self.check_size(document.metadata().await?.len())?;
        let mut child = self.spawn(document.into_std().await, kind)?;
        let time = Duration::from_secs(self.limits.wall_seconds);
        // On a timeout the child is dropped, and with it killed.
        tokio::time::timeout(time, self.finish(&mut child))
            .await
            .map_err(|_| ExtractionError::TimedOut)?
    }

    fn check_size(&self, size: u64) -> Result<(), Refusal> {
        match size {
            0 => Err(Refusal::Empty),
            size if size > self.limits.file_bytes => Err(Refusal::TooLarge {
                limit_megabytes: self.limits.file_bytes / (1024 * 1024),
            }),
            _ => Ok(()),
        }
    }

    fn spawn(&self, document: File, kind: DocumentKind) -> io::Result<Child> {
        let request = serde_json::to_string(&Request {
            kind,
            limits: self.limits.clone(),
        })?;
        Command::new(&self.program)
            .args(&self.args)
            // No secrets, no configuration, and no folder of ours.
            .env_clear()
            .env(REQUEST_VARIABLE, request)
            .current_dir("/")
            .stdin(Stdio::from(document))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    async fn finish(&self, child: &mut Child) -> Result<ExtractedDocument, ExtractionError> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let max_frame = max_frame_bytes(&self.limits);
        let (frame, stderr) = tokio::try_join!(
            read_frame_bytes(stdout, max_frame),
            read_bounded(stderr, STDERR_BYTES)
        )?;
        let status = child.wait().await?;
        match read_frame(&frame) {
            Some(response) if status.success() => Ok(response?),
            _ => Err(explain(status, &String::from_utf8_lossy(&stderr))),
        }
    }
}

/// Reads standard output to its end, which must come before `limit`: more is no answer to wait for.
async fn read_frame_bytes(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > limit {
        Err(io::Error::other("the extraction process wrote too much"))
    } else {
        Ok(bytes)
    }
}

/// Keeps the first `limit` bytes of a pipe and reads the rest away, so that the writer never blocks.
async fn read_bounded(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(limit).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

/// Names the end of a child that gave no answer.
fn explain(status: ExitStatus, stderr: &str) -> ExtractionError {
    tracing::warn!(%status, stderr = stderr.trim(), "the extraction process gave no answer");
    let signal = status.signal().and_then(Signal::from_named_raw);
    match signal {
        Some(Signal::XCPU) => Refusal::too_complex("it takes too much computing time").into(),
        // What Rust prints before it aborts, in either case.
        Some(Signal::ABORT | Signal::SEGV) if stderr.contains("memory allocation") => {
            Refusal::too_complex("it takes too much memory").into()
        }
        Some(Signal::ABORT | Signal::SEGV | Signal::BUS)
            if stderr.contains("overflowed its stack") =>
        {
            Refusal::too_complex("it is nested too deeply").into()
        }
        Some(
            Signal::ABORT
            | Signal::SEGV
            | Signal::BUS
            | Signal::ILL
            | Signal::TRAP
            | Signal::FPE
            | Signal::SYS,
        ) => Refusal::Damaged.into(),
        Some(_) => ExtractionError::Interrupted,
        None => io::Error::other(format!("the extraction process ended with {status}")).into(),
    }
}
