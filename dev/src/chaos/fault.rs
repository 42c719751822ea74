//! What is broken, how, and how it is made well again.

use std::time::Duration;

use chrono::TimeDelta;
use common::faults::Point;
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::json;

use super::history::Event;
use super::processes::Role;
use super::proxy::Mode;
use super::world::World;
use crate::simulators::{manychat, openai};

/// What a fault takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One of several processes.
    Process,
    /// Redis, for all.
    Redis,
    /// PostgreSQL, for all.
    Postgres,
    /// The model or the channel.
    Outside,
}

macro_rules! faults {
    ($($variant:ident, $name:literal, $scope:ident, $about:literal;)*) => {
        /// A way in which things go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $(#[doc = $about] $variant,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happens.
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            /// What it takes away.
            pub fn scope(self) -> Scope {
                match self { $(Self::$variant => Scope::$scope,)* }
            }
        }
    };
}

faults! {
    KillIngress, "kill_ingress", Process, "kill -9 of an ingress";
    KillWorker, "kill_worker", Process, "kill -9 of a worker";
    KillScheduler, "kill_scheduler", Process, "kill -9 of a scheduler";
    KillAccepted, "kill_at_accepted", Process, "an ingress dies after its commit, before the 200";
    KillClaimed, "kill_at_claimed", Process, "a worker dies with a job claimed and not begun";
    KillModelAnswered, "kill_at_model_answered", Process, "a worker dies with the model's answer in its hands";
    KillCommitted, "kill_at_committed", Process, "a worker dies with an answer committed and not sent";
    KillSent, "kill_at_sent", Process, "a worker dies with an answer sent and not recorded";
    KillMarked, "kill_at_marked", Process, "a worker dies right after it recorded a delivery";
    FreezeWorker, "freeze_worker", Process, "a worker is stopped for longer than its leases, and goes on";
    FreezeScheduler, "freeze_scheduler", Process, "a scheduler is stopped, and goes on";
    FreezeWorkerLong, "freeze_worker_30s", Process, "a worker is stopped for 30 s, and goes on";
    FreezeSchedulerLong, "freeze_scheduler_30s", Process, "a scheduler is stopped for 30 s, and goes on";
    ClockAhead, "clock_ahead", Process, "a scheduler's clock jumps an hour ahead, and back";
    ClockBehind, "clock_behind", Process, "a scheduler's clock falls an hour behind, and comes back";
    ThirdScheduler, "third_scheduler", Process, "a scheduler more than there are";
    RedisEmptied, "redis_emptied", Redis, "Redis loses everything";
    RedisRestarted, "redis_restarted", Redis, "Redis stops and comes back empty";
    RedisPaused, "redis_paused", Redis, "Redis hangs, with its connections open";
    RedisFull, "redis_full", Redis, "Redis has no memory for writes";
    RedisSilent, "redis_half_open", Redis, "the connections to Redis stay open and fall silent for good; new ones work";
    PostgresRestarted, "postgres_restarted", Postgres, "PostgreSQL stops in order and comes back";
    PostgresKilled, "postgres_killed", Postgres, "PostgreSQL crashes and recovers";
    PostgresTerminated, "postgres_terminated", Postgres, "the services' sessions are ended";
    PostgresExhausted, "postgres_exhausted", Postgres, "PostgreSQL takes two connections of all services";
    PostgresSlow, "postgres_slow", Postgres, "every word to and from PostgreSQL takes longer";
    PostgresSilent, "postgres_half_open", Postgres, "the connections to PostgreSQL stay open and silent for a while, and end; new ones work";
    PostgresGone, "postgres_gone_silent", Postgres, "the same, and they never end";
    ModelLimits, "model_429", Outside, "the model answers 429";
    ModelFails, "model_500", Outside, "the model answers 500";
    ModelHangs, "model_hangs", Outside, "the model never answers";
    ModelDrips, "model_drips", Outside, "the model answers piece by piece, slowly";
    ChannelRefuses, "channel_refuses", Outside, "the channel answers 503 and 429";
    ChannelSilent, "channel_silent", Outside, "the channel takes answers and does not say so";
}

/// What a fault needs to know to be healed.
pub struct Injected {
    fault: Fault,
    process: Option<String>,
}

impl Fault {
    /// The fault of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.as_str() == name)
    }

    /// Whether leases may be lost by it though nobody died.
    pub fn touches_leases(self) -> bool {
        self.scope() == Scope::Postgres
    }

    /// Whether it takes too long for the short form.
    pub fn is_long(self) -> bool {
        matches!(
            self,
            Self::FreezeWorkerLong
                | Self::FreezeSchedulerLong
                | Self::ClockAhead
                | Self::ClockBehind
                | Self::ThirdScheduler
                | Self::PostgresGone
        )
    }

    /// How long it lasts.
    pub fn lasts(self, short: bool) -> Duration {
        match self {
            Self::FreezeWorker | Self::FreezeScheduler => {
                Duration::from_secs(if short { 4 } else { 6 })
            }
            Self::FreezeWorkerLong | Self::FreezeSchedulerLong => Duration::from_secs(30),
            Self::RedisEmptied | Self::PostgresTerminated => Duration::from_millis(200),
            Self::RedisPaused | Self::RedisFull | Self::ModelHangs | Self::ChannelSilent => {
                Duration::from_secs(if short { 2 } else { 3 })
            }
            Self::RedisSilent
            | Self::PostgresSilent
            | Self::PostgresGone
            | Self::ClockAhead
            | Self::ClockBehind
            | Self::ThirdScheduler => Duration::from_secs(4),
            _ => Duration::from_secs(if short { 1 } else { 2 }),
        }
    }

    /// Breaks it.
    pub async fn inject(self, world: &mut World, random: &mut StdRng) -> Result<Injected, String> {
        world.history.record(Event::Injected {
            fault: self.as_str(),
        });
        let process = match self.victim() {
            Some(role) => world.processes.names(role).choose(random).cloned(),
            None => None,
        };
        let victim = process.clone().unwrap_or_default();
        match self {
            Self::KillIngress | Self::KillWorker | Self::KillScheduler => world.kill(&victim).await,
            Self::KillAccepted
            | Self::KillClaimed
            | Self::KillModelAnswered
            | Self::KillCommitted
            | Self::KillSent
            | Self::KillMarked => self.kill_at(world, &victim, random).await?,
            Self::FreezeWorker
            | Self::FreezeScheduler
            | Self::FreezeWorkerLong
            | Self::FreezeSchedulerLong => world.processes.stop(&victim),
            Self::ClockAhead => world.processes.set_clock(&victim, TimeDelta::hours(1))?,
            Self::ClockBehind => world.processes.set_clock(&victim, TimeDelta::hours(-1))?,
            Self::ThirdScheduler => drop(world.processes.add(Role::Scheduler)?),
            Self::RedisEmptied => redis(world, "FLUSHALL", &[]).await?,
            Self::RedisRestarted => world.platform.redis.kill_hard().await,
            Self::RedisPaused => world.platform.redis.pause(),
            Self::RedisFull => redis(world, "CONFIG", &["SET", "maxmemory", "1000000"]).await?,
            Self::RedisSilent => world.redis.silence(),
            Self::PostgresRestarted => own_postgres(world)?.stop().await,
            Self::PostgresKilled => own_postgres(world)?.kill_hard().await,
            Self::PostgresTerminated => postgres(world, TERMINATE).await?,
            Self::PostgresExhausted => {
                postgres(world, "ALTER ROLE relais_app CONNECTION LIMIT 2").await?;
                postgres(world, TERMINATE).await?;
            }
            Self::PostgresSlow => world.postgres.set(Mode::Delay(Duration::from_millis(60))),
            Self::PostgresSilent | Self::PostgresGone => world.postgres.silence(),
            Self::ModelLimits => model(world, &openai::Fault::rate_limited(None), 500),
            Self::ModelFails => {
                let refusal = openai::Fault::refusal(500, "server_error", "as planted");
                model(world, &refusal, 500);
            }
            Self::ModelHangs => model(world, &openai::Fault::Silent, 20),
            Self::ModelDrips => model(world, &openai::Fault::Drips, 500),
            Self::ChannelRefuses => {
                let away =
                    manychat::Fault::Answer(503, json!({ "status": "error", "message": "away" }));
                let limited = manychat::Fault::RateLimited(Some(1));
                let faults = std::iter::repeat_n([away, limited], 250);
                world.platform.manychat.fail_next(faults.flatten());
            }
            Self::ChannelSilent => {
                let faults = std::iter::repeat_n(manychat::Fault::Silent, 20);
                world.platform.manychat.fail_next(faults);
            }
        }
        Ok(Injected {
            fault: self,
            process,
        })
    }

    /// Whose process suffers.
    fn victim(self) -> Option<Role> {
        match self {
            Self::KillIngress | Self::KillAccepted => Some(Role::Ingress),
            Self::KillScheduler
            | Self::FreezeScheduler
            | Self::FreezeSchedulerLong
            | Self::ClockAhead
            | Self::ClockBehind => Some(Role::Scheduler),
            Self::ThirdScheduler => None,
            _ if self.scope() == Scope::Process => Some(Role::Worker),
            _ => None,
        }
    }

    /// Replaces `victim` by one that dies of itself, and waits for that.
    async fn kill_at(
        self,
        world: &mut World,
        victim: &str,
        random: &mut StdRng,
    ) -> Result<(), String> {
        let point = match self {
            Self::KillAccepted => Point::Accepted,
            Self::KillModelAnswered => Point::ModelAnswered,
            Self::KillCommitted => Point::Committed,
            Self::KillSent => Point::Sent,
            Self::KillMarked => Point::Marked,
            _ => Point::Claimed,
        };
        world.kill(victim).await;
        world
            .processes
            .start(victim, Some((point, random.random_range(1..6))))?;
        if world.died(victim, Duration::from_secs(8)).await {
            Ok(())
        } else {
            Err(format!("{victim} did not come to `{}`", point.as_str()))
        }
    }
}

/// Ends every session of the services.
const TERMINATE: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'relais_app'";

impl Injected {
    /// Makes it well again.
    pub async fn heal(self, world: &mut World) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| format!("not healed: {error}");
        let process = self.process.unwrap_or_default();
        match self.fault {
            Fault::KillIngress
            | Fault::KillWorker
            | Fault::KillScheduler
            | Fault::KillAccepted
            | Fault::KillClaimed
            | Fault::KillModelAnswered
            | Fault::KillCommitted
            | Fault::KillSent
            | Fault::KillMarked => world.processes.start(&process, None)?,
            Fault::FreezeWorker
            | Fault::FreezeScheduler
            | Fault::FreezeWorkerLong
            | Fault::FreezeSchedulerLong => world.processes.go_on(&process),
            Fault::ClockAhead | Fault::ClockBehind => {
                world.processes.set_clock(&process, TimeDelta::zero())?;
            }
            Fault::RedisRestarted => {
                let started = world.platform.redis.start_again().await;
                started.map_err(|error| told(&error))?;
            }
            Fault::RedisPaused => world.platform.redis.resume(),
            Fault::RedisFull => redis(world, "CONFIG", &["SET", "maxmemory", "0"]).await?,
            Fault::PostgresRestarted | Fault::PostgresKilled => {
                let started = own_postgres(world)?.start_again().await;
                started.map_err(|error| told(&error))?;
            }
            Fault::PostgresExhausted => {
                postgres(world, "ALTER ROLE relais_app CONNECTION LIMIT -1").await?;
            }
            Fault::PostgresSlow => world.postgres.set(Mode::Pass),
            Fault::ThirdScheduler
            | Fault::RedisEmptied
            | Fault::PostgresTerminated
            // What fell silent never speaks again: whoever waits for it must find out.
            | Fault::RedisSilent
            | Fault::PostgresGone => {}
            Fault::PostgresSilent => world.postgres.reset(),
            Fault::ModelLimits | Fault::ModelFails | Fault::ModelHangs | Fault::ModelDrips => {
                world.model.forgive();
            }
            Fault::ChannelRefuses | Fault::ChannelSilent => world.platform.manychat.forgive(),
        }
        world.history.record(Event::Healed {
            fault: self.fault.as_str(),
        });
        Ok(())
    }
}

fn model(world: &World, fault: &openai::Fault, calls: usize) {
    world
        .model
        .fail_next(std::iter::repeat_n(fault.clone(), calls));
}

fn own_postgres(world: &mut World) -> Result<&mut crate::servers::Postgres, String> {
    let postgres = world.platform.postgres.as_mut();
    postgres.ok_or_else(|| "this world shares its PostgreSQL with others".to_owned())
}

async fn postgres(world: &World, statement: &'static str) -> Result<(), String> {
    let done = sqlx::query(statement).execute(&world.platform.owner).await;
    done.map(drop)
        .map_err(|error| format!("`{statement}`: {error}"))
}

/// A command to Redis itself, past the proxy.
pub async fn redis(world: &World, command: &'static str, args: &[&str]) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("`{command}`: {error}");
    let client = common::redis::connect(&world.platform.config.stores.redis_url)
        .map_err(|error| told(&error))?;
    client
        .wait_for_connect()
        .await
        .map_err(|error| told(&error))?;
    let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
    let args: Vec<String> = args.iter().map(|it| (*it).to_owned()).collect();
    let _: fred::types::Value = client
        .custom(command, args)
        .await
        .map_err(|error| told(&error))?;
    let _: Result<(), _> = client.quit().await;
    Ok(())
}
