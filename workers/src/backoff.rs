//! How long a failed job rests.

use std::time::Duration;

/// The first rest, at most.
const FIRST: Duration = Duration::from_millis(500);

/// The longest rest, whatever the attempt or the other side says: a slot an hour away is as good as lost.
const LONGEST: Duration = Duration::from_mins(5);

/// The rest after attempt number `attempt` (from 1): exponential with full jitter, or what the other side asked for.
///
/// Full jitter: uniformly between nothing and the bound, so that those who failed together do not come back together
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
pub fn rest(attempt: i32, asked: Option<Duration>) -> Duration {
    if let Some(asked) = asked {
        return asked.min(LONGEST) + Duration::from_millis(rand::random_range(0..250));
    }
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(0)
        .min(16);
    let bound = FIRST.saturating_mul(2_u32.pow(doublings)).min(LONGEST);
    bound.mul_f64(rand::random_range(0.0..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_grows_with_the_attempts_and_never_passes_its_cap() {
        for attempt in 1..200 {
            assert!(rest(attempt, None) <= LONGEST);
        }
        assert!((0..100).all(|_| rest(1, None) <= FIRST));
        assert!((0..100).any(|_| rest(8, None) > Duration::from_secs(10)));
    }

    #[test]
    fn who_asks_for_an_hour_gets_five_minutes() {
        assert!(rest(1, Some(Duration::from_hours(1))) < LONGEST + Duration::from_secs(1));
        assert!(rest(1, Some(Duration::from_secs(7))) >= Duration::from_secs(7));
    }
}
