//! Nothing is stuck, and nothing ended badly, without a reason.

use super::Verdict;
use crate::chaos::facts::Leftover;

/// Looks at every job that has not succeeded when everything should have drained, and at what was odd besides.
pub(super) fn judge(leftovers: &[Leftover], oddities: &[String]) -> Verdict {
    let mut verdict = Verdict::default();
    for oddity in oddities {
        verdict.judge(Some(oddity.clone()));
    }
    for leftover in leftovers {
        let reason = leftover.reason.as_deref().filter(|it| !it.is_empty());
        let Leftover {
            job, kind, state, ..
        } = leftover;
        let violation = match (leftover.overdue, reason) {
            (true, Some(reason)) => Some(format!("{kind} {job} is stuck: {state}, `{reason}`")),
            (true, None) => Some(format!(
                "{kind} {job} is stuck: {state}, and does not say why"
            )),
            (false, None) if ["failed", "dead"].contains(&state.as_str()) => {
                Some(format!("{kind} {job} is {state} and does not say why"))
            }
            (false, _) => None,
        };
        verdict.judge(violation);
    }
    // That there is none is what is hoped for, and a judgement too.
    verdict.judged = verdict.judged.max(1);
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leftover(state: &str, overdue: bool, reason: Option<&str>) -> Leftover {
        Leftover {
            job: "1".to_owned(),
            kind: "take_turn".to_owned(),
            state: state.to_owned(),
            overdue,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn a_dead_job_says_why_and_nothing_is_overdue() {
        let fine = [
            leftover("dead", false, Some("refused")),
            leftover("queued", false, None),
        ];
        assert!(judge(&fine, &[]).violations.is_empty());
        for bad in [
            leftover("dead", false, None),
            leftover("failed", false, Some("")),
            leftover("queued", true, None),
            leftover("running", true, Some("its worker stopped answering")),
        ] {
            assert_eq!(judge(&[bad], &[]).violations.len(), 1);
        }
    }
}
