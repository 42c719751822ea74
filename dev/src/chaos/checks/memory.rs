//! Memory comes back to its level.

use super::Verdict;
use crate::chaos::facts::Memory;

/// Compares late with early.
pub(super) fn judge(memory: &[Memory]) -> Verdict {
    let mut verdict = Verdict::default();
    for Memory {
        what,
        early,
        late,
        allowance,
    } in memory
    {
        let grown = *late > early + allowance;
        verdict.judge(
            grown.then(|| {
                format!("{what} grew from {early} to {late}: {allowance} more is allowed")
            }),
        );
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_found() {
        let memory = |late| Memory {
            what: "keys in Redis".to_owned(),
            early: 10,
            late,
            allowance: 5,
        };
        assert_eq!(
            judge(&[memory(3), memory(15), memory(16)]).violations.len(),
            1
        );
    }
}
