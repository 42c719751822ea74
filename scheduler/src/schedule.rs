//! One table of what is due by the clock.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::database;
use common::domain::JobId;
use common::faults::{self, Mutant};
use common::queue::jobs::{EraseBusinesses, FitVectorIndexes, Probe, PurgeJobs, PurgeSignIns};
use common::queue::{self, Job, NewJob};

use crate::Context;

/// A job enqueued at each multiple of `every`, counted from midnight UTC.
pub struct Schedule {
    /// Its name: the first part of each tick's key.
    pub name: &'static str,
    /// How often.
    pub every: TimeDelta,
    /// The job.
    job: fn() -> NewJob,
}

/// Everything that is due by the clock.
pub const SCHEDULES: [Schedule; 4] = [
    Schedule {
        name: "purge_jobs",
        every: TimeDelta::hours(1),
        job: || new(&PurgeJobs {}),
    },
    Schedule {
        name: "fit_vector_indexes",
        every: TimeDelta::minutes(5),
        job: || new(&FitVectorIndexes {}),
    },
    Schedule {
        name: "purge_sign_ins",
        every: TimeDelta::hours(1),
        job: || new(&PurgeSignIns {}),
    },
    Schedule {
        name: "erase_businesses",
        every: TimeDelta::hours(1),
        job: || new(&EraseBusinesses {}),
    },
];

fn new<J: Job>(job: &J) -> NewJob {
    NewJob::new(job)
}

/// The schedule by which the chaos harness counts ticks; in a release there is none.
fn probes() -> Option<Schedule> {
    let job = || new(&Probe::default());
    faults::probe_every().map(|every| Schedule {
        name: "probe",
        every,
        job,
    })
}

/// How long enqueuing a tick may take before it is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it sleeps at most: the clock may be set, and a failed tick is tried again by then.
const LONGEST_REST: Duration = Duration::from_secs(10);

impl Schedule {
    /// The last tick at or before `now`.
    pub fn tick_before(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let every = self.every.num_seconds().max(1);
        DateTime::from_timestamp(now.timestamp().div_euclid(every) * every, 0).unwrap_or(now)
    }

    /// The key of a tick's job: however many schedulers enqueue it, it is one.
    pub fn key(&self, tick: DateTime<Utc>) -> String {
        format!("{}@{}", self.name, tick.timestamp())
    }
}

/// Enqueues ticks for ever. A tick missed while no scheduler ran is made up for, once.
pub(crate) async fn run(context: Context) {
    let schedules: Vec<Schedule> = SCHEDULES.into_iter().chain(probes()).collect();
    let mut done = vec![DateTime::<Utc>::MIN_UTC; schedules.len()];
    loop {
        let now = context.clock.now();
        let mut rest = LONGEST_REST;
        for (schedule, done) in schedules.iter().zip(&mut done) {
            let tick = schedule.tick_before(now);
            // Not only later ones: the clock may be set back, over ticks that were left out when it was set ahead.
            if tick != *done {
                match database::within(PATIENCE, enqueue(&context, schedule, tick)).await {
                    Ok(()) => *done = tick,
                    Err(error) => {
                        tracing::warn!(%error, schedule = schedule.name, "a tick was not enqueued");
                    }
                }
            }
            let next = (tick + schedule.every - now).to_std().unwrap_or_default();
            rest = rest.min(next);
        }
        tokio::time::sleep(rest.max(Duration::from_millis(50))).await;
    }
}

async fn enqueue(
    context: &Context,
    schedule: &Schedule,
    tick: DateTime<Utc>,
) -> common::Result<()> {
    let mut key = schedule.key(tick);
    if faults::planted(Mutant::RandomTickKey) {
        key = format!("{key}:{}", JobId::new());
    }
    let job = (schedule.job)().with_key(key);
    let mut tx = database::platform(&context.pool).await?;
    let enqueued = queue::enqueue(&mut tx, &job, context.clock.now()).await?;
    tx.commit().await?;
    if let Some(enqueued) = enqueued {
        tracing::info!(schedule = schedule.name, job.id = %enqueued.id, "tick");
        context.dispatch.push(&[enqueued]).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_fall_on_multiples_counted_from_midnight() {
        let schedule = Schedule {
            name: "test",
            every: TimeDelta::minutes(15),
            job: || new(&PurgeJobs {}),
        };
        let now: DateTime<Utc> = "2026-11-21T10:44:59.9Z".parse().unwrap();
        assert_eq!(
            schedule.tick_before(now).to_rfc3339(),
            "2026-11-21T10:30:00+00:00"
        );
        assert_eq!(
            schedule
                .tick_before(now + TimeDelta::seconds(1))
                .to_rfc3339(),
            "2026-11-21T10:45:00+00:00"
        );
    }
}
