//! What Relais measures of itself: ratios taken in one run, on a platform of the benchmark's own.

mod ack;
mod client;
mod idle;
pub mod retrieval;
mod statistics;
mod turn;

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

/// What to measure. Run the release build, on a machine with nothing else to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Acknowledgements: latency at a fixed rate, and saturation beside one commit a request and beside no storing.
    Ack(ack::Options),
    /// Our own share of a turn: webhook to delivered answer, one at a time.
    Turn(turn::Options),
    /// What the services use while nothing happens.
    Idle(idle::Options),
    /// Quality of retrieval over a folder of passages and questions.
    Retrieval {
        /// Folders with `passages.jsonl` and `queries.jsonl`.
        #[arg(long, required = true)]
        data: Vec<PathBuf>,
    },
}

/// Measures, and prints what it found as Markdown.
///
/// # Errors
///
/// What went wrong, in words.
pub async fn run(options: Options) -> Result<(), String> {
    match options.what {
        What::Ack(options) => Box::pin(ack::run(&options)).await,
        What::Turn(options) => turn::run(&options).await,
        What::Idle(options) => idle::run(&options).await,
        What::Retrieval { data } => retrieval::run(&data, &mut std::io::stdout())
            .await
            .map_err(|error| error.to_string()),
    }
}

/// A line of the report.
fn report(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// The program that runs, for child processes.
fn program() -> Result<String, String> {
    let path =
        std::env::current_exe().map_err(|error| format!("cannot find its own program: {error}"))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| "its own path is not UTF-8".to_owned())
}
