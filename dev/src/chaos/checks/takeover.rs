//! What a dead worker held moves again.

use super::Verdict;
use crate::chaos::facts::Takeover;

/// The promise is 3 s; the rest is for looking, on a machine that does much else.
const LIMIT_MS: i64 = 3_000 + 1_500;

/// Those that were disturbed meanwhile are not judged.
pub(super) fn judge(takeovers: &[Takeover]) -> Verdict {
    let mut verdict = Verdict::default();
    for takeover in takeovers.iter().filter(|takeover| !takeover.disturbed) {
        let late = takeover.after_ms.is_none_or(|after| after > LIMIT_MS);
        verdict.judge(late.then(|| {
            let after = takeover
                .after_ms
                .map_or_else(|| "never".to_owned(), |after| format!("after {after} ms"));
            format!(
                "{} {} of a killed worker moved again {after}",
                takeover.kind, takeover.job
            )
        }));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rests_too_long_is_found() {
        let takeover = |after_ms, disturbed| Takeover {
            job: "1".to_owned(),
            kind: "take_turn".to_owned(),
            after_ms,
            disturbed,
        };
        let all = [
            takeover(Some(2_900), false),
            takeover(Some(4_600), false),
            takeover(None, false),
            takeover(None, true),
        ];
        let verdict = judge(&all);
        assert_eq!((verdict.judged, verdict.violations.len()), (3, 2));
    }
}
