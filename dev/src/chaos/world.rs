//! A whole Relais to break: servers of its own, proxies in front of them, processes, and an outside world that keeps count.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use common::database::businesses;
use common::faults::{self, Mutant};
use common::{Clock, database};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::facts::Policy;
use super::history::History;
use super::load::Sender;
use super::processes::{Processes, Role};
use super::proxy::Proxy;
use super::samples::Samples;
use super::watch::{self, Held};
use crate::seed::Seeded;
use crate::simulators::openai::OpenAiSimulator;
use crate::testing::{Platform, Setup};

/// The key of the model's simulator.
const MODEL_KEY: &str = "sk-chaos-simulator";

/// How long a call of the model or the channel may be silent: short, so that a fault ends soon.
pub const PROVIDER_TIMEOUT: TimeDelta = TimeDelta::seconds(2);

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `relais` program.
    pub program: PathBuf,
    /// A PostgreSQL of its own, that keeps its promises at a crash.
    pub own_postgres: bool,
    /// The businesses' policies, one each.
    pub policies: Vec<Policy>,
    /// How many of each role.
    pub processes: Vec<(Role, usize)>,
    /// Further environment.
    pub vars: Vec<(String, String)>,
    /// Seconds between the ticks of the probes.
    pub probe_seconds: u32,
    /// How long the model takes.
    pub pace: Duration,
    /// Where the processes' logs go; `None`: nowhere.
    pub logs: Option<PathBuf>,
}

impl Plan {
    /// Two businesses, and two of every process.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            own_postgres: false,
            policies: vec![Policy::AtLeastOnce, Policy::AtMostOnce],
            processes: vec![(Role::Ingress, 2), (Role::Worker, 2), (Role::Scheduler, 2)],
            vars: Vec::new(),
            probe_seconds: 2,
            pace: Duration::from_millis(60),
            logs: None,
        }
    }

    /// With a defect.
    #[must_use]
    pub fn with(mut self, mutant: Option<Mutant>) -> Self {
        let planted = mutant.map(|mutant| (faults::MUTANT.to_owned(), mutant.as_str().to_owned()));
        self.vars.extend(planted);
        self
    }
}

/// A running Relais.
pub struct World {
    /// Stores, channel, and the harness's own way into the database.
    pub platform: Platform,
    /// The model.
    pub model: OpenAiSimulator,
    /// In front of PostgreSQL.
    pub postgres: Proxy,
    /// In front of Redis.
    pub redis: Proxy,
    /// The processes.
    pub processes: Processes,
    /// The businesses, and what they want.
    pub businesses: Vec<(Seeded, Policy)>,
    /// The record.
    pub history: History,
    /// Memory over time.
    pub samples: Samples,
    /// What killed workers held.
    pub held: Arc<Mutex<Vec<Held>>>,
    /// Seconds between ticks.
    pub probe_seconds: u32,
    watching: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl World {
    /// Starts it, and waits until it takes messages.
    pub async fn start(plan: Plan) -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        let model = OpenAiSimulator::start(localhost(0), "/:source/v1", MODEL_KEY)
            .await
            .map_err(told)?;
        model.set_pace(plan.pace);
        let timeout = PROVIDER_TIMEOUT.num_seconds().to_string();
        let mut vars: Vec<(String, String)> = [
            ("CHAT_PROVIDERS", "openai"),
            ("OPENAI_API_KEY", MODEL_KEY),
            ("MODEL_TIMEOUT_SECONDS", timeout.as_str()),
            ("MANYCHAT_TIMEOUT_SECONDS", timeout.as_str()),
            (faults::PROBE_SECONDS, &plan.probe_seconds.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if plan.logs.is_some() {
            vars.push((
                "RUST_LOG".to_owned(),
                "info,common=debug,workers=debug,scheduler=debug,ingress=debug".to_owned(),
            ));
        }
        vars.extend(plan.vars.iter().cloned());
        let setup = Setup {
            program: plan.program.clone(),
            ingresses: 0,
            workers: false,
            scheduler: false,
            own_postgres: plan.own_postgres,
            vars,
            ..Setup::new("")
        };
        let platform = setup.start().await;
        let mut vars: BTreeMap<String, String> = platform.vars.clone().into_iter().collect();
        let postgres = gate(&mut vars, "DATABASE_URL").await?;
        let redis = gate(&mut vars, "REDIS_URL").await?;
        let history = History::default();
        let businesses = found(&platform, &plan.policies).await?;
        let model_url = model.base_url().to_owned();
        let mut processes = Processes::new(
            plan.program.clone(),
            vars,
            model_url,
            history.clone(),
            plan.logs.clone(),
        )?;
        for (role, count) in &plan.processes {
            for _ in 0..*count {
                processes.add(*role)?;
            }
        }
        let world = Self {
            samples: Samples::new(platform.redis.url()),
            watching: tokio::spawn(watch::the_machine(history.clone())),
            held: Arc::default(),
            probe_seconds: plan.probe_seconds,
            platform,
            model,
            postgres,
            redis,
            processes,
            businesses,
            history,
        };
        world.ready().await?;
        Ok(world)
    }

    async fn ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        for address in self.processes.addresses() {
            let url = format!("http://{address}/health");
            while self.platform.http.get(&url).send().await.is_err() {
                if Instant::now() > deadline {
                    return Err(format!("no ingress at {address} within 20 s"));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Whoever writes to this world.
    pub fn sender(&self) -> Result<Sender, String> {
        let businesses = self.businesses.iter().map(|(it, _)| it.clone()).collect();
        Sender::new(self.processes.addresses(), businesses, self.history.clone())
    }

    /// Kills a process, and watches what it held if it is a worker.
    pub async fn kill(&mut self, name: &str) {
        if let Some(pid) = self.processes.kill(name) {
            self.watch_held(name, pid).await;
        }
    }

    /// Waits until a process has died of a planted death; whether it has.
    pub async fn died(&mut self, name: &str, patience: Duration) -> bool {
        let Some(pid) = self.processes.died(name, patience).await else {
            return false;
        };
        self.watch_held(name, pid).await;
        true
    }

    /// Notes what the dead worker held, and when each of it moves.
    async fn watch_held(&self, name: &str, pid: u32) {
        let killed_at = self.history.now();
        let running =
            "SELECT id, kind, attempt FROM jobs WHERE state = 'running' AND worker LIKE $1";
        let rows: Vec<(uuid::Uuid, String, i32)> = sqlx::query_as(running)
            .bind(format!("{pid}-%"))
            .fetch_all(&self.platform.owner)
            .await
            .unwrap_or_default();
        for (job, kind, attempt) in rows {
            let held = Held {
                job,
                kind,
                attempt,
                process: name.to_owned(),
                killed_at,
                moved_at: None,
            };
            let number = {
                let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(held);
                all.len() - 1
            };
            let (pool, all) = (self.platform.owner.clone(), Arc::clone(&self.held));
            tokio::spawn(watch::until_it_moves(
                pool,
                self.history.clone(),
                all,
                number,
            ));
        }
    }

    /// What killed workers held so far, as far as it was watched.
    pub fn held(&self) -> Vec<Held> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A proxy in front of the store that `vars` name, which name the proxy from now on.
async fn gate(vars: &mut BTreeMap<String, String>, name: &str) -> Result<Proxy, String> {
    let told = |error: &dyn std::fmt::Display| format!("no proxy for {name}: {error}");
    let url = vars.get(name).ok_or_else(|| told(&"it is not set"))?;
    let mut url = reqwest::Url::parse(url).map_err(|error| told(&error))?;
    let port = url.port().ok_or_else(|| told(&"it has no port"))?;
    let proxy = Proxy::start(localhost(port))
        .await
        .map_err(|error| told(&error))?;
    url.set_port(Some(proxy.port()))
        .map_err(|()| told(&"its port cannot be set"))?;
    vars.insert(name.to_owned(), url.into());
    Ok(proxy)
}

fn localhost(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Businesses with these policies; the first one is the platform's own.
async fn found(platform: &Platform, policies: &[Policy]) -> Result<Vec<(Seeded, Policy)>, String> {
    let mut businesses = Vec::new();
    for (number, policy) in policies.iter().enumerate() {
        let seeded = if number == 0 {
            platform.business.clone()
        } else {
            platform
                .another_business(&format!("Business {number}"))
                .await
        };
        let chosen = match policy {
            Policy::AtLeastOnce => "at_least_once",
            Policy::AtMostOnce => "at_most_once",
        };
        let set = async {
            let id = seeded.business_id;
            let mut tx = database::business(&platform.pool, id).await?;
            businesses::set_delivery_policy(&mut tx, id, chosen, Clock::default().now()).await?;
            tx.commit().await?;
            Ok::<_, common::Error>(())
        };
        set.await.map_err(|error| error.to_string())?;
        businesses.push((seeded, *policy));
    }
    Ok(businesses)
}
