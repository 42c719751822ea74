//! What the checks judge: the history, what the simulators saw, and what only the database knows.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::history::Marker;

/// A time.
pub type Time = DateTime<Utc>;

/// What a business wants of a delivery whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Send it again.
    AtLeastOnce,
    /// Do not.
    AtMostOnce,
}

/// Everything a run brought to light.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every contact's business's policy.
    pub policies: HashMap<u64, Policy>,
    /// When each message was first acknowledged.
    pub acknowledged: BTreeMap<Marker, Time>,
    /// Statuses other than 200 that senders saw, and how often; 0: no answer.
    pub statuses: BTreeMap<u16, usize>,
    /// The calls of the model, oldest first.
    pub calls: Vec<Call>,
    /// What the channel delivered, oldest first.
    pub delivered: Vec<Delivered>,
    /// What the database says of the calls to the channel.
    pub attempts: Vec<Attempt>,
    /// Messages that ended without an answer, or whose answer did not go out, with the reason on record.
    pub endings: Vec<Ending>,
    /// When which process, or the whole, was disturbed.
    pub disturbances: Vec<Disturbance>,
    /// Milliseconds for which the machine itself stood still.
    pub stalled_ms: i64,
    /// What killed workers held.
    pub takeovers: Vec<Takeover>,
    /// The ticks of the schedule of probes.
    pub ticks: Ticks,
    /// Faults that ended, in a run whose load did not change.
    pub recoveries: Vec<Recovery>,
    /// How much memory was in use, early and late.
    pub memory: Vec<Memory>,
    /// Jobs that did not end, or ended badly.
    pub leftovers: Vec<Leftover>,
    /// What else was not as it should be: processes that ended by themselves, refusals without words.
    pub oddities: Vec<String>,
    /// Rows that a business saw, or should have seen, by table.
    pub views: Vec<View>,
}

/// A call of the model.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Whose messages it is to answer.
    pub contact: u64,
    /// Which.
    pub markers: Vec<Marker>,
    /// The process that called.
    pub source: String,
    /// When it came.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Time,
}

/// A text that reached a contact.
#[derive(Clone, Debug, Serialize)]
pub struct Delivered {
    /// Whom.
    pub contact: u64,
    /// What it answers.
    pub markers: Vec<Marker>,
    /// When.
    pub at: Time,
}

/// A call to the channel, as it is on record.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// What the text answers.
    pub markers: Vec<Marker>,
    /// When it began.
    pub started_at: Time,
    /// When its outcome was recorded; `None`: never.
    pub finished_at: Option<Time>,
    /// `None`: as `finished_at`.
    pub outcome: Option<String>,
}

/// Messages without an answer that arrived, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Ending {
    /// Which.
    pub markers: Vec<Marker>,
    /// `failed`, `ignored` or `unknown`.
    pub status: String,
    /// For people.
    pub reason: Option<String>,
}

/// A time in which something was not itself.
#[derive(Clone, Debug, Serialize)]
pub struct Disturbance {
    /// A process's name; `None`: what all of them need, or the machine.
    pub process: Option<String>,
    /// From when.
    pub from: Time,
    /// Until when.
    pub until: Time,
}

impl Disturbance {
    /// Whether it touches the time from `from` to `until`, its aftermath of `after` included.
    pub fn touches(&self, from: Time, until: Time, after: TimeDelta) -> bool {
        self.from <= until && from <= self.until + after
    }
}

/// A job that a killed worker held.
#[derive(Clone, Debug, Serialize)]
pub struct Takeover {
    /// The job.
    pub job: String,
    /// What kind.
    pub kind: String,
    /// Milliseconds from the kill until it was claimed again, or had ended, but for those in which the machine stood still;
    /// `None`: not while it was watched.
    pub after_ms: Option<i64>,
    /// Whether something else was wrong meanwhile.
    pub disturbed: bool,
}

/// The ticks of a schedule.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ticks {
    /// Seconds from one to the next.
    pub every: i64,
    /// How many jobs each brought, by its time in seconds.
    pub jobs: BTreeMap<i64, usize>,
    /// The first and the last that must be there.
    pub expected: Option<(i64, i64)>,
    /// Times in which nobody could tick.
    pub excused: Vec<(i64, i64)>,
}

/// Work before a fault and after it.
#[derive(Clone, Debug, Serialize)]
pub struct Recovery {
    /// Which fault.
    pub fault: String,
    /// Answered messages a second, before.
    pub before: f64,
    /// The same after: in the best stretch that begins within five seconds of its end.
    pub after: f64,
    /// Milliseconds for which the machine itself stood still meanwhile.
    pub stalled_ms: i64,
}

/// Memory, or what takes it, early and late in a run.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Whose, of what.
    pub what: String,
    /// Early: warm, and at work.
    pub early: u64,
    /// Late.
    pub late: u64,
    /// How much more there may be.
    pub allowance: u64,
}

/// A job at the end of a run that has not succeeded.
#[derive(Clone, Debug, Serialize)]
pub struct Leftover {
    /// The job.
    pub job: String,
    /// What kind.
    pub kind: String,
    /// Its state.
    pub state: String,
    /// Whether its time has long come.
    pub overdue: bool,
    /// Why it waits, or what went wrong.
    pub reason: Option<String>,
}

/// How many rows of a table a business sees, of its own and of others, and how many it has.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// The table.
    pub table: String,
    /// Its own rows that it sees.
    pub own: i64,
    /// Others' rows that it sees.
    pub foreign: i64,
    /// Its own rows that there are.
    pub there: i64,
}
