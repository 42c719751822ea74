//! The processes of Relais under test: started, killed, frozen, and on record.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono::TimeDelta;
use common::faults::{self, Point};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::history::{Event, History};
use crate::testing::Process;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes messages.
    Ingress,
    /// Answers them.
    Worker,
    /// Dispatches, frees, ticks.
    Scheduler,
}

impl Role {
    /// Its name, the first part of its processes' names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Worker => "worker",
            Self::Scheduler => "scheduler",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ingress => &["ingress"],
            Self::Worker => &[
                "workers",
                "--queues",
                "chat=24,delivery=16,documents=1,maintenance=2",
            ],
            Self::Scheduler => &["scheduler"],
        }
    }
}

/// A process that should run.
struct Member {
    role: Role,
    /// Where it listens.
    address: Option<SocketAddr>,
    process: Option<Process>,
}

/// All processes under test, by name.
pub struct Processes {
    program: PathBuf,
    vars: BTreeMap<String, String>,
    model_url: String,
    history: History,
    logs: Option<PathBuf>,
    /// A file a process, which sets its clock.
    clocks: tempfile::TempDir,
    members: BTreeMap<String, Member>,
}

impl Processes {
    /// None yet. `vars` are the environment of all; in `model_url`, `:source` becomes a process's name.
    pub fn new(
        program: PathBuf,
        vars: BTreeMap<String, String>,
        model_url: String,
        history: History,
        logs: Option<PathBuf>,
    ) -> Result<Self, String> {
        let clocks = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self {
            clocks,
            program,
            vars,
            model_url,
            history,
            logs,
            members: BTreeMap::new(),
        })
    }

    /// Adds and starts one more of `role`; its name.
    pub fn add(&mut self, role: Role) -> Result<String, String> {
        let count = self.names(role).len();
        let name = format!("{}-{}", role.as_str(), count + 1);
        let address = match role {
            Role::Ingress => Some(free_address()?),
            Role::Worker | Role::Scheduler => None,
        };
        let member = Member {
            role,
            address,
            process: None,
        };
        self.members.insert(name.clone(), member);
        self.start(&name, None)?;
        Ok(name)
    }

    /// Starts one that does not run; with a `death`, it kills itself at that passing of that point.
    pub fn start(&mut self, name: &str, death: Option<(Point, u32)>) -> Result<(), String> {
        let member = self.members.get_mut(name).ok_or("no such process")?;
        let mut command = Command::new(&self.program);
        command
            .args(member.role.arguments())
            .env_clear()
            .envs(&self.vars)
            .env("OPENAI_BASE_URL", self.model_url.replace(":source", name))
            .env(faults::CLOCK, self.clocks.path().join(name));
        if let Some(address) = member.address {
            command.env("RELAIS_BIND", address.to_string());
        }
        if let Some((point, passing)) = death {
            command.env(faults::KILL, format!("{}:{passing}", point.as_str()));
        }
        let log = match &self.logs {
            Some(folder) => {
                let log = File::options()
                    .create(true)
                    .append(true)
                    .open(folder.join(format!("{name}.log")));
                log.map_err(|error| format!("no log: {error}"))?.into()
            }
            None => Stdio::null(),
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command
            .spawn()
            .map_err(|error| format!("{name} does not start: {error}"))?;
        let pid = child.id();
        member.process = Some(Process::of(child));
        self.history.record(Event::Started {
            process: name.to_owned(),
            pid,
        });
        Ok(())
    }

    /// Kills it as `kill -9` does; its process id.
    pub fn kill(&mut self, name: &str) -> Option<u32> {
        let mut process = self.members.get_mut(name)?.process.take()?;
        let pid = process.id();
        process.kill();
        self.history.record(Event::Killed {
            process: name.to_owned(),
        });
        Some(pid)
    }

    /// Waits until it has died of itself; its process id, or none if it still lives after `patience`.
    pub async fn died(&mut self, name: &str, patience: Duration) -> Option<u32> {
        let deadline = Instant::now() + patience;
        let member = self.members.get_mut(name)?;
        let process = member.process.as_mut()?;
        while process.is_running() {
            if Instant::now() > deadline {
                return None;
            }
            sleep(Duration::from_millis(5)).await;
        }
        let pid = process.id();
        member.process = None;
        self.history.record(Event::Killed {
            process: name.to_owned(),
        });
        Some(pid)
    }

    /// Freezes it.
    pub fn stop(&self, name: &str) {
        if self.signal(name, Signal::STOP) {
            self.history.record(Event::Stopped {
                process: name.to_owned(),
            });
        }
    }

    /// Ends a [`Self::stop`].
    pub fn go_on(&self, name: &str) {
        if self.signal(name, Signal::CONT) {
            self.history.record(Event::Continued {
                process: name.to_owned(),
            });
        }
    }

    /// Makes its clock wrong by so much; zero: right again.
    pub fn set_clock(&self, name: &str, error: TimeDelta) -> Result<(), String> {
        let file = self.clocks.path().join(name);
        std::fs::write(file, error.num_milliseconds().to_string())
            .map_err(|error| format!("the clock of {name} is not set: {error}"))
    }

    fn signal(&self, name: &str, signal: Signal) -> bool {
        let process = self.members.get(name).and_then(|it| it.process.as_ref());
        process.map(|process| process.signal(signal)).is_some()
    }

    /// The names of those of `role`, running or not.
    pub fn names(&self, role: Role) -> Vec<String> {
        let of_role = self.members.iter().filter(|(_, it)| it.role == role);
        of_role.map(|(name, _)| name.clone()).collect()
    }

    /// Names and ids of those that run.
    pub fn running(&self) -> Vec<(String, u32)> {
        let with_process = |(name, member): (&String, &Member)| {
            Some((name.clone(), member.process.as_ref()?.id()))
        };
        self.members.iter().filter_map(with_process).collect()
    }

    /// Those that ended though nobody wanted them to.
    pub fn fallen(&mut self) -> Vec<String> {
        let fallen = |(name, member): (&String, &mut Member)| {
            let process = member.process.as_mut()?;
            (!process.is_running()).then(|| name.clone())
        };
        self.members.iter_mut().filter_map(fallen).collect()
    }

    /// Where the ingresses listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.values().filter_map(|it| it.address).collect()
    }
}

/// An address on which nothing listens, below what the system gives to outgoing connections: it stays free while its
/// process is dead.
fn free_address() -> Result<SocketAddr, String> {
    (0..1_000)
        .map(|_| SocketAddr::from(([127, 0, 0, 1], rand::random_range(10_000..20_000))))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .ok_or_else(|| "no port is free".to_owned())
}
