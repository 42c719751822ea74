//! `cargo run`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::{Clock, Config, database, shutdown, telemetry};
use workers::extraction::{self, Extractor};

/// Relais on one machine: without a command, everything in one process, with servers of its own.
#[derive(Debug, Parser)]
#[command(name = "relais", version)]
struct Options {
    /// Start afresh: forget the data of earlier starts.
    #[arg(long)]
    reset: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the database at `DATABASE_OWNER_URL` to this version's schema.
    Migrate,
    /// Create businesses and connect them, against the stores of the environment.
    #[command(subcommand)]
    Business(dev::business::Command),
    /// Say who runs the platform, and who may sign in.
    #[command(subcommand)]
    User(dev::user::Command),
    /// Change the master key, against the stores of the environment.
    #[command(subcommand)]
    Keys(dev::keys::Command),
    /// Look at jobs and queues, and steer them, against the stores of the environment or those of a `cargo run` here.
    #[command(flatten)]
    Operate(dev::operate::Command),
    /// Only the ingress, against the stores of the environment.
    Ingress,
    /// Only the workers, against the stores of the environment.
    Workers(workers::Options),
    /// Only the scheduler, against the stores of the environment.
    Scheduler,
    /// Measure; `bench --help` lists what.
    Bench(dev::bench::Options),
    /// Break things on purpose, and see whether the promises hold.
    Chaos(dev::chaos::Options),
    /// Read a document from standard input: the workers' child process.
    #[command(hide = true)]
    Extract,
}

fn main() -> ExitCode {
    // Before anything else: the extraction's child must start no thread and read no configuration.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == "extract")
    {
        return extraction::child_main();
    }
    // A missing file is fine; one that does not read is told. Nothing runs yet that the change of environment could race.
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(error) if error.not_found() => {}
        Err(error) => {
            eprintln!("relais: .env does not read: {error}");
            return ExitCode::FAILURE;
        }
    }
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relais: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: Options) -> Result<(), String> {
    match options.command {
        None => Box::pin(dev::up::up(options.reset)).await,
        Some(Command::Bench(options)) => Box::pin(dev::bench::run(options)).await,
        Some(Command::Chaos(options)) => Box::pin(dev::chaos::run(options)).await,
        Some(Command::Migrate) => migrate().await,
        Some(Command::Operate(command)) => Box::pin(dev::operate::run(command)).await,
        Some(command) => Box::pin(serve(command)).await,
    }
}

/// Needs nothing but the owner's URL.
async fn migrate() -> Result<(), String> {
    let url = std::env::var("DATABASE_OWNER_URL").map_err(|_| "DATABASE_OWNER_URL is not set")?;
    database::migrate::migrate(&url.into())
        .await
        .map_err(|error| error.to_string())
}

async fn serve(command: Command) -> Result<(), String> {
    let config = Config::from_env().map_err(|error| error.to_string())?;
    if matches!(&command, Command::Workers(options) if options.check_config) {
        return Ok(());
    }
    let _telemetry = telemetry::init(&config.telemetry, "relais")?;
    telemetry::metrics();
    let shutdown =
        shutdown::token().map_err(|error| format!("cannot listen to signals: {error}"))?;
    match command {
        Command::Business(command) => dev::business::run(command, &config).await,
        Command::User(command) => dev::user::run(command, &config).await,
        Command::Keys(command) => dev::keys::run(command, &config).await,
        Command::Ingress => ingress::run(config, shutdown)
            .await
            .map_err(|error| error.to_string()),
        Command::Workers(options) => {
            let program = std::env::current_exe()
                .map_err(|error| format!("cannot find its own program: {error}"))?;
            let extractor = Extractor::new(program, ["extract"]);
            workers::run(
                &config,
                &options.queues.unwrap_or_default(),
                extractor,
                Clock::default(),
                shutdown,
            )
            .await
        }
        Command::Scheduler => scheduler::run(&config, Clock::default(), shutdown).await,
        // Done before anything is configured.
        Command::Migrate
        | Command::Operate(_)
        | Command::Bench(_)
        | Command::Chaos(_)
        | Command::Extract => Ok(()),
    }
}
