//! Weights: whether businesses with backlogs get what their plans are worth.

use std::time::Duration;

use common::domain::BusinessId;

use super::probes::{fill, wait_until_done};
use super::{Failure, report};
use crate::testing::{PATIENCE, Platform};

/// The weights that are compared.
pub(super) const WEIGHTS: [i32; 3] = [3, 2, 1];

/// How many jobs of each business began from when all was inserted until the first business had none waiting.
const SHARES: &str = "
    WITH ends AS (
        SELECT greatest(max(created_at), min(started_at)) AS filled, max(started_at) AS last
        FROM jobs WHERE kind = 'probe' GROUP BY business_id
    ),
    span AS (SELECT max(filled) AS since, min(last) AS until FROM ends)
    SELECT count(*) FILTER (WHERE started_at BETWEEN since AND until)::float8
    FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, place)
    CROSS JOIN span JOIN jobs ON jobs.business_id = asked.id
    GROUP BY place ORDER BY place";

/// Gives the first of `businesses` weights and backlogs, and tells each one's share of what ran while all had jobs waiting.
pub(super) async fn shares(
    platform: &Platform,
    businesses: &[BusinessId],
    backlog: usize,
    job_ms: u32,
) -> Result<Vec<f64>, Failure> {
    let ids = businesses
        .get(..WEIGHTS.len())
        .ok_or("there are too few businesses")?;
    for (id, weight) in ids.iter().zip(WEIGHTS) {
        let sql = "UPDATE businesses SET dispatch_weight = $2 WHERE id = $1";
        let update = sqlx::query(sql).bind(id.0).bind(weight);
        update.execute(&platform.owner).await?;
    }
    // In turn, one of each: the dispatcher is at it meanwhile.
    fill(platform, ids, backlog * ids.len(), u64::from(job_ms)).await?;
    let alone = Duration::from_millis(u64::from(job_ms)) * u32::try_from(backlog * ids.len())?;
    wait_until_done(platform, Duration::from_millis(100), PATIENCE + alone).await?;

    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    let counts = sqlx::query_scalar(SHARES).bind(ids);
    let counts: Vec<f64> = counts.fetch_all(&platform.owner).await?;
    let all: f64 = counts.iter().sum();
    let shares: Vec<f64> = counts.iter().map(|count| count / all.max(1.0)).collect();
    let due: f64 = WEIGHTS.iter().copied().map(f64::from).sum();
    report(&format!(
        "\n## Weights: three backlogs of {backlog}, over {all} jobs\n"
    ));
    report("| weight | share | due |\n|---|---|---|");
    for (share, weight) in shares.iter().zip(WEIGHTS) {
        let due = f64::from(weight) / due;
        report(&format!("| {weight} | {share:.3} | {due:.3} |"));
    }
    Ok(shares)
}
