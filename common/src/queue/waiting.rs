//! Why a job waits, in words: for its owner, who learns nothing of others, and for operators.

use std::collections::HashMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fred::clients::Client;
use sqlx::PgPool;
use uuid::Uuid;

use super::{QueueName, kinds, pools};
use crate::database::jobs::waiting::{self, AHEAD_COUNTED, WaitingJob};
use crate::database::{self, jobs::JobState};
use crate::domain::{BusinessId, JobId};
use crate::error::Result;

/// How long a due job may lie untouched where a dispatcher runs: several of its longest rests.
const DISPATCHED_WITHIN: TimeDelta = TimeDelta::seconds(3);

/// Something that keeps a job from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No program of this version knows what it is.
    UnknownKind(String),
    /// Its time has not come.
    NotDue(DateTime<Utc>),
    /// A person holds its queue back.
    Paused {
        /// Which.
        queue: String,
        /// Since when.
        since: DateTime<Utc>,
        /// Why; `None`: that is the operators' business.
        reason: Option<String>,
    },
    /// No worker process serves its queue.
    Unserved(String),
    /// Redis does not answer, and nothing is offered without it.
    RedisAway,
    /// Its business has its share of the workers.
    ShareTaken {
        /// Jobs of its business that run.
        running: i64,
    },
    /// The workers have been told of it.
    Offered,
    /// All of this many slots of its queue are busy.
    AllBusy(usize),
    /// Others of its business come first; `None`: more than are counted.
    Behind(Option<i64>),
    /// It is due and nobody has offered it.
    NotDispatched {
        /// Since when it is due.
        since: DateTime<Utc>,
        /// Whether there was room for it.
        workers_idle: bool,
    },
    /// It is due just now.
    Next,
}

impl Reason {
    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownKind(_) => "unknown_kind",
            Self::NotDue(_) => "not_due",
            Self::Paused { .. } => "queue_paused",
            Self::Unserved(_) => "queue_unserved",
            Self::RedisAway => "redis_away",
            Self::ShareTaken { .. } => "share_taken",
            Self::Offered => "offered",
            Self::AllBusy(_) => "all_busy",
            Self::Behind(_) => "behind",
            Self::NotDispatched { .. } => "not_dispatched",
            Self::Next => "next",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        match self {
            Self::UnknownKind(kind) => write!(f, "no worker of this version knows its kind {kind}"),
            Self::NotDue(until) => write!(f, "not due until {}", at(until)),
            Self::Paused {
                queue,
                since,
                reason,
            } => {
                write!(f, "its queue {queue} is paused since {}", at(since))?;
                reason
                    .as_ref()
                    .map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::Unserved(queue) => write!(f, "no worker serves its queue {queue}"),
            Self::RedisAway => {
                f.write_str("Redis does not answer, and the workers hear of jobs through it")
            }
            Self::ShareTaken { running } => {
                write!(
                    f,
                    "{running} jobs of its business run already, which is its share"
                )
            }
            Self::Offered => f.write_str("offered to the workers and not taken yet"),
            Self::AllBusy(slots) => write!(f, "all {slots} slots of its queue are busy"),
            Self::Behind(Some(1)) => f.write_str("behind 1 earlier job of its business"),
            Self::Behind(Some(ahead)) => write!(f, "behind {ahead} earlier jobs of its business"),
            Self::Behind(None) => {
                write!(
                    f,
                    "behind more than {AHEAD_COUNTED} earlier jobs of its business"
                )
            }
            Self::NotDispatched {
                since,
                workers_idle,
            } => {
                write!(
                    f,
                    "due since {} and not offered to the workers yet",
                    at(since)
                )?;
                if *workers_idle {
                    f.write_str(", of whom some are idle: does a scheduler run?")?;
                }
                Ok(())
            }
            Self::Next => f.write_str("its turn has just come"),
        }
    }
}

/// Why a job waits: at least one reason, and what came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Which job.
    pub id: JobId,
    /// All that keeps it from running.
    pub reasons: Vec<Reason>,
    /// What its last attempt left: what it waits for, or what it met.
    pub before: Option<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<String> = self.reasons.iter().map(ToString::to_string).collect();
        f.write_str(&reasons.join("; "))?;
        self.before
            .as_ref()
            .map_or(Ok(()), |before| write!(f, " ({before})"))
    }
}

/// Explains those of `ids` that wait. With a business, to its owner; without, to an operator, as the platform.
pub async fn explain(
    pool: &PgPool,
    redis: &Client,
    business_id: Option<BusinessId>,
    ids: &[Uuid],
) -> Result<Vec<Explanation>> {
    let mut tx = match business_id {
        Some(business_id) => database::business(pool, business_id).await?,
        None => database::platform(pool).await?,
    };
    let jobs = waiting::list(&mut tx, business_id, ids).await?;
    tx.commit().await?;
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    // That Redis is away is a reason, not a failure.
    let slots = pools::slots(redis).await.ok();
    Ok(jobs
        .iter()
        .map(|job| explain_one(job, slots.as_ref(), business_id.is_some()))
        .collect())
}

/// `slots` by queue; `None`: Redis did not say.
fn explain_one(
    job: &WaitingJob,
    slots: Option<&HashMap<QueueName, usize>>,
    for_owner: bool,
) -> Explanation {
    let mut reasons = obstacles(job, slots, for_owner);
    if reasons.is_empty() {
        let slots = slots.and_then(|slots| slots.get(&job.queue.parse().ok()?).copied());
        reasons.push(turn(job, slots.unwrap_or(0)));
    }
    Explanation {
        id: job.id,
        reasons,
        before: before(job),
    }
}

/// What must change before the job can run.
fn obstacles(
    job: &WaitingJob,
    slots: Option<&HashMap<QueueName, usize>>,
    for_owner: bool,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if kinds::find(&job.kind).is_none() {
        reasons.push(Reason::UnknownKind(job.kind.clone()));
    }
    if job.run_at > job.now {
        reasons.push(Reason::NotDue(job.run_at));
    }
    if let Some(since) = job.paused_at {
        reasons.push(Reason::Paused {
            queue: job.queue.clone(),
            since,
            reason: job.paused.clone().filter(|_| !for_owner),
        });
    }
    let served = |slots: &HashMap<QueueName, usize>| {
        let queue = job.queue.parse().ok();
        queue.is_some_and(|queue| slots.contains_key(&queue))
    };
    match slots {
        None => reasons.push(Reason::RedisAway),
        Some(slots) if !served(slots) => reasons.push(Reason::Unserved(job.queue.clone())),
        Some(_) => {}
    }
    reasons
}

/// Whose turn it is, where nothing else keeps the job from running.
fn turn(job: &WaitingJob, slots: usize) -> Reason {
    let taken = |running: i64, of: usize| usize::try_from(running).is_ok_and(|n| n >= of);
    let all_busy = job.running_of_all.map(|running| taken(running, slots));
    if all_busy == Some(true) {
        Reason::AllBusy(slots)
    } else if job.dispatch_at > job.now {
        // Its creator is about to, or the dispatcher has.
        Reason::Offered
    } else if taken(job.running, pools::share(slots)) {
        Reason::ShareTaken {
            running: job.running,
        }
    } else if job.ahead > 0 {
        Reason::Behind((job.ahead <= AHEAD_COUNTED).then_some(job.ahead))
    } else if job.now - job.dispatch_at > DISPATCHED_WITHIN {
        Reason::NotDispatched {
            since: job.run_at,
            workers_idle: all_busy == Some(false),
        }
    } else {
        Reason::Next
    }
}

/// What its last attempt left.
fn before(job: &WaitingJob) -> Option<String> {
    if job.wait_reason.is_some() {
        return job.wait_reason.clone();
    }
    let error = job.last_error.as_deref()?;
    (job.state == JobState::Failed).then(|| {
        format!(
            "attempt {} of {} failed: {error}",
            job.attempt, job.max_attempts
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    /// Due for a second, and not offered yet.
    fn job() -> WaitingJob {
        WaitingJob {
            id: JobId::new(),
            queue: "chat".to_owned(),
            kind: "take_turn".to_owned(),
            state: JobState::Queued,
            attempt: 0,
            max_attempts: 8,
            run_at: now() - TimeDelta::seconds(1),
            dispatch_at: now() - TimeDelta::seconds(1),
            wait_reason: None,
            last_error: None,
            paused: None,
            paused_at: None,
            running: 0,
            ahead: 0,
            running_of_all: Some(0),
            now: now(),
        }
    }

    fn told(job: &WaitingJob) -> String {
        let slots = HashMap::from([(QueueName::Chat, 10)]);
        explain_one(job, Some(&slots), false).to_string()
    }

    #[test]
    fn a_job_that_is_not_due_says_until_when_and_what_delays_it() {
        let failed = WaitingJob {
            run_at: now() + TimeDelta::seconds(30),
            state: JobState::Failed,
            attempt: 2,
            last_error: Some("openai is rate limited".to_owned()),
            ..job()
        };
        assert_eq!(
            told(&failed),
            "not due until 2026-11-21T10:00:30Z (attempt 2 of 8 failed: openai is rate limited)"
        );
        let behind = WaitingJob {
            wait_reason: Some("behind an earlier answer of the chat".to_owned()),
            ..failed
        };
        assert!(told(&behind).ends_with("(behind an earlier answer of the chat)"));
    }

    #[test]
    fn every_obstacle_is_named() {
        let job = WaitingJob {
            queue: "documents".to_owned(),
            run_at: now() + TimeDelta::seconds(30),
            paused: Some("the bucket is being moved".to_owned()),
            paused_at: Some(now()),
            ..job()
        };
        let told = told(&job);
        for part in [
            "not due until",
            "is paused since 2026-11-21T10:00:00Z: the bucket",
            "no worker serves its queue documents",
        ] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
    }

    #[test]
    fn its_owner_does_not_read_what_operators_write_to_each_other() {
        let job = WaitingJob {
            paused: Some("the flood of Café Bruyant".to_owned()),
            paused_at: Some(now()),
            ..job()
        };
        let slots = HashMap::from([(QueueName::Chat, 10)]);
        let told = explain_one(&job, Some(&slots), true).to_string();
        assert_eq!(told, "its queue chat is paused since 2026-11-21T10:00:00Z");
    }

    #[test]
    fn a_due_job_says_whose_turn_it_is() {
        let offered = WaitingJob {
            dispatch_at: now() + TimeDelta::seconds(1),
            ..job()
        };
        assert_eq!(told(&offered), "offered to the workers and not taken yet");
        let busy = WaitingJob {
            running_of_all: Some(10),
            ..offered
        };
        assert_eq!(told(&busy), "all 10 slots of its queue are busy");
        let greedy = WaitingJob {
            running: 9,
            ..job()
        };
        assert!(told(&greedy).contains("9 jobs of its business run already"));
        let behind = WaitingJob { ahead: 3, ..job() };
        assert_eq!(told(&behind), "behind 3 earlier jobs of its business");
        let many = WaitingJob {
            ahead: AHEAD_COUNTED + 1,
            ..job()
        };
        assert!(told(&many).contains("more than 1000"));
        assert_eq!(told(&job()), "its turn has just come");
        let forgotten = WaitingJob {
            dispatch_at: now() - TimeDelta::minutes(1),
            ..job()
        };
        assert!(told(&forgotten).contains("does a scheduler run?"));
    }

    #[test]
    fn what_is_away_or_unknown_is_a_reason() {
        let away = explain_one(&job(), None, true).to_string();
        assert!(away.contains("Redis does not answer"), "{away}");
        let unknown = WaitingJob {
            kind: "brew_coffee".to_owned(),
            ..job()
        };
        assert!(told(&unknown).contains("knows its kind brew_coffee"));
    }
}
