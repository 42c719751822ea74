//! `relais schedules`: what is due by the clock.

use chrono::{DateTime, Utc};
use common::database::jobs::selection;
use common::database::{self, jobs::JobState};
use common::domain::JobId;
use scheduler::schedule::SCHEDULES;
use serde::Serialize;

use super::stores::Operator;
use super::text::{self, Table};
use super::{Output, told};

/// A schedule, and what became of its last tick.
#[derive(Clone, Debug, Serialize)]
struct ScheduleView {
    name: &'static str,
    every_seconds: i64,
    last_at: DateTime<Utc>,
    /// `None`: no scheduler has enqueued it.
    last_job: Option<JobId>,
    last_state: Option<JobState>,
    next_at: DateTime<Utc>,
}

pub(super) async fn run(operator: &Operator, output: Output) -> Result<(), String> {
    let views = list(operator).await.map_err(told)?;
    output.write(&views, || table(&views))
}

async fn list(operator: &Operator) -> common::Result<Vec<ScheduleView>> {
    let now = operator.clock.now();
    let mut tx = database::platform(&operator.pool).await?;
    let mut views = Vec::new();
    for schedule in &SCHEDULES {
        let last_at = schedule.tick_before(now);
        let job = selection::find_by_key(&mut tx, &schedule.key(last_at)).await?;
        views.push(ScheduleView {
            name: schedule.name,
            every_seconds: schedule.every.num_seconds(),
            last_at,
            last_job: job.map(|(id, _)| id),
            last_state: job.map(|(_, state)| state),
            next_at: last_at + schedule.every,
        });
    }
    tx.commit().await?;
    Ok(views)
}

fn table(views: &[ScheduleView]) -> String {
    let mut table = Table::new(&["schedule", "every", "last tick", "its job", "next tick"]);
    for view in views {
        let job = match (view.last_job, view.last_state) {
            (Some(id), Some(state)) => format!("{} {id}", state.as_str()),
            _ => "not enqueued: does a scheduler run?".to_owned(),
        };
        table.row([
            view.name.to_owned(),
            text::duration(chrono::TimeDelta::seconds(view.every_seconds)),
            text::time(Some(view.last_at)),
            job,
            text::time(Some(view.next_at)),
        ]);
    }
    table.render("nothing is due by the clock")
}
