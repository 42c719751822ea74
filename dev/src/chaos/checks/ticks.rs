//! Each tick of the clock brings one job.

use super::Verdict;
use crate::chaos::facts::Ticks;

/// No tick brings two, and none is missing but where nobody could tick from one to the next.
pub(super) fn judge(ticks: &Ticks) -> Verdict {
    let mut verdict = Verdict::default();
    for (tick, jobs) in &ticks.jobs {
        verdict.judge((*jobs > 1).then(|| format!("the tick at {tick} brought {jobs} jobs")));
    }
    let Some((first, last)) = ticks.expected else {
        return verdict;
    };
    let mut tick = first;
    while tick <= last && ticks.every > 0 {
        let excused = ticks
            .excused
            .iter()
            .any(|(from, until)| *from <= tick + ticks.every && tick <= *until);
        let missing = !excused && !ticks.jobs.contains_key(&tick);
        verdict.judge(missing.then(|| format!("the tick at {tick} brought no job")));
        tick += ticks.every;
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(jobs: &[(i64, usize)]) -> Ticks {
        Ticks {
            every: 2,
            jobs: jobs.iter().copied().collect(),
            expected: Some((10, 14)),
            excused: Vec::new(),
        }
    }

    #[test]
    fn a_tick_too_many_and_one_too_few_are_found() {
        assert!(
            judge(&ticks(&[(10, 1), (12, 1), (14, 1)]))
                .violations
                .is_empty()
        );
        assert_eq!(
            judge(&ticks(&[(10, 1), (12, 2), (14, 1)])).violations.len(),
            1
        );
        assert_eq!(judge(&ticks(&[(10, 1), (14, 1)])).violations.len(), 1);
    }

    #[test]
    fn nobody_can_tick_while_the_database_is_away() {
        let mut ticks = ticks(&[(10, 1), (14, 1)]);
        ticks.excused = vec![(11, 13)];
        assert!(judge(&ticks).violations.is_empty());
    }
}
