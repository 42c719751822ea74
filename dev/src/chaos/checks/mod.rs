//! The promises, each a pure function over what a run brought to light.

mod answered;
mod memory;
mod once;
mod order;
mod reasons;
mod takeover;
mod tenants;
mod throughput;
mod ticks;
mod turns;

use serde::Serialize;

use super::facts::Facts;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// What was acknowledged is answered.
    Answered,
    /// Each message is answered once.
    Once,
    /// A contact's messages are answered in order.
    Order,
    /// A chat has one turn at a time.
    Turns,
    /// Each tick brings one job.
    Ticks,
    /// What a dead worker held moves again within 3 s.
    Takeover,
    /// Work is back to 95 % within 5 s of a fault's end.
    Throughput,
    /// Memory comes back to its level.
    Memory,
    /// Nothing is stuck, and nothing ended badly, without a reason.
    Reasons,
    /// No business sees another's rows.
    Tenants,
}

/// What a check found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// How many things it judged: one that judged nothing has proved nothing.
    pub judged: usize,
    /// What breaks the promise, in words.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Judges one thing: `violation`, if there is one.
    fn judge(&mut self, violation: Option<String>) {
        self.judged += 1;
        self.violations.extend(violation);
    }
}

impl Check {
    /// Every promise.
    pub const ALL: [Self; 10] = [
        Self::Answered,
        Self::Once,
        Self::Order,
        Self::Turns,
        Self::Ticks,
        Self::Takeover,
        Self::Throughput,
        Self::Memory,
        Self::Reasons,
        Self::Tenants,
    ];

    /// The promise in words.
    pub fn promise(self) -> &'static str {
        match self {
            Self::Answered => "what was acknowledged is answered",
            Self::Once => "each message is answered once",
            Self::Order => "a contact's messages are answered in order",
            Self::Turns => "a chat has one turn at a time",
            Self::Ticks => "each tick of the clock brings one job",
            Self::Takeover => "what a dead worker held moves again within 3 s",
            Self::Throughput => "work is back to 95 % within 5 s of a fault's end",
            Self::Memory => "memory comes back to its level",
            Self::Reasons => "nothing is stuck, and nothing ended badly, without a reason",
            Self::Tenants => "no business sees another's rows",
        }
    }

    /// Looks whether the promise was kept.
    pub fn judge(self, facts: &Facts) -> Verdict {
        match self {
            Self::Answered => answered::judge(facts),
            Self::Once => once::judge(facts),
            Self::Order => order::judge(facts),
            Self::Turns => turns::judge(facts),
            Self::Ticks => ticks::judge(&facts.ticks),
            Self::Takeover => takeover::judge(&facts.takeovers),
            Self::Throughput => throughput::judge(&facts.recoveries),
            Self::Memory => memory::judge(&facts.memory),
            Self::Reasons => reasons::judge(&facts.leftovers, &facts.oddities),
            Self::Tenants => tenants::judge(&facts.views),
        }
    }
}

/// Small histories by hand.
#[cfg(test)]
mod made {
    use chrono::TimeDelta;

    use crate::chaos::facts::{Attempt, Delivered, Facts, Policy, Time};
    use crate::chaos::history::Marker;

    pub(super) fn at(milliseconds: i64) -> Time {
        Time::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds)
    }

    pub(super) fn marker(contact: u64, number: u32) -> Marker {
        Marker { contact, number }
    }

    /// Contacts 1 and 2, whose businesses want at least and at most one answer; message 1 of both acknowledged.
    pub(super) fn facts() -> Facts {
        Facts {
            policies: [(1, Policy::AtLeastOnce), (2, Policy::AtMostOnce)].into(),
            acknowledged: [(marker(1, 1), at(0)), (marker(2, 1), at(0))].into(),
            ..Facts::default()
        }
    }

    pub(super) fn delivered(markers: &[Marker], milliseconds: i64) -> Delivered {
        Delivered {
            contact: markers[0].contact,
            markers: markers.to_vec(),
            at: at(milliseconds),
        }
    }

    pub(super) fn attempt(markers: &[Marker], from: i64, until: Option<i64>) -> Attempt {
        Attempt {
            markers: markers.to_vec(),
            started_at: at(from),
            finished_at: until.map(at),
            outcome: until.map(|_| "accepted".to_owned()),
        }
    }
}
