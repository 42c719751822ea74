//! Keeps each queue's list in Redis short and fair: by weight among the businesses, a few times the pools' concurrency at most.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use common::database;
use common::database::jobs::dispatch::{self, Lane, Look, Waiting};
use common::queue::push::Task;
use common::queue::{HANDOFF, QueueName, pools};
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Context;
use crate::shares::{Offer, Shares};
use crate::window::Window;

/// How long the dispatcher sleeps at most: rows whose bell nobody heard are found by then.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// How long it sleeps between rounds while a backlog waits for room.
const BUSY_REST: Duration = Duration::from_millis(5);

/// How long it leaves Redis or PostgreSQL alone that does not answer.
const OUTAGE_REST: Duration = Duration::from_millis(250);

/// How long a pass may take: far longer than it does, but where a connection is silent it never ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long what the pools announced is believed.
const POOLS_FOR: Duration = Duration::from_secs(1);

/// Lanes looked at in one round: at least, and at most.
const LANES: (usize, usize) = (32, 256);

/// The longest list: beyond 8,000 apalis-redis 1.0 breaks, and a list is only to bridge the time until the next round.
const LONGEST_LIST: usize = 1_000;

/// The list's length where nobody has announced a pool yet.
const UNSERVED_LIST: usize = 16;

/// Dispatches for ever.
pub(crate) async fn run(context: Context) {
    let mut dispatcher = Dispatcher {
        context,
        names: QueueName::ALL.map(|queue| queue.as_str().to_owned()).into(),
        queues: HashMap::new(),
        concurrency: HashMap::new(),
        known_until: None,
    };
    loop {
        let rest = match database::within(PATIENCE, dispatcher.dispatch()).await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "nothing dispatched"
                );
                OUTAGE_REST
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = dispatcher.context.bell.notified() => {}
        }
    }
}

struct Dispatcher {
    context: Context,
    /// Of all queues.
    names: Vec<String>,
    queues: HashMap<QueueName, Queue>,
    /// Jobs at once, over all workers, by queue.
    concurrency: HashMap<QueueName, usize>,
    known_until: Option<Instant>,
}

/// What is remembered of a queue from round to round.
#[derive(Default)]
struct Queue {
    /// The last lane the round before looked at; [`Uuid::nil`]: it came to the end.
    cursor: Uuid,
    shares: Shares,
    window: Window,
}

/// What is to go into a queue's list.
struct Round {
    queue: QueueName,
    /// The tasks, and the lane of each.
    tasks: (Vec<Task>, Vec<Uuid>),
    /// Before which task of the list those go that are ahead.
    pivot: Option<String>,
    /// How long the queue needs no look.
    rest: Duration,
    began: Instant,
}

impl Round {
    fn empty(queue: QueueName, rest: Duration, began: Instant) -> Self {
        Self {
            queue,
            tasks: (Vec::new(), Vec::new()),
            pivot: None,
            rest,
            began,
        }
    }
}

impl Dispatcher {
    /// One pass over all queues; returns how long nothing can be due.
    ///
    /// One transaction, since each question of one waits for a core: what is picked is offered once it is committed.
    async fn dispatch(&mut self) -> common::Result<Duration> {
        let mut tx = self.context.lines.platform_relaxed().await?;
        let waiting = dispatch::list_waiting(&mut tx, &self.names).await?;
        let mut rest = LONGEST_REST;
        let mut rounds = Vec::new();
        for Waiting {
            queue,
            is_due,
            running,
            next_in,
        } in waiting
        {
            let Ok(queue) = queue.parse::<QueueName>() else {
                continue;
            };
            if is_due {
                self.learn_pools().await?;
                let running = usize::try_from(running).unwrap_or(usize::MAX);
                let round = self.pick(&mut tx, queue, running).await?;
                rest = rest.min(round.rest);
                rounds.push(round);
            }
            if let Some(next) = next_in {
                rest = rest.min(Duration::try_from_secs_f64(next).unwrap_or_default());
            }
        }
        tx.commit().await?;
        for round in rounds {
            self.offer(round).await?;
        }
        Ok(rest.max(Duration::from_millis(1)))
    }

    /// Picks what is to go into the list of a queue of which `running` jobs run.
    async fn pick(
        &mut self,
        conn: &mut PgConnection,
        queue: QueueName,
        running: usize,
    ) -> common::Result<Round> {
        let began = Instant::now();
        let concurrency = self.concurrency.get(&queue).copied().unwrap_or(0);
        let state = self.queues.entry(queue).or_default();
        // Asked first: a Redis that is away must not be offered rows that are then marked as offered.
        let list = self.context.dispatch.list(queue).await?;
        let now = began.into_std();
        state.window.observe(&list, running, now);
        let target = state.window.target(concurrency.saturating_sub(running));
        let room = longest(concurrency, target).saturating_sub(list.len());
        if room == 0 {
            let rest = if concurrency == 0 {
                LONGEST_REST
            } else {
                BUSY_REST
            };
            return Ok(Round::empty(queue, rest, began));
        }

        // More lanes than there is room for jobs are left to the next rounds.
        let lanes = room.clamp(LANES.0, LANES.1);
        let look = Look {
            queue,
            after_lane: state.cursor,
            lanes: i32::try_from(lanes).unwrap_or(i32::MAX),
            room: i64::try_from(room).unwrap_or(i64::MAX),
            wanted: state.window.wanted(),
        };
        let due = dispatch::list_due(conn, look).await?;
        for lane in &due {
            let running = usize::try_from(lane.running).unwrap_or(usize::MAX);
            state.window.observe_lane(lane.id, running, now);
        }
        let mut quiet: Vec<Uuid> = due
            .iter()
            .filter(|lane| lane.running == 0 && state.window.is_quiet(lane.id))
            .map(|lane| lane.id)
            .collect();
        let came_to_the_end = due.len() < lanes;
        state.cursor = match due.last() {
            Some(lane) if !came_to_the_end => lane.id,
            _ => Uuid::nil(),
        };
        let was_cut = due.iter().any(|lane| lane.is_cut);
        let all_on_their_way = came_to_the_end && due.iter().all(|lane| lane.due.is_empty());
        let offers = due
            .into_iter()
            .map(|lane| allowed(lane, &state.window, cap(concurrency)))
            .collect();
        let mut picked = state.shares.pick(offers, room);
        let ids: Vec<Uuid> = picked.iter().map(|(_, id)| *id).collect();
        let marked = if ids.is_empty() {
            HashSet::new()
        } else {
            dispatch::mark_offered(conn, &ids).await?
        };
        picked.retain(|(_, id)| marked.contains(id));

        // Where lanes or jobs were left out for want of a look, and there is room for them: look again.
        let look_on =
            picked.len() < room && (!state.cursor.is_nil() || (was_cut && !picked.is_empty()));
        let rest = if look_on {
            Duration::ZERO
        } else if all_on_their_way {
            HANDOFF
        } else {
            BUSY_REST
        };
        let tasks = picked
            .into_iter()
            .map(|(lane, id)| (Task::new(id, take(&mut quiet, lane)), lane))
            .unzip();
        Ok(Round {
            tasks,
            pivot: state.window.pivot(&list).map(str::to_owned),
            ..Round::empty(queue, rest, began)
        })
    }

    /// Puts what was picked, and is marked as offered, into the list.
    async fn offer(&mut self, round: Round) -> common::Result<()> {
        let (tasks, lanes) = round.tasks;
        if !tasks.is_empty() {
            let pivot = round.pivot.as_deref();
            self.context
                .dispatch
                .offer(round.queue, &tasks, pivot)
                .await?;
        }
        let name = round.queue.as_str();
        metrics::counter!("relais_dispatched_jobs_total", "queue" => name)
            .increment(tasks.len() as u64);
        metrics::histogram!("relais_dispatch_seconds", "queue" => name)
            .record(round.began.elapsed());
        let window = &mut self.queues.entry(round.queue).or_default().window;
        for (task, lane) in tasks.into_iter().zip(lanes) {
            window.insert(task.id, lane, task.ahead);
        }
        Ok(())
    }

    async fn learn_pools(&mut self) -> common::Result<()> {
        if self.known_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        self.concurrency = pools::slots(self.context.dispatch.redis()).await?;
        self.known_until = Some(Instant::now() + POOLS_FOR);
        Ok(())
    }
}

/// How long a queue's list may be, where `target` would do.
fn longest(concurrency: usize, target: usize) -> usize {
    if concurrency == 0 {
        UNSERVED_LIST
    } else {
        target.min(LONGEST_LIST)
    }
}

/// What a lane may have of what is due.
fn allowed(lane: Lane, window: &Window, cap: usize) -> Offer {
    let running = usize::try_from(lane.running).unwrap_or(usize::MAX);
    let mut jobs = lane.due;
    jobs.truncate(window.allowance(lane.id, running, cap));
    Offer {
        lane: lane.id,
        weight: lane.weight,
        jobs,
    }
}

/// Removes `lane` from `lanes`; whether it was there.
fn take(lanes: &mut Vec<Uuid>, lane: Uuid) -> bool {
    let at = lanes.iter().position(|quiet| *quiet == lane);
    at.map(|at| lanes.swap_remove(at)).is_some()
}

/// How many slots one business may hold.
fn cap(concurrency: usize) -> usize {
    if concurrency == 0 {
        UNSERVED_LIST
    } else {
        pools::share(concurrency)
    }
}
