//! The scheduler's process.

use std::process::ExitCode;

use clap::Parser;
use common::{Clock, Config, shutdown, telemetry};

/// The command line of a scheduler process.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "relais-scheduler",
    about = "Dispatches Relais's jobs and runs its schedules",
    version
)]
struct Options {
    /// Check the configuration and stop.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    match start(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relais-scheduler: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start(options: &Options) -> Result<(), String> {
    let config = Config::from_env().map_err(|error| error.to_string())?;
    if options.check_config {
        return Ok(());
    }
    let _telemetry = telemetry::init(&config.telemetry, "relais-scheduler")?;
    telemetry::metrics();
    let shutdown =
        shutdown::token().map_err(|error| format!("cannot listen to signals: {error}"))?;
    scheduler::run(&config, Clock::default(), shutdown).await
}
