//! The workers' process.

use std::process::ExitCode;

use clap::Parser;
use common::{Clock, Config, shutdown, telemetry};
use workers::Options;
use workers::extraction::{self, Extractor};

fn main() -> ExitCode {
    // Before anything else: the extraction's child must start no thread and read no configuration.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == "extract")
    {
        return extraction::child_main();
    }
    match start(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relais-workers: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start(options: Options) -> Result<(), String> {
    let config = Config::from_env().map_err(|error| error.to_string())?;
    if options.check_config {
        return Ok(());
    }
    let _telemetry = telemetry::init(&config.telemetry, "relais-workers")?;
    telemetry::metrics();
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find its own program: {error}"))?;
    let extractor = Extractor::new(program, ["extract"]);
    let shutdown =
        shutdown::token().map_err(|error| format!("cannot listen to signals: {error}"))?;
    workers::run(
        &config,
        &options.queues.unwrap_or_default(),
        extractor,
        Clock::default(),
        shutdown,
    )
    .await
}
