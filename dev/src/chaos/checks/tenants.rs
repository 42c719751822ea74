//! No business sees another's rows.

use super::Verdict;
use crate::chaos::facts::View;

/// Each table shows a business all of its own rows and nobody else's.
pub(super) fn judge(views: &[View]) -> Verdict {
    let mut verdict = Verdict::default();
    for view in views {
        let View {
            table,
            own,
            foreign,
            there,
        } = view;
        verdict.judge((*foreign > 0).then(|| format!("`{table}` shows {foreign} rows of others")));
        verdict.judge((own < there).then(|| format!("`{table}` shows {own} of {there} own rows")));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_another_business_is_found() {
        let view = |own, foreign| View {
            table: "messages".to_owned(),
            own,
            foreign,
            there: 3,
        };
        assert!(judge(&[view(3, 0)]).violations.is_empty());
        assert_eq!(judge(&[view(3, 1), view(2, 0)]).violations.len(), 2);
    }
}
