//! A chat has one turn at a time.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::Verdict;
use crate::chaos::facts::{Call, Facts};
use crate::chaos::history::list;

/// How long the news of a kill, a freeze or an outage may take to reach the other end of a call, leases included.
const AFTERMATH: TimeDelta = TimeDelta::seconds(4);

/// The clocks of two tasks of this program.
const MARGIN: TimeDelta = TimeDelta::milliseconds(5);

/// Calls of the model for one contact overlap only where the earlier one's process, or what it needs, was disturbed.
pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut calls: BTreeMap<u64, Vec<&Call>> = BTreeMap::new();
    for call in &facts.calls {
        calls.entry(call.contact).or_default().push(call);
    }
    let mut verdict = Verdict::default();
    for calls in calls.values() {
        for (earlier, later) in calls.iter().zip(calls.iter().skip(1)) {
            let overlap = earlier.ended_at > later.started_at + MARGIN;
            let excused = || {
                facts.disturbances.iter().any(|disturbance| {
                    let concerns = disturbance
                        .process
                        .as_ref()
                        .is_none_or(|process| *process == earlier.source);
                    concerns && disturbance.touches(earlier.started_at, later.started_at, AFTERMATH)
                })
            };
            verdict.judge((overlap && !excused()).then(|| {
                format!(
                    "contact {} had two turns at once: {} asked for {} from {} to {}, {} for {} from {}",
                    later.contact,
                    earlier.source,
                    list(&earlier.markers),
                    earlier.started_at,
                    earlier.ended_at,
                    later.source,
                    list(&later.markers),
                    later.started_at
                )
            }));
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::made::{at, facts, marker};
    use super::*;
    use crate::chaos::facts::Disturbance;

    fn call(source: &str, from: i64, until: i64) -> Call {
        Call {
            contact: 1,
            markers: vec![marker(1, 1)],
            source: source.to_owned(),
            started_at: at(from),
            ended_at: at(until),
        }
    }

    #[test]
    fn two_turns_at_once_are_found_unless_the_first_was_disturbed() {
        let mut facts = facts();
        facts.calls = vec![call("worker-1", 0, 500), call("worker-2", 400, 900)];
        assert_eq!(judge(&facts).violations.len(), 1);
        for (process, violations) in [("worker-2", 1), ("worker-1", 0)] {
            facts.disturbances = vec![Disturbance {
                process: Some(process.to_owned()),
                from: at(100),
                until: at(300),
            }];
            assert_eq!(judge(&facts).violations.len(), violations);
        }
    }

    #[test]
    fn one_turn_after_the_other_is_fine() {
        let mut facts = facts();
        facts.calls = vec![call("worker-1", 0, 500), call("worker-2", 500, 900)];
        assert!(judge(&facts).violations.is_empty());
    }
}
