//! What was acknowledged is answered.

use std::collections::HashSet;

use super::Verdict;
use crate::chaos::facts::{Facts, Policy};

/// Where the business wants at most one delivery, an answer in doubt may end so, if it says so.
pub(super) fn judge(facts: &Facts) -> Verdict {
    let answered: HashSet<_> = facts
        .delivered
        .iter()
        .flat_map(|delivered| &delivered.markers)
        .collect();
    let excused: HashSet<_> = facts
        .endings
        .iter()
        .filter(|ending| ending.reason.as_ref().is_some_and(|it| !it.is_empty()))
        .flat_map(|ending| &ending.markers)
        .filter(|marker| facts.policies.get(&marker.contact) == Some(&Policy::AtMostOnce))
        .collect();
    let mut verdict = Verdict::default();
    for marker in facts.acknowledged.keys() {
        let kept = answered.contains(marker) || excused.contains(marker);
        verdict.judge((!kept).then(|| format!("{marker} was acknowledged and never answered")));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::made::{delivered, facts, marker};
    use super::*;
    use crate::chaos::facts::Ending;

    fn unknown(marker: crate::chaos::history::Marker) -> Ending {
        Ending {
            markers: vec![marker],
            status: "unknown".to_owned(),
            reason: Some("no outcome".to_owned()),
        }
    }

    #[test]
    fn a_message_without_an_answer_is_found() {
        let mut facts = facts();
        facts.delivered = vec![delivered(&[marker(2, 1)], 5)];
        assert_eq!(judge(&facts).violations.len(), 1);
        facts.delivered.push(delivered(&[marker(1, 1)], 6));
        assert!(judge(&facts).violations.is_empty());
    }

    #[test]
    fn only_at_most_once_excuses_an_answer_in_doubt() {
        let mut facts = facts();
        facts.endings = vec![unknown(marker(1, 1)), unknown(marker(2, 1))];
        let verdict = judge(&facts);
        assert_eq!(verdict.judged, 2);
        assert_eq!(
            verdict.violations,
            ["m-1-1 was acknowledged and never answered"]
        );
        facts.endings[1].reason = None;
        assert_eq!(judge(&facts).violations.len(), 2);
    }
}
