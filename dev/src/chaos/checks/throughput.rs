//! Work is back soon after a fault's end.

use super::Verdict;
use crate::chaos::facts::Recovery;

/// The share of the work of before that must be back.
const SHARE: f64 = 0.95;

/// Compares each fault's after with its before, but where the machine itself stood still: that says nothing of the work.
pub(super) fn judge(recoveries: &[Recovery]) -> Verdict {
    let mut verdict = Verdict::default();
    let judged = recoveries.iter().filter(|it| it.stalled_ms == 0);
    for Recovery {
        fault,
        before,
        after,
        ..
    } in judged
    {
        let back = *after >= before * SHARE;
        verdict.judge((!back).then(|| {
            format!(
                "after {fault} {after:.1} messages a second were answered, before it {before:.1}"
            )
        }));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_come_back_is_found() {
        let recovery = |after| Recovery {
            fault: "kill_worker".to_owned(),
            before: 20.0,
            after,
            stalled_ms: 0,
        };
        let stalled = Recovery {
            stalled_ms: 900,
            ..recovery(1.0)
        };
        let verdict = judge(&[recovery(19.0), recovery(25.0), recovery(18.9), stalled]);
        assert_eq!((verdict.judged, verdict.violations.len()), (3, 1));
    }
}
