//! The ingress as a process.

use std::process::ExitCode;

use clap::Parser;
use common::{Config, telemetry};
use tokio_util::sync::CancellationToken;

/// The ingress of Relais: serves the API and takes what channels send.
///
/// Configured by environment variables; `.env.example` lists them.
#[derive(Parser)]
#[command(name = "relais-ingress", version)]
struct Options {
    /// Check the configuration, tell every problem and exit.
    #[arg(long)]
    check_config: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match serve(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("relais-ingress: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> Result<(), String> {
    let config = Config::from_env().map_err(|error| error.to_string())?;
    if options.check_config {
        eprintln!("relais-ingress: the configuration is usable");
        return Ok(());
    }
    let _telemetry = telemetry::init(&config.telemetry, "relais-ingress")?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    ingress::run(config, shutdown)
        .await
        .map_err(|error| error.to_string())
}

async fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("the runtime handles signals");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    shutdown.cancel();
}
