//! The child's side: takes away its own means, then parses.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::{env, io, thread};

use common::domain::document_kind::DocumentKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::protocol::{REQUEST_VARIABLE, Request, Response, write_frame};
use super::{Limits, Refusal, pdf, plain};

/// The parser's stack: objects and forms nest by recursion, and unoptimised frames are large.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// What the libraries and the main thread map beside what a document needs.
const ADDRESS_SPACE_BYTES: u64 = 512 * 1024 * 1024;

/// The child process: reads the document from standard input and writes its answer to standard output.
///
/// To be called first thing in `main`, before any thread or runtime is started.
pub fn child_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the parent's log; there may be no parent to read it.
            let _ = writeln!(io::stderr(), "extraction failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let request =
        env::var(REQUEST_VARIABLE).map_err(|_| io::Error::other("started without a request"))?;
    let request: Request = serde_json::from_str(&request)?;
    restrict(&request.limits)?;
    let parser = thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || parse(&request))?;
    // A panic: the parser met what it did not expect.
    let response = parser.join().unwrap_or(Ok(Err(Refusal::Damaged)))?;
    write_frame(&response, &mut io::stdout().lock())
}

fn restrict(limits: &Limits) -> io::Result<()> {
    // The file is held once, and once more where it is one large stream that is decrypted.
    let memory = limits.memory_bytes + 2 * limits.file_bytes;
    limit(Resource::Data, memory)?;
    limit(Resource::As, memory + ADDRESS_SPACE_BYTES)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    // Standard input, output and error are open already: nothing else will be, neither file nor socket.
    limit(Resource::Nofile, 3)?;
    // At the soft limit comes SIGXCPU, which the parent understands; SIGKILL a second later.
    set(Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds + 1)
}

fn limit(resource: Resource, value: u64) -> io::Result<()> {
    set(resource, value, value)
}

/// Lowers a limit. One that is lower already stays: only root may raise it.
fn set(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let maximum = getrlimit(resource)
        .maximum
        .map_or(maximum, |allowed| allowed.min(maximum));
    Ok(setrlimit(
        resource,
        Rlimit {
            current: Some(current.min(maximum)),
            maximum: Some(maximum),
        },
    )?)
}

fn parse(request: &Request) -> io::Result<Response> {
    // The last thread there will be. Means nothing to root, whom the kernel does not count.
    limit(Resource::Nproc, 0)?;
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(request.limits.file_bytes + 1)
        .read_to_end(&mut bytes)?;
    Ok(match request.kind {
        _ if bytes.is_empty() => Err(Refusal::Empty),
        DocumentKind::Pdf => pdf::extract(bytes, &request.limits),
        DocumentKind::PlainText | DocumentKind::Markdown => plain::extract(&bytes, &request.limits),
    })
}
