//! `relais jobs`: which there are, and why they wait.

use std::collections::HashMap;

use clap::{Args, Subcommand};
use common::database::jobs::selection::{self, JobRow, Lane, Selection};
use common::database::{self, jobs::JobState};
use common::domain::JobId;
use common::queue::QueueName;
use common::queue::waiting::{self, Explanation};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stores::Operator;
use super::text::{self, Table, dash};
use super::{Output, dead, steer, told};

/// What to do with jobs.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// The dead ones, grouped by queue, kind and error: ids, numbers, times and addresses in an error make no difference.
    Dead {
        #[command(flatten)]
        which: Which,
        /// The largest groups, this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// The newest ones, with why they wait or what they died of.
    List {
        #[command(flatten)]
        which: Which,
        /// Only those in these states: queued, running, failed (waits to be tried again), succeeded, dead, cancelled.
        /// Without it, those that have not ended; with --error, the dead.
        #[arg(long, value_delimiter = ',', value_parser = parse_state)]
        state: Vec<JobState>,
        /// This many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// One job, in full.
    Show {
        /// Its id.
        id: Uuid,
        /// With its arguments: people's words may be among them.
        #[arg(long)]
        args: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Try dead jobs again: they get the attempts of their kind anew, and become due one after the other.
    Retry(steer::Retry),
    /// Call jobs off: dead ones, and by id also those that wait. They stay as cancelled, with their error, until their time.
    Discard(steer::Discard),
}

/// Which jobs: those that match all that is said.
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    /// In this queue.
    #[arg(long)]
    pub(super) queue: Option<QueueName>,
    /// Of this kind, as `take_turn`.
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Of this business, or `platform`.
    #[arg(long, value_name = "ID")]
    pub(super) business: Option<Lane>,
    /// That died of this error, as `jobs dead` names it.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(super) error: Option<String>,
}

impl Which {
    pub(super) fn says_anything(&self) -> bool {
        self.queue.is_some()
            || self.kind.is_some()
            || self.business.is_some()
            || self.error.is_some()
    }

    pub(super) fn selection(&self) -> Selection {
        Selection {
            queue: self.queue,
            kind: self.kind.clone(),
            lane: self.business,
            fingerprint: self.error.clone(),
        }
    }
}

/// Every state.
const STATES: [JobState; 6] = [
    JobState::Queued,
    JobState::Running,
    JobState::Failed,
    JobState::Succeeded,
    JobState::Dead,
    JobState::Cancelled,
];

fn parse_state(name: &str) -> Result<JobState, String> {
    let found = STATES.into_iter().find(|state| state.as_str() == name);
    found.ok_or_else(|| {
        let known = STATES.map(JobState::as_str).join(", ");
        format!("`{name}` is no state: use one of {known}")
    })
}

pub(super) async fn run(operator: &Operator, command: Command) -> Result<(), String> {
    match command {
        Command::Dead {
            which,
            limit,
            output,
        } => dead::list(operator, &which.selection(), limit, output).await,
        Command::List {
            which,
            state,
            limit,
            output,
        } => {
            let states = match (state.as_slice(), &which.error) {
                ([], None) => &[JobState::Queued, JobState::Running, JobState::Failed],
                ([], Some(_)) => [JobState::Dead].as_slice(),
                (states, _) => states,
            };
            list(operator, &which.selection(), states, limit, output).await
        }
        Command::Show { id, args, output } => show(operator, id, args, output).await,
        Command::Retry(options) => steer::retry(operator, options).await,
        Command::Discard(options) => steer::discard(operator, options).await,
    }
}

/// Jobs by id, whatever they do.
pub(super) async fn find(operator: &Operator, ids: &[Uuid]) -> Result<Vec<JobRow>, String> {
    let found = async {
        let mut tx = database::platform(&operator.pool).await?;
        let limit = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let all = Selection::default();
        let rows = selection::list(&mut tx, &all, &STATES, Some(ids), limit).await?;
        tx.commit().await?;
        Ok(rows)
    };
    found.await.map_err(told)
}

async fn list(
    operator: &Operator,
    selection: &Selection,
    states: &[JobState],
    limit: u32,
    output: Output,
) -> Result<(), String> {
    let listed = async {
        let mut tx = database::platform(&operator.pool).await?;
        let rows = selection::list(&mut tx, selection, states, None, limit.into()).await?;
        tx.commit().await?;
        Ok(rows)
    };
    let rows = listed.await.map_err(told)?;
    let waits = explain(operator, &rows).await?;
    let json: Vec<Value> = rows.iter().map(|row| json(row, &waits, false)).collect();
    output.write(&json, || table(operator, &rows, &waits))
}

/// Why those of `rows` wait that do.
async fn explain(
    operator: &Operator,
    rows: &[JobRow],
) -> Result<HashMap<JobId, Explanation>, String> {
    let waiting: Vec<Uuid> = rows
        .iter()
        .filter(|row| matches!(row.state, JobState::Queued | JobState::Failed))
        .map(|row| row.id.0)
        .collect();
    let redis = operator.dispatch.redis();
    let explained = waiting::explain(&operator.pool, redis, None, &waiting);
    let explained = explained.await.map_err(told)?;
    Ok(explained.into_iter().map(|why| (why.id, why)).collect())
}

fn table(operator: &Operator, rows: &[JobRow], waits: &HashMap<JobId, Explanation>) -> String {
    let now = operator.clock.now();
    let mut table = Table::new(&[
        "id", "queue", "kind", "state", "attempts", "age", "whose", "why",
    ]);
    for row in rows {
        table.row([
            row.id.to_string(),
            row.queue.clone(),
            row.kind.clone(),
            row.state.as_str().to_owned(),
            format!("{}/{}", row.attempt, row.max_attempts),
            text::duration(now - row.created_at),
            whose(row),
            why(row, waits).unwrap_or_else(dash),
        ]);
    }
    table.render("no such job")
}

/// The business by its name, or what there is instead.
fn whose(row: &JobRow) -> String {
    match (&row.business_name, row.business_id) {
        (Some(name), _) => name.clone(),
        (None, Some(id)) => id.to_string(),
        (None, None) => "platform".to_owned(),
    }
}

/// Why it is where it is.
fn why(row: &JobRow, waits: &HashMap<JobId, Explanation>) -> Option<String> {
    match row.state {
        JobState::Queued | JobState::Failed => waits.get(&row.id).map(ToString::to_string),
        JobState::Running => row.worker.as_ref().map(|worker| format!("worker {worker}")),
        JobState::Dead => row.last_error.clone(),
        JobState::Cancelled => row.note.clone(),
        JobState::Succeeded => None,
    }
}

/// The row, with why it waits.
fn json(row: &JobRow, waits: &HashMap<JobId, Explanation>, args: bool) -> Value {
    let mut value = json!(row);
    if !args {
        value.as_object_mut().map(|fields| fields.remove("args"));
    }
    let wait = waits.get(&row.id);
    value["wait_reason"] = json!(wait.map(ToString::to_string));
    value["wait_codes"] = json!(wait.map(|wait| {
        let codes = wait.reasons.iter().map(waiting::Reason::code);
        codes.collect::<Vec<_>>()
    }));
    value
}

async fn show(operator: &Operator, id: Uuid, args: bool, output: Output) -> Result<(), String> {
    let rows = find(operator, &[id]).await?;
    let row = rows
        .first()
        .ok_or_else(|| format!("there is no job {id}"))?;
    let waits = explain(operator, &rows).await?;
    output.write(&json(row, &waits, args), || card(row, &waits, args))
}

/// One job, a line a fact.
fn card(row: &JobRow, waits: &HashMap<JobId, Explanation>, args: bool) -> String {
    let business = row.business_id.map(|id| id.to_string());
    let result = row.result.as_ref().map(ToString::to_string);
    let facts = [
        ("id", Some(row.id.to_string())),
        ("queue", Some(row.queue.clone())),
        ("kind", Some(row.kind.clone())),
        ("state", Some(row.state.as_str().to_owned())),
        ("why", waits.get(&row.id).map(ToString::to_string)),
        ("whose", Some(whose(row))),
        ("business", business),
        (
            "attempts",
            Some(format!("{} of {}", row.attempt, row.max_attempts)),
        ),
        ("last error", row.last_error.clone()),
        ("fingerprint", row.error_fingerprint.clone()),
        ("note", row.note.clone()),
        ("worker", row.worker.clone()),
        ("asked for", Some(text::time(Some(row.created_at)))),
        ("not before", Some(text::time(Some(row.run_at)))),
        (
            "last started",
            row.started_at.map(|at| text::time(Some(at))),
        ),
        ("ended", row.finished_at.map(|at| text::time(Some(at)))),
        ("kept until", row.expires_at.map(|at| text::time(Some(at)))),
        ("request", row.request_id.clone()),
        ("result", result),
        ("arguments", args.then(|| row.args.to_string())),
    ];
    let lines = facts
        .into_iter()
        .filter_map(|(name, fact)| Some(format!("{name:<13} {}", fact?)));
    lines.collect::<Vec<_>>().join("\n")
}
