//! The vector index a large tenant has of its own; see `docs/decisions/0002-exact-then-index-retrieval.md`.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::chunks::EXACT_LIMIT;
use crate::database;
use crate::domain::BusinessId;
use crate::error::Result;

/// Building in parallel would need as much shared memory as `maintenance_work_mem`, of which a container has 64 MB, and
/// take the cores that answer people.
const BUILD_SETTINGS: &str = "set local statement_timeout = 0; set local maintenance_work_mem = '512MB'; set local max_parallel_maintenance_workers = 0";

/// The index a business has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorIndex {
    /// Whose vectors it holds.
    pub model: String,
    /// The table that holds them.
    pub table_name: String,
    /// How many chunks it held when it was built.
    pub chunk_count: i32,
    /// When that was.
    pub built_at: DateTime<Utc>,
}

/// What is to be done about a business's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexPlan {
    /// Nothing.
    Keep,
    /// Build it, or build it anew: [`ensure`].
    Build,
    /// Give it up: [`drop`].
    Drop,
}

/// What is to be done for a business with `chunk_count` chunks of which an index, if it has one, held `indexed` when built.
///
/// Between half of [`EXACT_LIMIT`] and the whole of it nothing changes, so that a tenant at the border does not flap. An
/// index is built anew when the tenant has doubled or halved: what is inserted one by one is linked worse than what is built.
pub fn needs_index(chunk_count: i64, indexed: Option<i64>) -> IndexPlan {
    match indexed {
        None if chunk_count > EXACT_LIMIT => IndexPlan::Build,
        Some(_) if chunk_count < EXACT_LIMIT / 2 => IndexPlan::Drop,
        Some(indexed) if chunk_count > indexed * 2 || chunk_count < indexed / 2 => IndexPlan::Build,
        _ => IndexPlan::Keep,
    }
}

/// A business and what its index is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedIndex {
    /// Whose.
    pub business_id: BusinessId,
    /// What to do.
    pub plan: IndexPlan,
}

/// The businesses whose index is to be built or dropped, for vectors of `model`. In a platform transaction.
pub async fn list_planned(conn: &mut PgConnection, model: &str) -> Result<Vec<PlannedIndex>> {
    let rows = sqlx::query!(
        r#"
        SELECT coalesce(counts.business_id, indexes.business_id) AS "business_id!: BusinessId",
            coalesce(counts.chunk_count, 0) AS "chunk_count!", indexes.chunk_count::bigint AS indexed, indexes.model AS "model?"
        FROM (
            SELECT business_id, sum(chunk_count) AS chunk_count FROM lexical_statistics GROUP BY business_id
        ) AS counts
        FULL JOIN vector_indexes AS indexes USING (business_id)
        "#,
    )
    .fetch_all(conn)
    .await?;
    let planned = rows.into_iter().map(|row| {
        // An index of another model is none.
        let indexed = row.indexed.filter(|_| row.model.as_deref() == Some(model));
        let plan = match (needs_index(row.chunk_count, indexed), row.indexed) {
            (IndexPlan::Keep, Some(_)) if indexed.is_none() => IndexPlan::Drop,
            (plan, _) => plan,
        };
        PlannedIndex {
            business_id: row.business_id,
            plan,
        }
    });
    Ok(planned
        .filter(|planned| planned.plan != IndexPlan::Keep)
        .collect())
}

/// The business's own index, if it has one.
pub async fn find(conn: &mut PgConnection, business_id: BusinessId) -> Result<Option<VectorIndex>> {
    let index = sqlx::query_as!(
        VectorIndex,
        r#"SELECT model, table_name::text AS "table_name!", chunk_count, built_at FROM vector_indexes WHERE business_id = $1"#,
        business_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(index)
}

/// Builds the business's index, anew if it has one; returns how many chunks it holds.
///
/// Takes from seconds to minutes, on one core. Reads go on meanwhile; the business's writes wait only at the end.
pub async fn ensure(pool: &PgPool, business_id: BusinessId, model: &str) -> Result<i32> {
    let mut tx = database::platform(pool).await?;
    sqlx::raw_sql(BUILD_SETTINGS).execute(&mut *tx).await?;
    let held = sqlx::query_scalar!(
        r#"SELECT build_vector_index($1, $2) AS "held!""#,
        business_id as _,
        model
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(held)
}

/// Gives up the business's index; whether it had one. Searches scan from then on.
pub async fn drop(pool: &PgPool, business_id: BusinessId) -> Result<bool> {
    let mut tx = database::platform(pool).await?;
    let had = sqlx::query_scalar!(
        r#"SELECT drop_vector_index($1) AS "had!""#,
        business_id as _
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(had)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_built_above_the_limit_and_dropped_well_below() {
        assert_eq!(needs_index(EXACT_LIMIT, None), IndexPlan::Keep);
        assert_eq!(needs_index(EXACT_LIMIT + 1, None), IndexPlan::Build);
        assert_eq!(
            needs_index(EXACT_LIMIT - 1, Some(EXACT_LIMIT + 1)),
            IndexPlan::Keep
        );
        assert_eq!(
            needs_index(EXACT_LIMIT / 2 - 1, Some(EXACT_LIMIT + 1)),
            IndexPlan::Drop
        );
    }

    #[test]
    fn an_index_is_built_anew_when_the_tenant_has_doubled_or_halved() {
        assert_eq!(needs_index(19_000, Some(10_000)), IndexPlan::Keep);
        assert_eq!(needs_index(21_000, Some(10_000)), IndexPlan::Build);
        assert_eq!(needs_index(19_000, Some(40_000)), IndexPlan::Build);
    }
}
