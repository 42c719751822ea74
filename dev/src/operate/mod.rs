//! `relais jobs`, `queues`, `processes`, `schedules`: what an operator sees and does, against the stores of the environment.

mod dead;
mod jobs;
mod processes;
mod queues;
mod schedules;
mod steer;
mod stores;
mod text;

use std::io::Write;

use clap::{Args, Subcommand};
use serde::Serialize;

use stores::Operator;
pub(crate) use stores::{RunningStores, STORES_FILE};

/// What an operator asks for.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Look at jobs, try the dead again, discard them.
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// How the queues stand; pause, resume and drain them.
    Queues(queues::Options),
    /// The worker processes that run, and what they serve.
    Processes(Output),
    /// What is due by the clock, and when.
    Schedules(Output),
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Write JSON, for scripts.
    #[arg(long, global = true)]
    json: bool,
}

/// Answers.
///
/// # Errors
///
/// What went wrong, in words.
pub async fn run(command: Command) -> Result<(), String> {
    let operator = Operator::from_env()?;
    match command {
        Command::Jobs(command) => jobs::run(&operator, command).await,
        Command::Queues(options) => queues::run(&operator, options).await,
        Command::Processes(output) => processes::run(&operator, output).await,
        Command::Schedules(output) => schedules::run(&operator, output).await,
    }
}

impl Output {
    /// Writes `value` as JSON, or what `text` makes of it.
    fn write<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), String> {
        let answer = if self.json {
            serde_json::to_string_pretty(value).map_err(|error| error.to_string())?
        } else {
            text()
        };
        match writeln!(std::io::stdout(), "{}", answer.trim_end()) {
            // Who reads through `head` has seen enough.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(format!("the answer could not be written: {error}"))
            }
            _ => Ok(()),
        }
    }
}

/// An error and its causes in one line.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` takes"
)]
fn told(error: common::Error) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
