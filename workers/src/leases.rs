//! Holding the leases of what runs: one statement renews them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use common::database::Lines;
use common::database::jobs::run::{self, ClaimedJob};
use common::faults::{self, Mutant};
use common::{database, queue};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::runner::RENEW_EVERY;

#[derive(Debug)]
struct Held {
    attempt: i32,
    /// When it was claimed or last renewed: the lease counts from then.
    since: Instant,
    lost: CancellationToken,
}

type Table = Mutex<HashMap<Uuid, Held>>;

/// The leases of this process.
#[derive(Clone)]
pub struct Leases {
    table: Arc<Table>,
}

impl Leases {
    /// Begins to renew the leases of `worker`, until the last clone is dropped.
    pub fn keep(lines: Lines, worker: String) -> Self {
        let table: Arc<Table> = Arc::default();
        tokio::spawn(renew(Renewal { lines, worker }, Arc::downgrade(&table)));
        Self { table }
    }

    /// Whether the lease of `job`, as claimed or last renewed, cannot have run out yet.
    pub fn is_fresh(&self, job: &ClaimedJob) -> bool {
        if faults::planted(Mutant::NoFence) {
            return true;
        }
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .get(&job.id.0)
            .is_some_and(|held| held.attempt == job.attempt && held.since.elapsed() < queue::LEASE)
    }

    /// Holds the lease of `job` while the answer lives.
    pub fn hold(&self, job: &ClaimedJob) -> Lease {
        let lost = CancellationToken::new();
        let held = Held {
            attempt: job.attempt,
            since: job.asked_at,
            lost: lost.clone(),
        };
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(job.id.0, held);
        Lease {
            id: job.id.0,
            attempt: job.attempt,
            lost,
            table: Arc::clone(&self.table),
        }
    }
}

/// A lease that is renewed while this lives.
pub struct Lease {
    id: Uuid,
    attempt: i32,
    lost: CancellationToken,
    table: Arc<Table>,
}

impl Lease {
    /// Resolves when the job is somebody else's, was called off, or ended.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // A later attempt of the same job in this process has an entry of its own.
        if table
            .get(&self.id)
            .is_some_and(|held| held.attempt == self.attempt)
        {
            table.remove(&self.id);
        }
    }
}

struct Renewal {
    lines: Lines,
    worker: String,
}

async fn renew(renewal: Renewal, table: Weak<Table>) {
    let mut tick = tokio::time::interval(RENEW_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(table) = table.upgrade() else { return };
        // Most jobs end before their lease needs care.
        let due: Vec<(Uuid, i32)> = {
            let table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table
                .iter()
                .filter(|(_, held)| held.since.elapsed() >= RENEW_EVERY)
                .map(|(id, held)| (*id, held.attempt))
                .collect()
        };
        if due.is_empty() {
            continue;
        }
        let asked = Instant::now();
        match database::within(queue::LEASE, renewal.run(&due)).await {
            Ok(kept) => {
                let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
                for (id, attempt) in due {
                    match table.get_mut(&id).filter(|held| held.attempt == attempt) {
                        Some(held) if kept.contains(&id) => held.since = asked,
                        Some(held) if !faults::planted(Mutant::NoFence) => held.lost.cancel(),
                        _ => {}
                    }
                }
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "leases not renewed"
            ),
        }
    }
}

impl Renewal {
    async fn run(&self, jobs: &[(Uuid, i32)]) -> common::Result<Vec<Uuid>> {
        let mut tx = self.lines.platform_relaxed().await?;
        let kept = run::renew(&mut tx, jobs, &self.worker).await?;
        tx.commit().await?;
        Ok(kept)
    }
}
