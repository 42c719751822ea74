//! `cargo run`: everything in one process, on a bare machine.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::domain::{BusinessId, Language};
use common::secret::{self, Sealer};
use common::{Clock, Config, database, shutdown, telemetry};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use workers::Concurrency;
use workers::extraction::Extractor;

use crate::operate::{self, RunningStores};
use crate::seed;
use crate::simulators::manychat::ManyChatSimulator;
use crate::stores::Stores;

/// What scripts read: `demo.json` in the data folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Demo {
    base_url: String,
    api_key: String,
    business_id: BusinessId,
    webhook_secret: String,
    /// Who owns the business. `null` in files of an earlier version.
    email: Option<String>,
    /// Of the owner, to sign in with.
    password: Option<String>,
    manychat_simulator_url: String,
}

/// Who owns the demo business.
const DEMO_EMAIL: &str = "demo@relais.example";

/// What must stay the same from start to start, and is nobody's business.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    master_key: String,
    manychat_key: String,
    /// Made for folders of an earlier version, which had none.
    #[serde(default = "secret::random_token")]
    jwt_secret: String,
}

/// Brings everything up and serves until Ctrl-C.
///
/// # Errors
///
/// One sentence with what to do.
pub async fn up(reset: bool) -> Result<(), String> {
    // Empty counts as unset: `.env` files leave names empty.
    let mut vars: HashMap<String, String> = std::env::vars()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    // One process has one page of health and metrics: the ingress's.
    vars.remove("RELAIS_OPERATIONS_BIND");
    let data_dir = PathBuf::from(
        vars.get("RELAIS_DATA_DIR")
            .map_or(".relais", String::as_str),
    );
    let shutdown =
        shutdown::token().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let bind = parse_bind(&vars)?;
    // The likeliest mistake, told before anything is started.
    drop(std::net::TcpListener::bind(bind).map_err(|error| taken(bind, &error))?);
    prepare_folder(&data_dir, reset)?;
    let kept = keep(&data_dir)?;

    say("Starting PostgreSQL and Redis (the first time fetches what this machine lacks) …");
    let stores = tokio::select! {
        stores = Stores::start(&vars, &data_dir, reset) => stores?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let simulator = start_simulator(&vars, bind, &kept.manychat_key).await?;
    fill(&mut vars, &stores, &kept, &simulator);
    let beside = RunningStores {
        database_url: vars["DATABASE_URL"].clone(),
        redis_url: vars["REDIS_URL"].clone(),
    };
    let config = Config::from_vars(vars).map_err(|error| error.to_string())?;
    write_private(&data_dir.join(operate::STORES_FILE), &beside)?;
    let _telemetry = telemetry::init(&config.telemetry, "relais")?;

    let served = Box::pin(serve(&config, &data_dir, &kept, &simulator, &shutdown)).await;
    shutdown.cancel();
    stores.stop().await;
    // Nothing answers there any more.
    std::fs::remove_file(data_dir.join(operate::STORES_FILE)).ok();
    say("Stopped.");
    served
}

async fn serve(
    config: &Config,
    data_dir: &Path,
    kept: &Kept,
    simulator: &ManyChatSimulator,
    shutdown: &tokio_util::sync::CancellationToken,
) -> Result<(), String> {
    let clock = Clock::default();
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find its own program: {error}"))?;
    let extractor = Extractor::new(program, ["extract"]);
    let demo = seed_demo(config, &clock, data_dir, kept, simulator)
        .await
        .map_err(|error| error.to_string())?;
    let concurrency = Concurrency::default();
    // The ingress stops first, so that what it accepted is still worked on; then the workers; then the scheduler.
    let (ingress_stop, workers_stop, scheduler_stop) = (
        shutdown.child_token(),
        tokio_util::sync::CancellationToken::new(),
        tokio_util::sync::CancellationToken::new(),
    );
    let (_, ingress) = ingress::start(config.clone(), clock.clone(), ingress_stop)
        .await
        .map_err(|error| error.to_string())?;
    let workers = workers::run(
        config,
        &concurrency,
        extractor,
        clock.clone(),
        workers_stop.clone(),
    );
    let scheduler = scheduler::run(config, clock, scheduler_stop.clone());
    write_demo(data_dir, &demo)?;
    introduce(&demo, data_dir);

    let stopping = async {
        ingress.await.ok();
        workers_stop.cancel();
    };
    // What ends early ends everything: its error is told at once.
    let working = async {
        let worked = workers.await;
        shutdown.cancel();
        scheduler_stop.cancel();
        worked
    };
    let scheduling = async {
        let ended = scheduler.await;
        shutdown.cancel();
        ended
    };
    let ((), worked, ticked) = tokio::join!(stopping, working, scheduling);
    worked.and(ticked)
}

/// The business of the last start, or a new one; `demo.json` holds what only its owner knows.
async fn seed_demo(
    config: &Config,
    clock: &Clock,
    data_dir: &Path,
    kept: &Kept,
    simulator: &ManyChatSimulator,
) -> common::Result<Demo> {
    let pool = database::connect_lazy(&config.stores.database_url, 2)?;
    let earlier: Option<Demo> = std::fs::read(data_dir.join("demo.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let earlier = match earlier {
        Some(demo) if seed::is_there(&pool, demo.business_id).await? => Some(demo),
        _ => None,
    };
    let signs_in = earlier
        .as_ref()
        .and_then(|demo| Some((demo.email.clone()?, demo.password.clone()?)));
    let (business_id, api_key, webhook_secret) = if let Some(demo) = earlier {
        (demo.business_id, demo.api_key, demo.webhook_secret)
    } else {
        let sealer = Sealer::new(&config.secrets)?;
        let key = SecretString::from(kept.manychat_key.clone());
        let seeded = seed::business(
            &pool,
            clock,
            &sealer,
            "Café du Relais",
            Language::French,
            "vip",
            Some(&key),
        )
        .await?;
        let expose = |secret: &SecretString| secret.expose_secret().to_owned();
        (
            seeded.business_id,
            expose(&seeded.api_key),
            expose(&seeded.webhook_secret),
        )
    };
    let (email, password) = if let Some(known) = signs_in {
        known
    } else {
        let password = SecretString::from(secret::random_token()[..20].to_owned());
        seed::owner(&pool, clock, business_id, DEMO_EMAIL, &password).await?;
        (DEMO_EMAIL.to_owned(), password.expose_secret().to_owned())
    };
    pool.close().await;
    Ok(Demo {
        base_url: format!("http://{}", config.bind),
        api_key,
        business_id,
        webhook_secret,
        email: Some(email),
        password: Some(password),
        manychat_simulator_url: format!("{}/messages", simulator.base_url()),
    })
}

fn parse_bind(vars: &HashMap<String, String>) -> Result<SocketAddr, String> {
    let bind = vars
        .get("RELAIS_BIND")
        .map_or("127.0.0.1:8080", String::as_str);
    bind.parse().map_err(|_| {
        format!("RELAIS_BIND is `{bind}`: it must be an address and a port, as 127.0.0.1:8080")
    })
}

fn taken(bind: SocketAddr, error: &std::io::Error) -> String {
    format!(
        "cannot listen on {bind} ({error}): stop what listens there, or set RELAIS_BIND to a free port"
    )
}

fn prepare_folder(data_dir: &Path, reset: bool) -> Result<(), String> {
    let told = |error: std::io::Error| {
        format!(
            "cannot use the folder {} ({error}): set RELAIS_DATA_DIR to one that can be written to",
            data_dir.display()
        )
    };
    if reset && data_dir.exists() {
        std::fs::remove_dir_all(data_dir).map_err(told)?;
    }
    std::fs::create_dir_all(data_dir).map_err(told)?;
    let probe = data_dir.join(".writable");
    std::fs::write(&probe, b"")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(told)
}

/// Keys made at the first start.
fn keep(data_dir: &Path) -> Result<Kept, String> {
    let path = data_dir.join("secrets.json");
    if let Some(kept) = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok())
    {
        // What this version added is kept from now on.
        write_private(&path, &kept)?;
        return Ok(kept);
    }
    let kept = Kept {
        master_key: secret::random_token(),
        manychat_key: format!("demo:{}", secret::random_token()),
        jwt_secret: secret::random_token(),
    };
    write_private(&path, &kept)?;
    Ok(kept)
}

/// Beside the ingress, on the next port; on any free one where that is taken.
async fn start_simulator(
    vars: &HashMap<String, String>,
    bind: SocketAddr,
    token: &str,
) -> Result<ManyChatSimulator, String> {
    let wanted = vars
        .get("RELAIS_SIMULATOR_BIND")
        .and_then(|address| address.parse().ok());
    let beside = SocketAddr::from(([127, 0, 0, 1], bind.port().saturating_add(1)));
    if let Ok(simulator) = ManyChatSimulator::start(wanted.unwrap_or(beside), token).await {
        return Ok(simulator);
    }
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    ManyChatSimulator::start(any, token)
        .await
        .map_err(|error| format!("the ManyChat simulator cannot listen: {error}"))
}

/// Sets what nobody set.
fn fill(
    vars: &mut HashMap<String, String>,
    stores: &Stores,
    kept: &Kept,
    simulator: &ManyChatSimulator,
) {
    let mut set = |name: &str, value: String| {
        vars.entry(name.to_owned()).or_insert(value);
    };
    set("DATABASE_URL", stores.database_url.clone());
    set("REDIS_URL", stores.redis_url.clone());
    set("RELAIS_MASTER_KEY", kept.master_key.clone());
    set("JWT_SECRET", kept.jwt_secret.clone());
    set("MANYCHAT_BASE_URL", simulator.base_url());
    set("RELAIS_LOG_FORMAT", "text".to_owned());
    set("RUST_LOG", "warn".to_owned());
    set("RELAIS_SHUTDOWN_GRACE_SECONDS", "5".to_owned());
}

fn write_demo(data_dir: &Path, demo: &Demo) -> Result<(), String> {
    write_private(&data_dir.join("demo.json"), demo)
}

/// Writes a file only its owner reads, whole or not at all.
fn write_private<T: Serialize>(path: &Path, value: &T) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;

    let told = |error: std::io::Error| {
        format!(
            "cannot write {} ({error}): set RELAIS_DATA_DIR to another folder",
            path.display()
        )
    };
    let json = serde_json::to_vec_pretty(value).map_err(|error| error.to_string())?;
    let unfinished = path.with_extension("tmp");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(told)?;
    file.write_all(&json).map_err(told)?;
    std::fs::rename(&unfinished, path).map_err(told)
}

fn introduce(demo: &Demo, data_dir: &Path) {
    let Demo {
        base_url,
        webhook_secret,
        api_key,
        manychat_simulator_url,
        ..
    } = demo;
    let keys = data_dir.join("demo.json");
    say(&format!(
        r#"
Relais is ready.

  API            {base_url}/docs
  Health         {base_url}/health/detailed
  Delivered      {manychat_simulator_url}
  Keys           {}
  Sign in        at /docs with the e-mail address and the password that are there, too

Give it something to know:

  curl -F file=@document.pdf -H 'Authorization: Bearer {api_key}' {base_url}/api/v1/documents/upload

Write to it as WhatsApp does through ManyChat, then look at what was delivered:

  curl -H 'X-Webhook-Secret: {webhook_secret}' -H 'Content-Type: application/json' \
    -d '{{"subscriber_id": 1, "text": "Bonjour !"}}' {base_url}/api/v1/webhook/manychat
  curl {manychat_simulator_url}

Ctrl-C stops everything."#,
        keys.display()
    ));
}

/// To the person at the terminal. Nothing is said to a terminal that is gone.
fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}
