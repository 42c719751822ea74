//! Each message is answered once.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::Verdict;
use crate::chaos::facts::{Attempt, Delivered, Facts, Policy, Time};
use crate::chaos::history::{Marker, list};

/// Two clocks of one machine, and the time a call takes to arrive.
const MARGIN: TimeDelta = TimeDelta::milliseconds(50);

/// A process that was frozen between looking at its lease and sending sends when it wakes: nothing can prevent that.
const AWAKENING: TimeDelta = TimeDelta::milliseconds(250);

/// A message has one answer. That answer may arrive again only where an earlier call to the channel had no outcome when the
/// later one began, and the business wants at least one delivery.
pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let mut answers: BTreeMap<Marker, Vec<&[Marker]>> = BTreeMap::new();
    let mut arrivals: BTreeMap<&[Marker], Vec<&Delivered>> = BTreeMap::new();
    let mut attempts: BTreeMap<&[Marker], Vec<&Attempt>> = BTreeMap::new();
    for delivered in &facts.delivered {
        arrivals
            .entry(&delivered.markers)
            .or_default()
            .push(delivered);
    }
    for attempt in &facts.attempts {
        attempts.entry(&attempt.markers).or_default().push(attempt);
    }
    for markers in arrivals.keys() {
        for marker in *markers {
            answers.entry(*marker).or_default().push(markers);
        }
    }
    for (marker, answers) in answers {
        let count = answers.len();
        verdict.judge(
            (count > 1).then(|| format!("{marker} is in {count} different places of answers")),
        );
    }
    let mut awakened = 0;
    for (markers, arrivals) in arrivals {
        let attempts = attempts.get(markers).map(Vec::as_slice).unwrap_or_default();
        for (earlier, later) in arrivals.iter().zip(arrivals.iter().skip(1)) {
            if is_allowed(facts, attempts, later) {
                continue;
            }
            if woke_up(facts, later.at) && awakened == 0 {
                awakened += 1;
                continue;
            }
            verdict.violations.push(format!(
                "{} reached contact {} twice, {} ms apart, without an earlier call in doubt",
                list(markers),
                later.contact,
                (later.at - earlier.at).num_milliseconds()
            ));
        }
    }
    verdict
}

/// Whether `later` came of a call that began while an earlier one was without an outcome.
fn is_allowed(facts: &Facts, attempts: &[&Attempt], later: &Delivered) -> bool {
    let policy = facts.policies.get(&later.contact);
    policy != Some(&Policy::AtMostOnce)
        && attempts
            .iter()
            .filter(|attempt| made(attempt, later.at))
            .any(|attempt| {
                attempts.iter().any(|earlier| {
                    earlier.started_at < attempt.started_at && in_doubt(earlier, attempt.started_at)
                })
            })
}

/// Whether what arrived at `at` may be of this call.
fn made(attempt: &Attempt, at: Time) -> bool {
    attempt.started_at <= at + MARGIN
        && attempt
            .finished_at
            .is_none_or(|finished_at| at <= finished_at + MARGIN)
}

/// Whether the call had no outcome at `at`.
fn in_doubt(attempt: &Attempt, at: Time) -> bool {
    attempt.outcome.as_deref().is_none_or(|it| it == "unknown")
        || attempt
            .finished_at
            .is_none_or(|finished_at| finished_at > at)
}

fn woke_up(facts: &Facts, at: Time) -> bool {
    facts
        .disturbances
        .iter()
        .filter(|disturbance| disturbance.process.is_some())
        .any(|disturbance| disturbance.until <= at && at <= disturbance.until + AWAKENING)
}

#[cfg(test)]
mod tests {
    use super::super::made::{attempt, delivered, facts, marker};
    use super::*;

    #[test]
    fn one_answer_to_several_messages_is_one_answer() {
        let mut facts = facts();
        facts.delivered = vec![delivered(&[marker(1, 1), marker(1, 2)], 5)];
        assert!(judge(&facts).violations.is_empty());
    }

    #[test]
    fn two_answers_to_one_message_are_found() {
        let mut facts = facts();
        facts.delivered = vec![
            delivered(&[marker(1, 1)], 5),
            delivered(&[marker(1, 1), marker(1, 2)], 6),
        ];
        assert_eq!(judge(&facts).violations.len(), 1);
        facts.delivered = vec![delivered(&[marker(1, 1), marker(1, 1)], 5)];
        assert_eq!(judge(&facts).violations.len(), 1);
    }

    #[test]
    fn a_repeat_needs_an_earlier_call_in_doubt_and_a_business_that_wants_it() {
        for contact in [1, 2] {
            let text = [marker(contact, 1)];
            let mut facts = facts();
            facts.delivered = vec![delivered(&text, 100), delivered(&text, 3_100)];
            facts.attempts = vec![attempt(&text, 90, None), attempt(&text, 3_000, Some(3_110))];
            let violations = judge(&facts).violations.len();
            assert_eq!(violations, usize::from(contact == 2));
            facts.attempts[0] = attempt(&text, 90, Some(110));
            assert_eq!(judge(&facts).violations.len(), 1);
        }
    }

    #[test]
    fn who_lost_the_lease_and_sends_all_the_same_is_found() {
        let text = [marker(1, 1)];
        let mut facts = facts();
        // The first call began, was frozen, and arrived after the second had been made and recorded.
        facts.delivered = vec![delivered(&text, 3_100), delivered(&text, 6_000)];
        facts.attempts = vec![
            attempt(&text, 90, Some(6_010)),
            attempt(&text, 3_000, Some(3_110)),
        ];
        assert_eq!(judge(&facts).violations.len(), 1);
    }
}
