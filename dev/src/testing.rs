//! A platform of its own for every test: real PostgreSQL, real Redis, the services, and ManyChat played by the simulator.
//!
//! One PostgreSQL serves all tests of a process, a database each, copied from a migrated template; Redis is each test's own.

#![expect(
    clippy::unwrap_used,
    reason = "where something does not work here, the test has failed"
)]

mod users;

pub use users::TestUser;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::domain::Language;
use common::secret::{self, Sealer};
use common::{Clock, Config, database};
use reqwest::Response;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::Concurrency;
use workers::extraction::Extractor;

use crate::seed::{self, Seeded};
use crate::servers::{Binaries, Postgres, PostgresOptions, Redis, RedisOptions};
use crate::simulators::manychat::ManyChatSimulator;
use crate::stores;

/// The key every test's ManyChat takes.
const MANYCHAT_KEY: &str = "42:test";

/// Signs the tests' access tokens.
const JWT_SECRET: &str = "tests-sign-their-tokens-with-this-one";

/// The master key of all tests.
const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// How long anything that should happen may take: far longer than it does, on a machine busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a test needs running.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The `relais` program: `env!("CARGO_BIN_EXE_relais")`.
    pub program: PathBuf,
    /// How many ingresses.
    pub ingresses: usize,
    /// Whether workers run in this process.
    pub workers: bool,
    /// Whether a scheduler runs in this process.
    pub scheduler: bool,
    /// How long a channel must be quiet before a burst is answered.
    pub burst_quiet: Duration,
    /// Whether PostgreSQL is the test's own, and keeps its promises at a crash.
    pub own_postgres: bool,
    /// Further environment of the services.
    pub vars: Vec<(String, String)>,
    /// Jobs at once, by queue.
    pub concurrency: Concurrency,
}

impl Setup {
    /// One of everything, in this process, answering at once.
    pub fn new(program: &str) -> Self {
        Self {
            program: program.into(),
            ingresses: 1,
            workers: true,
            scheduler: true,
            burst_quiet: Duration::ZERO,
            own_postgres: false,
            vars: Vec::new(),
            concurrency: Concurrency::default(),
        }
    }

    /// The stores alone, PostgreSQL its own: the services are started apart.
    pub fn stores_only(program: &str) -> Self {
        Self {
            ingresses: 0,
            workers: false,
            scheduler: false,
            own_postgres: true,
            ..Self::new(program)
        }
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// As all of this module: where something does not work, the test has failed.
    pub async fn start(self) -> Platform {
        Platform::start(self).await
    }
}

/// A running platform.
pub struct Platform {
    /// What it was asked to be.
    pub setup: Setup,
    /// The services' configuration.
    pub config: Config,
    /// As the services read it.
    pub vars: HashMap<String, String>,
    /// The services' clock.
    pub clock: Clock,
    /// A pool as the services' role.
    pub pool: PgPool,
    /// A pool as the owner, for looking behind the scenes.
    pub owner: PgPool,
    /// Its Redis.
    pub redis: Redis,
    /// Its PostgreSQL, where it is its own.
    pub postgres: Option<Postgres>,
    /// ManyChat.
    pub manychat: ManyChatSimulator,
    /// The first business.
    pub business: Seeded,
    /// Where the ingresses listen.
    pub ingresses: Vec<SocketAddr>,
    /// The client of whoever asks.
    pub http: reqwest::Client,
    stop: CancellationToken,
    services: Vec<JoinHandle<()>>,
    _files: tempfile::TempDir,
}

impl Platform {
    async fn start(setup: Setup) -> Self {
        let files = tempfile::tempdir().unwrap();
        let binaries = binaries();
        let redis = Redis::start(&binaries.redis_server, RedisOptions::throwaway())
            .await
            .unwrap();
        let (postgres, database_url, owner_url) = database_of(&setup, binaries, files.path()).await;
        let manychat =
            ManyChatSimulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), MANYCHAT_KEY)
                .await
                .unwrap();

        let mut vars: HashMap<String, String> = [
            ("DATABASE_URL", database_url),
            ("DATABASE_MAX_CONNECTIONS", "10".to_owned()),
            ("REDIS_URL", redis.url()),
            ("RELAIS_MASTER_KEY", MASTER_KEY.to_owned()),
            ("JWT_SECRET", JWT_SECRET.to_owned()),
            // Tests of limits set their own; no other shall meet one.
            ("RATE_LIMIT_REQUESTS", "1000000".to_owned()),
            ("RATE_LIMIT_SIGN_INS", "1000000".to_owned()),
            ("RATE_LIMIT_SIGN_INS_PER_IDENTITY", "1000000".to_owned()),
            ("RELAIS_BIND", "127.0.0.1:0".to_owned()),
            ("RELAIS_DATA_DIR", files.path().display().to_string()),
            (
                "RELAIS_BURST_QUIET_MS",
                setup.burst_quiet.as_millis().to_string(),
            ),
            ("RELAIS_SHUTDOWN_GRACE_SECONDS", "5".to_owned()),
            ("MANYCHAT_BASE_URL", manychat.base_url()),
            (
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned()),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        vars.extend(setup.vars.iter().cloned());
        let config = Config::from_vars(vars.clone()).unwrap();

        let clock = Clock::default();
        let pool = database::connect_lazy(&config.stores.database_url, 5).unwrap();
        let owner = database::connect_lazy(&owner_url.into(), 3).unwrap();
        let mut platform = Self {
            business: seed_business(&pool, &config, &clock, "Café du Relais").await,
            config,
            vars,
            clock,
            pool,
            owner,
            redis,
            postgres,
            manychat,
            ingresses: Vec::new(),
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .build()
                .unwrap(),
            stop: CancellationToken::new(),
            services: Vec::new(),
            _files: files,
            setup,
        };
        platform.lift_plans().await;
        platform.start_services().await;
        platform
    }

    /// What a plan allows is for the tests of limits: they set it themselves.
    async fn lift_plans(&self) {
        sqlx::query("UPDATE plans SET requests_per_minute = 1000000")
            .execute(&self.owner)
            .await
            .unwrap();
    }

    async fn start_services(&mut self) {
        for _ in 0..self.setup.ingresses {
            let started =
                ingress::start(self.config.clone(), self.clock.clone(), self.stop.clone()).await;
            let (address, served) = started.unwrap();
            self.ingresses.push(address);
            self.services.push(served);
        }
        if self.setup.workers {
            let (config, concurrency, clock) = (
                self.config.clone(),
                self.setup.concurrency.clone(),
                self.clock.clone(),
            );
            let (extractor, stop) = (self.extractor(), self.stop.clone());
            self.services.push(tokio::spawn(async move {
                workers::run(&config, &concurrency, extractor, clock, stop)
                    .await
                    .unwrap();
            }));
        }
        if self.setup.scheduler {
            let (config, clock, stop) =
                (self.config.clone(), self.clock.clone(), self.stop.clone());
            self.services.push(tokio::spawn(async move {
                scheduler::run(&config, clock, stop).await.unwrap();
            }));
        }
    }

    /// Reads documents with the program under test.
    pub fn extractor(&self) -> Extractor {
        Extractor::new(self.setup.program.clone(), ["extract"])
    }

    /// Starts a service as a process of its own: `workers`, `scheduler`, with its arguments.
    pub fn spawn(&self, args: &[&str]) -> Process {
        self.spawn_with(args, &[])
    }

    /// [`Self::spawn`], with more environment.
    pub fn spawn_with(&self, args: &[&str], vars: &[(&str, &str)]) -> Process {
        let log = std::env::var_os("RUST_LOG").map_or_else(Stdio::null, |_| Stdio::inherit());
        let mut command = Command::new(&self.setup.program);
        command
            .args(args)
            .env_clear()
            .envs(&self.vars)
            .envs(vars.iter().copied());
        Process(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Another business on the same platform.
    pub async fn another_business(&self, name: &str) -> Seeded {
        seed_business(&self.pool, &self.config, &self.clock, name).await
    }

    /// A request of whoever has `token`.
    pub async fn send(
        &self,
        token: &SecretString,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Response {
        let method = method.parse().unwrap();
        let request = self.as_bearer(token, method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.unwrap()
    }

    /// Stops the services and waits for them.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for service in self.services.drain(..) {
            service.await.unwrap();
        }
    }

    /// The URL of `path` at the first ingress.
    pub fn url(&self, path: &str) -> String {
        self.url_of(0, path)
    }

    /// The URL of `path` at ingress number `ingress`.
    pub fn url_of(&self, ingress: usize, path: &str) -> String {
        format!("http://{}{path}", self.ingresses[ingress])
    }

    /// What ManyChat sends for the first business, to the first ingress.
    pub async fn webhook(&self, body: &Value) -> Response {
        self.webhook_to(0, &self.business, body).await
    }

    /// What ManyChat sends for `business`, to ingress number `ingress`.
    pub async fn webhook_to(&self, ingress: usize, business: &Seeded, body: &Value) -> Response {
        let url = format!("http://{}/api/v1/webhook/manychat", self.ingresses[ingress]);
        let secret = business.webhook_secret.expose_secret();
        self.http
            .post(url)
            .header("X-Webhook-Secret", secret)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// A contact's message, acknowledged.
    pub async fn say(&self, subscriber_id: u64, text: &str) {
        let body =
            json!({ "subscriber_id": subscriber_id, "text": text, "message_id": Uuid::now_v7() });
        assert_eq!(self.webhook(&body).await.status(), 200);
    }

    /// `GET path` as the first business.
    pub async fn get(&self, path: &str) -> Response {
        self.get_as(&self.business, path).await
    }

    /// `GET path` as `business`.
    pub async fn get_as(&self, business: &Seeded, path: &str) -> Response {
        self.http
            .get(self.url(path))
            .bearer_auth(business.api_key.expose_secret())
            .send()
            .await
            .unwrap()
    }

    /// The body of `GET path` as the first business.
    pub async fn get_json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "GET {path}");
        response.json().await.unwrap()
    }

    /// `POST path` with `body` as the first business.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        let key = self.business.api_key.expose_secret();
        self.http
            .post(self.url(path))
            .bearer_auth(key)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// Uploads a file as `business`.
    pub async fn upload_as(&self, business: &Seeded, filename: &str, bytes: Vec<u8>) -> Response {
        let boundary = format!("relais-{}", Uuid::now_v7().simple());
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend(bytes);
        body.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        self.http
            .post(self.url("/api/v1/documents/upload"))
            .bearer_auth(business.api_key.expose_secret())
            .header(
                "Content-Type",
                format!("multipart/form-data; boundary={boundary}"),
            )
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Uploads a file as the first business and waits until it is processed or failed; the document.
    pub async fn ingest(&self, filename: &str, bytes: Vec<u8>) -> Value {
        self.ingest_as(&self.business, filename, bytes).await
    }

    /// Uploads a file as `business` and waits until it is processed or failed; the document.
    pub async fn ingest_as(&self, business: &Seeded, filename: &str, bytes: Vec<u8>) -> Value {
        let response = self.upload_as(business, filename, bytes).await;
        assert_eq!(response.status(), 202);
        let document: Value = response.json().await.unwrap();
        let path = format!("/api/v1/documents/{}", document["id"].as_str().unwrap());
        eventually("the document is read", async || {
            let document: Value = self.get_as(business, &path).await.json().await.unwrap();
            (document["status"] != "pending").then_some(document)
        })
        .await
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A service's process; killed when dropped.
pub struct Process(Child);

impl Process {
    /// A service that was started otherwise.
    pub fn of(child: Child) -> Self {
        Self(child)
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to stop, as `kill` does, and waits for it.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.0.wait().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Looks until `look` finds something.
///
/// # Panics
///
/// When it has not after [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within {PATIENCE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn seed_business(pool: &PgPool, config: &Config, clock: &Clock, name: &str) -> Seeded {
    let sealer = Sealer::new(&config.secrets).unwrap();
    seed::business(
        pool,
        clock,
        &sealer,
        name,
        Language::French,
        "vip",
        Some(&MANYCHAT_KEY.into()),
    )
    .await
    .unwrap()
}

/// The PostgreSQL all tests of this process share. Its runtime lives as long as the process.
struct Shared {
    postgres: Postgres,
    binaries: Binaries,
    app_password: SecretString,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let binaries = stores::locate().await.unwrap();
                let postgres =
                    Postgres::start(&binaries.postgres_bin, PostgresOptions::throwaway())
                        .await
                        .unwrap();
                let app_password = make_template(&postgres).await;
                sender
                    .send(Shared {
                        postgres,
                        binaries,
                        app_password,
                    })
                    .ok();
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().expect("PostgreSQL for the tests starts")
    })
}

fn binaries() -> &'static Binaries {
    &shared().binaries
}

/// A migrated database to copy; answers the password of the services' role.
async fn make_template(postgres: &Postgres) -> SecretString {
    execute(
        &postgres.owner_url("postgres"),
        "CREATE DATABASE template_relais",
    )
    .await;
    let owner_url = SecretString::from(postgres.owner_url("template_relais"));
    database::migrate::migrate(&owner_url).await.unwrap();
    let password = SecretString::from(secret::random_token());
    database::migrate::set_app_password(&owner_url, &password)
        .await
        .unwrap();
    password
}

async fn database_of(
    setup: &Setup,
    binaries: &Binaries,
    files: &Path,
) -> (Option<Postgres>, String, String) {
    if setup.own_postgres {
        let options = PostgresOptions::kept(files.join("postgres"));
        let postgres = Postgres::start(&binaries.postgres_bin, options)
            .await
            .unwrap();
        let password = make_template(&postgres).await;
        let app_url = postgres.url_for("relais_app", password.expose_secret(), "template_relais");
        let owner_url = postgres.owner_url("template_relais");
        return (Some(postgres), app_url, owner_url);
    }
    let shared = shared();
    let name = format!("test_{}", Uuid::now_v7().simple());
    // The template must have no session while it is copied: copies are made one at a time by PostgreSQL itself.
    let copy = format!("CREATE DATABASE {name} TEMPLATE template_relais STRATEGY file_copy");
    execute(&shared.postgres.owner_url("postgres"), &copy).await;
    let app_url = shared
        .postgres
        .url_for("relais_app", shared.app_password.expose_secret(), &name);
    (None, app_url, shared.postgres.owner_url(&name))
}

async fn execute(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}
