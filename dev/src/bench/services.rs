//! The services under test, each a process of its own.

use std::net::SocketAddr;
use std::time::Duration;

use common::queue::pools;
use tokio::time::Instant;

use super::Failure;
use super::usage::{cpu_seconds, peak_mb, resident_mb};
use crate::testing::{PATIENCE, Platform, Process};

/// A service that answers.
pub(super) struct Service {
    process: Process,
    /// Where it answers: the ingress everything, the others for their health.
    pub(super) address: SocketAddr,
    /// From its start to its first answer to `/health`.
    pub(super) started_in: Duration,
}

impl Service {
    /// Starts `relais` with `args`, and waits until it answers.
    pub(super) async fn start(platform: &Platform, args: &[&str]) -> Result<Self, Failure> {
        let address = free_address()?;
        let bind = address.to_string();
        // Workers and scheduler answer at the address of their operations.
        let variable = match args {
            ["workers" | "scheduler", ..] => "RELAIS_OPERATIONS_BIND",
            _ => "RELAIS_BIND",
        };
        let health = format!("http://{address}/health");
        let started = Instant::now();
        let mut process = platform.spawn_with(args, &[(variable, &bind)]);
        let is_up = async || {
            let answer = platform.http.get(&health).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        while !is_up().await {
            if !process.is_running() || started.elapsed() > PATIENCE {
                return Err(format!("`relais {}` does not start", args.join(" ")).into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let started_in = started.elapsed();
        Ok(Self {
            process,
            address,
            started_in,
        })
    }

    /// Starts workers for `queues` (as `--queues` has them), and waits until the dispatcher can know of them.
    pub(super) async fn workers(platform: &Platform, queues: &str) -> Result<Self, Failure> {
        let service = Self::start(platform, &["workers", "--queues", queues]).await?;
        let redis = common::redis::connect(&platform.config.stores.redis_url)?;
        let deadline = Instant::now() + PATIENCE;
        while pools::list(&redis)
            .await
            .is_ok_and(|pools| pools.is_empty())
        {
            if Instant::now() > deadline {
                return Err("the workers do not announce themselves".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(service)
    }

    /// CPU time so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64, Failure> {
        cpu_seconds(self.process.id())
    }

    /// Memory now, in MB.
    pub(super) fn resident_mb(&self) -> Result<f64, Failure> {
        resident_mb(self.process.id())
    }

    /// Memory at its peak, in MB.
    pub(super) fn peak_mb(&self) -> Result<f64, Failure> {
        peak_mb(self.process.id())
    }

    /// Asks it to stop, and waits until it has.
    pub(super) fn stop(mut self) {
        self.process.terminate();
    }
}

/// An address on which nothing listens.
pub(super) fn free_address() -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.local_addr()
}
