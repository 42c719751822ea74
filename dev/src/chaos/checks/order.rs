//! A contact's messages are answered in order.

use std::collections::BTreeMap;

use super::Verdict;
use crate::chaos::facts::{Facts, Time};
use crate::chaos::history::{Marker, list};

/// Each message was sent after the one before it was acknowledged: so it must not be answered earlier. Only the first
/// arrival counts; whether it may arrive again is another check's.
pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut first: BTreeMap<Marker, (Time, usize)> = BTreeMap::new();
    for (number, delivered) in facts.delivered.iter().enumerate() {
        for marker in &delivered.markers {
            first.entry(*marker).or_insert((delivered.at, number));
        }
    }
    let mut verdict = Verdict::default();
    for ((one, (_, here)), (next, (at, there))) in first.iter().zip(first.iter().skip(1)) {
        if one.contact != next.contact {
            continue;
        }
        let overtaken = there < here;
        verdict.judge(overtaken.then(|| format!("{next} was answered before {one}, at {at}")));
    }
    for delivered in &facts.delivered {
        let sorted = delivered.markers.is_sorted();
        let text = || {
            format!(
                "an answer takes {} in a wrong order",
                list(&delivered.markers)
            )
        };
        verdict.judge((!sorted).then(text));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::made::{delivered, facts, marker};
    use super::*;

    #[test]
    fn an_answer_that_overtakes_is_found() {
        let mut facts = facts();
        facts.delivered = vec![
            delivered(&[marker(1, 2)], 5),
            delivered(&[marker(2, 1)], 6),
            delivered(&[marker(1, 1)], 7),
        ];
        assert_eq!(judge(&facts).violations.len(), 1);
        facts.delivered.reverse();
        assert!(judge(&facts).violations.is_empty());
    }

    #[test]
    fn the_repeat_of_an_earlier_answer_does_not_count() {
        let mut facts = facts();
        let one = delivered(&[marker(1, 1)], 5);
        facts.delivered = vec![one.clone(), delivered(&[marker(1, 2)], 6), one];
        assert!(judge(&facts).violations.is_empty());
    }

    #[test]
    fn messages_answered_together_are_in_order_too() {
        let mut facts = facts();
        facts.delivered = vec![delivered(&[marker(1, 2), marker(1, 1)], 5)];
        assert_eq!(judge(&facts).violations.len(), 1);
    }
}
