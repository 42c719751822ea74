//! What Relais measures of itself: ratios taken in one run, on a platform of the benchmark's own.

mod ack;
mod client;
mod conversation;
mod drain;
mod fairness;
mod footprint;
mod idle;
mod logins;
mod pickup;
mod probes;
pub mod retrieval;
mod services;
mod statistics;
mod tenancy;
mod turn;
mod usage;
mod weights;

use std::io::Write;
use std::path::{Path, PathBuf};

use ack::beside::Beside;
use clap::Subcommand;
use serde_json::{Value, json};

/// What goes wrong ends the benchmark, in words.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What to measure. Run the release build, on a machine with nothing else to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    /// Write the figures of every round to this file, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure little, within seconds: whether it works, not how well.
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Acknowledgements: latency at fixed rates, and saturation beside others, by connections, businesses and backlog.
    Ack(ack::Options),
    /// Pickup: from the insertion of a job to the first line of its handler, and what idleness costs.
    Pickup(pickup::Options),
    /// Draining: backlogs of no-op jobs, their rate, CPU time, bytes and memory.
    Drain(drain::Options),
    /// Our own share of a turn: webhook to delivered answer, less what the model takes.
    Turn(turn::Options),
    /// Fairness: quiet businesses beside a flood, the flood's share of the rest, and weights.
    Fairness(fairness::Options),
    /// Tenancy: the hottest queries with row-level security and without.
    Tenancy(tenancy::Options),
    /// Footprint: cold starts, idleness, thousands of model calls in flight, memory after a million jobs.
    Footprint(footprint::Options),
    /// An ingress to compare with; serves until it is killed.
    #[command(hide = true)]
    Beside { what: Beside },
    /// A storm of logins: what it does to webhooks that arrive meanwhile.
    Logins(logins::Options),
    /// What the services use while nothing happens.
    Idle(idle::Options),
    /// Quality of retrieval over a folder of passages and questions.
    Retrieval {
        /// Folders with `passages.jsonl` and `queries.jsonl`.
        #[arg(long, required = true)]
        data: Vec<PathBuf>,
    },
}

/// How much is measured where the options do not say.
#[derive(Clone, Copy, Debug)]
struct Scale {
    quick: bool,
}

impl Scale {
    /// What was `given`; otherwise the `full` measure, or the `quick` one.
    fn pick<T>(self, given: Option<T>, full: T, quick: T) -> T {
        given.unwrap_or(if self.quick { quick } else { full })
    }
}

/// Measures, and prints what it found as Markdown.
///
/// # Errors
///
/// What went wrong, in words.
pub async fn run(options: Options) -> Result<(), String> {
    let scale = Scale {
        quick: options.quick,
    };
    let measured = match &options.what {
        What::Ack(options) => Box::pin(ack::run(options, scale)).await,
        What::Pickup(options) => Box::pin(pickup::run(options, scale)).await,
        What::Drain(options) => Box::pin(drain::run(options, scale)).await,
        What::Turn(options) => Box::pin(turn::run(options, scale)).await,
        What::Fairness(options) => Box::pin(fairness::run(options, scale)).await,
        What::Tenancy(options) => Box::pin(tenancy::run(options, scale)).await,
        What::Footprint(options) => Box::pin(footprint::run(options, scale)).await,
        What::Beside { what } => Box::pin(ack::beside::serve(*what))
            .await
            .map(|()| Value::Null),
        What::Logins(options) => Box::pin(logins::run(options, scale)).await,
        What::Idle(options) => Box::pin(idle::run(options, scale)).await,
        What::Retrieval { data } => retrieval::run(data, &mut std::io::stdout())
            .await
            .map(|()| Value::Null),
    };
    let figures = measured.map_err(|error| error.to_string())?;
    match &options.json {
        Some(file) => write(file, &figures),
        None => Ok(()),
    }
}

/// Writes the figures, and what they were measured with.
fn write(file: &Path, figures: &Value) -> Result<(), String> {
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let whole = json!({
        "arguments": arguments, "build": build, "cores": cores, "version": env!("CARGO_PKG_VERSION"), "figures": figures,
    });
    std::fs::write(file, format!("{whole:#}\n"))
        .map_err(|error| format!("{}: {error}", file.display()))
}

/// A line of the report.
fn report(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// The program that runs, for child processes.
fn program() -> Result<String, Failure> {
    let path = std::env::current_exe()?;
    path.into_os_string()
        .into_string()
        .map_err(|_| "its own path is not UTF-8".into())
}
