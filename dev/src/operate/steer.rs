//! `relais jobs retry` and `discard`: by id, or the dead ones of a selection.

use std::collections::HashSet;

use chrono::TimeDelta;
use clap::Args;
use common::database::{self, jobs::JobState, jobs::dead};
use common::queue::steer::{self, Report};
use serde_json::json;
use uuid::Uuid;

use super::jobs::{self, Which};
use super::stores::Operator;
use super::text::{self, Table};
use super::{Output, told};

/// Which jobs are steered, and whether in earnest.
#[derive(Clone, Debug, Args)]
#[group(id = "target", required = true, multiple = false, args = ["ids", "dead"])]
pub(super) struct Target {
    /// These.
    #[arg(value_name = "ID")]
    ids: Vec<Uuid>,
    /// All dead ones, or those that --queue, --kind, --business and --error say.
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    which: Which,
    /// At most this many, those first that died first.
    #[arg(long, value_name = "N", requires = "dead")]
    limit: Option<u32>,
    /// Only say which.
    #[arg(long)]
    dry_run: bool,
    /// What to keep with the jobs, for who looks at them later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// How to try again.
#[derive(Clone, Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    target: Target,
    /// Jobs that become due in a second, so that a cause which is still there does not meet all of them; 0: all at once.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Attempts each gets, in place of those of its kind.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    attempts: Option<i32>,
    #[command(flatten)]
    output: Output,
}

/// What to call off.
#[derive(Clone, Debug, Args)]
pub struct Discard {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

/// More than this many dead jobs are steered in several goes.
const MOST: u32 = 1_000_000;

pub(super) async fn retry(operator: &Operator, options: Retry) -> Result<(), String> {
    let ids = target(operator, &options.target, &[JobState::Dead]).await?;
    if options.target.dry_run {
        return dry_run(operator, &ids, options.output).await;
    }
    let how = steer::Retry {
        rate: (options.rate > 0).then_some(options.rate),
        attempts: options.attempts,
        note: options.target.reason.clone(),
    };
    let report = steer::retry(&operator.pool, &operator.dispatch, &ids, &how);
    let report = report.await.map_err(told)?;
    tell(&report, "tried again", options.output)?;
    check(operator, &options.target, &report).await
}

pub(super) async fn discard(operator: &Operator, options: Discard) -> Result<(), String> {
    let states = [JobState::Dead, JobState::Queued, JobState::Failed];
    let ids = target(operator, &options.target, &states).await?;
    if options.target.dry_run {
        return dry_run(operator, &ids, options.output).await;
    }
    let note = options.target.reason.as_deref();
    let report = steer::discard(
        &operator.pool,
        &operator.dispatch,
        &ids,
        note,
        operator.retention,
    );
    let report = report.await.map_err(told)?;
    tell(&report, "discarded", options.output)?;
    check(operator, &options.target, &report).await
}

/// The jobs meant; of those named by id, the ones in one of `states`.
async fn target(
    operator: &Operator,
    target: &Target,
    states: &[JobState],
) -> Result<Vec<Uuid>, String> {
    if !target.dead {
        if target.which.says_anything() {
            return Err(
                "--queue, --kind, --business and --error go with --dead, not with ids".to_owned(),
            );
        }
        let rows = jobs::find(operator, &target.ids).await?;
        let rows = rows.iter().filter(|row| states.contains(&row.state));
        return Ok(rows.map(|row| row.id.0).collect());
    }
    let listed = async {
        let mut tx = database::platform(&operator.pool).await?;
        let limit = target.limit.unwrap_or(MOST).min(MOST);
        let ids = dead::list_ids(&mut tx, &target.which.selection(), limit.into()).await?;
        tx.commit().await?;
        Ok(ids)
    };
    listed.await.map_err(told)
}

/// Counts what would be steered, as the report of it would.
async fn dry_run(operator: &Operator, ids: &[Uuid], output: Output) -> Result<(), String> {
    let mut report = Report::default();
    for batch in ids.chunks(1_000) {
        for row in jobs::find(operator, batch).await? {
            *report.jobs.entry((row.queue, row.kind)).or_default() += 1;
            report.ids.push(row.id.0);
        }
    }
    tell(&report, "would be meant; nothing was done", output)
}

fn tell(report: &Report, done: &str, output: Output) -> Result<(), String> {
    let spread = report.spread.as_secs();
    let groups: Vec<_> = report
        .jobs
        .iter()
        .map(|((queue, kind), jobs)| json!({ "queue": queue, "kind": kind, "jobs": jobs }))
        .collect();
    let value = json!({ "jobs": report.total(), "spread_seconds": spread, "groups": groups });
    output.write(&value, || {
        let mut table = Table::new(&["queue", "kind", "jobs"]);
        for ((queue, kind), jobs) in &report.jobs {
            table.row([queue.clone(), kind.clone(), jobs.to_string()]);
        }
        let jobs = match report.total() {
            0 => "no job".to_owned(),
            1 => "1 job".to_owned(),
            jobs => format!("{jobs} jobs"),
        };
        let last = TimeDelta::from_std(report.spread).unwrap_or_default();
        let last = match spread {
            0 => String::new(),
            _ => format!(", the last of them in {}", text::duration(last)),
        };
        format!("{}\n{jobs} {done}{last}", table.render(""))
            .trim_start()
            .to_owned()
    })
}

/// Who named a job that was not steered is told so, and scripts by the exit code.
async fn check(operator: &Operator, target: &Target, report: &Report) -> Result<(), String> {
    let done: HashSet<Uuid> = report.ids.iter().copied().collect();
    let left: Vec<Uuid> = target
        .ids
        .iter()
        .copied()
        .filter(|id| !done.contains(id))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let found = jobs::find(operator, &left).await?;
    let words = left.iter().map(|id| {
        let state = found.iter().find(|row| row.id.0 == *id);
        match state {
            Some(row) => format!("{id} is {}", row.state.as_str()),
            None => format!("{id} does not exist"),
        }
    });
    Err(format!(
        "left alone: {}",
        words.collect::<Vec<_>>().join(", ")
    ))
}
