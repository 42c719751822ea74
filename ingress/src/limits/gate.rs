//! The gate of this process: `governor`, keyed.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::standing::Standing;
use super::{Ask, Limit};

type Gate = Arc<DefaultKeyedRateLimiter<String>>;

/// How often those who have not come for a while are forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// A gate for each limit. Limits are few: the fixed ones, and one for each plan.
#[derive(Default)]
pub(super) struct Gates(Mutex<Known>);

#[derive(Default)]
struct Known {
    gates: HashMap<Limit, Gate>,
    forgot_at: Option<Instant>,
}

impl Gates {
    /// Which of `asks` has run out, if one has.
    pub(super) fn pass(&self, asks: &[Ask]) -> Option<(&'static str, Standing)> {
        asks.iter().find_map(|ask| {
            let until = self.gate(ask.limit).check_key(&ask.whose).err()?;
            let reset = until.wait_time_from(DefaultClock::default().now());
            let standing = Standing {
                limit: ask.limit.count,
                remaining: 0,
                reset,
            };
            Some((ask.limit.name, standing))
        })
    }

    fn gate(&self, limit: Limit) -> Gate {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.forgot_at.is_none_or(|at| at.elapsed() > FORGET_EVERY) {
            known.forgot_at = Some(Instant::now());
            known.gates.values().for_each(|gate| gate.retain_recent());
        }
        let gate = known.gates.entry(limit).or_insert_with(|| {
            let count = NonZeroU32::new(limit.count).unwrap_or(NonZeroU32::MIN);
            let quota =
                Quota::with_period(limit.period / count.get()).unwrap_or(Quota::per_second(count));
            Arc::new(RateLimiter::keyed(quota.allow_burst(count)))
        });
        Arc::clone(gate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_each_ones_own() {
        let gates = Gates::default();
        let limit = Limit {
            name: "test",
            count: 2,
            period: Duration::from_mins(1),
        };
        let ask = |whose: &str| {
            [Ask {
                limit,
                whose: whose.to_owned(),
            }]
        };

        assert!(gates.pass(&ask("a")).is_none() && gates.pass(&ask("a")).is_none());
        let (name, standing) = gates.pass(&ask("a")).unwrap();
        assert_eq!((name, standing.limit, standing.remaining), ("test", 2, 0));
        assert!(
            standing.reset <= Duration::from_secs(30) && standing.reset > Duration::from_secs(25)
        );
        assert!(gates.pass(&ask("b")).is_none());
    }
}
