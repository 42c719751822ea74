//! Quantiles, and what is told of a list of figures.

use std::time::Duration;

use serde_json::{Value, json};

/// Latencies, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Of one measurement.
    pub(super) fn new(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    /// Of several measurements, taken together.
    pub(super) fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        Self::new(parts.into_iter().flat_map(|part| part.0.clone()).collect())
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The latency below which `share` of them lies; zero for none.
    pub(super) fn at(&self, share: f64) -> Duration {
        quantile(&self.0, share)
    }

    /// The longest; zero for none.
    pub(super) fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }

    /// How many took longer than `limit`.
    pub(super) fn above(&self, limit: Duration) -> usize {
        self.0.len() - self.0.partition_point(|latency| *latency <= limit)
    }

    /// `p50 | p99 | max`, for a table.
    pub(super) fn cells(&self) -> String {
        format!(
            "{} | {} | {}",
            ms(self.at(0.5)),
            ms(self.at(0.99)),
            ms(self.max())
        )
    }

    /// Its quantiles, in milliseconds.
    pub(super) fn json(&self) -> Value {
        let at = |share| millis(self.at(share));
        json!({
            "count": self.len(), "p50_ms": at(0.5), "p90_ms": at(0.9), "p95_ms": at(0.95), "p99_ms": at(0.99),
            "p999_ms": at(0.999), "max_ms": millis(self.max()),
        })
    }
}

/// The value below which `share` of `sorted` lies; zero for none.
pub(super) fn quantile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index into a list that fits into memory"
    )]
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// What the rounds of one figure come to.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Spread {
    /// A quarter of the rounds is below.
    pub(super) low: f64,
    /// The middle.
    pub(super) median: f64,
    /// A quarter of the rounds is above.
    pub(super) high: f64,
}

impl Spread {
    /// Of the rounds' values.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self {
            low: between(&values, 1),
            median: between(&values, 2),
            high: between(&values, 3),
        }
    }
}

impl std::fmt::Display for Spread {
    /// `0.94 (0.91 to 0.96)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { low, median, high } = self;
        write!(f, "{median:.2} ({low:.2} to {high:.2})")
    }
}

/// The quartile of `sorted` with this number; between two values where none is at its place, as rounds are few.
fn between(sorted: &[f64], quartile: usize) -> f64 {
    let quarters = sorted.len().saturating_sub(1) * quartile;
    let at = |place: usize| sorted.get(place).or(sorted.last()).copied();
    let (below, above) = (at(quarters / 4), at(quarters / 4 + 1));
    let (below, above) = (below.unwrap_or_default(), above.unwrap_or_default());
    below + (above - below) * float(quarters % 4) / 4.0
}

/// A count as a number to calculate with.
pub(super) fn float(count: impl TryInto<u32>) -> f64 {
    f64::from(count.try_into().unwrap_or(u32::MAX))
}

/// `1.2 ms`
pub(super) fn ms(duration: Duration) -> String {
    format!("{:.2} ms", millis(duration))
}

/// In milliseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_few_rounds_lie_between_them() {
        let quartiles = |values: &[f64]| {
            let spread = Spread::of(values.iter().copied());
            [spread.low, spread.median, spread.high].map(f64::to_bits)
        };
        let expected = |values: [f64; 3]| values.map(f64::to_bits);
        assert_eq!(quartiles(&[]), expected([0.0, 0.0, 0.0]));
        assert_eq!(quartiles(&[4.0]), expected([4.0, 4.0, 4.0]));
        assert_eq!(quartiles(&[2.0, 1.0]), expected([1.25, 1.5, 1.75]));
        assert_eq!(
            quartiles(&[3.0, 1.0, 5.0, 2.0, 4.0]),
            expected([2.0, 3.0, 4.0])
        );
    }

    #[test]
    fn latencies_are_told_by_their_share() {
        let latencies = Latencies::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(latencies.at(0.5), Duration::from_millis(51));
        assert_eq!(latencies.max(), Duration::from_millis(100));
        assert_eq!(latencies.above(Duration::from_millis(98)), 2);
        assert_eq!(Latencies::default().at(0.99), Duration::ZERO);
    }
}
