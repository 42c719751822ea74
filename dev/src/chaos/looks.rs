//! What only the database knows: calls to the channel, messages without an answer, jobs left over, rows a tenant sees.

use common::database;
use sqlx::{AssertSqlSafe, PgPool};

use super::facts::{Attempt, Ending, Leftover, Time, View};
use super::history::markers;
use super::world::World;

/// How many microseconds a job's time may have passed before it counts as overdue: longer than any outage's rest.
const OVERDUE_MICROSECONDS: i64 = 8_000_000;

/// The calls to the channel, as they are on record.
pub async fn attempts(pool: &PgPool) -> Result<Vec<Attempt>, sqlx::Error> {
    type Row = (String, Time, Option<Time>, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT body, started_at, finished_at, outcome FROM delivery_attempts \
         JOIN deliveries ON deliveries.id = delivery_id ORDER BY started_at",
    )
    .fetch_all(pool)
    .await?;
    let attempt = |(body, started_at, finished_at, outcome): Row| Attempt {
        markers: markers(&body),
        started_at,
        finished_at,
        outcome,
    };
    Ok(rows.into_iter().map(attempt).collect())
}

/// Messages that ended without an answer, or whose answer did not go out.
pub async fn endings(pool: &PgPool) -> Result<Vec<Ending>, sqlx::Error> {
    let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT content, status, status_reason FROM messages WHERE status IN ('failed', 'unknown', 'ignored')",
    )
    .fetch_all(pool)
    .await?;
    let ending = |(content, status, reason): (String, String, Option<String>)| Ending {
        markers: markers(&content),
        status,
        reason,
    };
    Ok(rows.into_iter().map(ending).collect())
}

/// Jobs that have not succeeded.
pub async fn leftovers(pool: &PgPool) -> Result<Vec<Leftover>, sqlx::Error> {
    type Row = (String, String, String, bool, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id::text, kind, state::text, \
             state <> 'dead' AND greatest(run_at, coalesce(lease_until, run_at)) < now() - $1::interval, \
             CASE state WHEN 'dead' THEN last_error ELSE coalesce(wait_reason, last_error) END \
         FROM jobs WHERE state NOT IN ('succeeded', 'cancelled')",
    )
    .bind(sqlx::postgres::types::PgInterval {
        months: 0,
        days: 0,
        microseconds: OVERDUE_MICROSECONDS,
    })
    .fetch_all(pool)
    .await?;
    let leftover = |(job, kind, state, overdue, reason): Row| Leftover {
        job,
        kind,
        state,
        overdue,
        reason,
    };
    Ok(rows.into_iter().map(leftover).collect())
}

/// What the first business sees of every table that has rows of businesses, as the services' role.
pub async fn views(world: &World) -> Result<Vec<View>, String> {
    let told = |error: sqlx::Error| format!("a table could not be looked at: {error}");
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT relname::text, CASE relname WHEN 'businesses' THEN 'id' ELSE 'business_id' END \
         FROM pg_class AS class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') \
         AND (relname = 'businesses' OR EXISTS (SELECT FROM pg_attribute \
             WHERE attrelid = class.oid AND attname = 'business_id' AND NOT attisdropped)) ORDER BY 1",
    )
    .fetch_all(&world.platform.owner)
    .await
    .map_err(told)?;
    let business = world.platform.business.business_id;
    let mut views = Vec::new();
    for (table, column) in tables {
        let count = |condition: &str| {
            let query =
                format!("SELECT count(*) FROM {table} WHERE {column} {condition} '{business}'");
            AssertSqlSafe(query)
        };
        let there: i64 = sqlx::query_scalar(count("="))
            .fetch_one(&world.platform.owner)
            .await
            .map_err(told)?;
        let mut tx = database::business(&world.platform.pool, business)
            .await
            .map_err(|error| error.to_string())?;
        let own: i64 = sqlx::query_scalar(count("="))
            .fetch_one(&mut *tx)
            .await
            .map_err(told)?;
        let foreign: i64 = sqlx::query_scalar(count("<>"))
            .fetch_one(&mut *tx)
            .await
            .map_err(told)?;
        views.push(View {
            table,
            own,
            foreign,
            there,
        });
    }
    Ok(views)
}
