//! All SQL. One module a table group; functions on a connection, the caller owns the transaction.

pub mod access;
pub mod api_keys;
pub mod audit;
pub mod businesses;
pub mod chunks;
pub mod conversation;
pub mod data_keys;
pub mod documents;
pub mod history;
pub mod identity;
pub mod jobs;
pub mod lines;
pub mod migrate;
pub mod queues;
pub mod vector_index;

pub use lines::Lines;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgPool, Postgres, Transaction};

use crate::domain::{BusinessId, UserId};
use crate::error::Result;

/// The schema, as of this build.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Settings every transaction of ours runs with.
///
/// A tenant's size is not in the statistics, so a generic plan that suits a large tenant ruins a small one: plan each time.
const TRANSACTION_SETTINGS: &str = "set local plan_cache_mode = force_custom_plan";

/// What a commit needs that may be lost with the server.
const RELAXED: &str = "set local synchronous_commit = off";

/// How the platform's own transactions begin: those that last, and those that may be lost with the server ([`RELAXED`]).
const PLATFORM: &str = "begin; set local role relais_platform";
const PLATFORM_RELAXED: &str =
    "begin; set local role relais_platform; set local synchronous_commit = off";

/// How long a connection may take for a sign of life when it is given back.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// How long after its last use a connection is taken for alive: it answered then.
const FRESH: Duration = Duration::from_secs(1);

/// A pool of connections as the services' role.
///
/// Connects lazily: a service starts, and says in its health report, while the database is away.
///
/// # Errors
///
/// Where `url` is no PostgreSQL URL.
pub fn connect_lazy(url: &SecretString, max_connections: u32) -> Result<PgPool> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let options = options
        .application_name("relais")
        // A frozen process must not hold its locks: no transaction of ours waits for anything but the database.
        .options([
            ("statement_timeout", "30s"),
            ("idle_in_transaction_session_timeout", "3s"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(max_connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(3))
        .idle_timeout(Duration::from_mins(10))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        // A connection that was given up while it was silent would keep its place for as long as the system tries to reach
        // the other end: a quarter of an hour.
        .after_release(|connection, _| {
            Box::pin(async move {
                tokio::time::timeout(SIGN_OF_LIFE, connection.ping())
                    .await
                    .map_err(|_| sqlx::Error::PoolTimedOut)??;
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// `work`, or an outage after `limit`: for what must go on where a connection has fallen silent. The server's own limits do
/// not help there.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
    }
}

/// Opens a transaction that acts for one business: the only door to tenant tables. One round trip.
pub async fn business(
    pool: &PgPool,
    business_id: BusinessId,
) -> Result<Transaction<'static, Postgres>> {
    // A UUID prints as hex digits and dashes: nothing to escape.
    begin(
        pool,
        format!("begin; set local relais.business_id = '{business_id}'; {TRANSACTION_SETTINGS}"),
    )
    .await
}

/// [`business`], for work that may be repeated if the server crashes: its commit does not wait for the disk.
///
/// The next commit that does wait makes this one durable too.
pub async fn business_relaxed(
    pool: &PgPool,
    business_id: BusinessId,
) -> Result<Transaction<'static, Postgres>> {
    let begins = format!(
        "begin; set local relais.business_id = '{business_id}'; {TRANSACTION_SETTINGS}; {RELAXED}"
    );
    begin(pool, begins).await
}

/// Opens a transaction that acts for one user, across businesses: sees the user's own rows, and changes what the tables
/// let users change.
pub async fn user(pool: &PgPool, user_id: UserId) -> Result<Transaction<'static, Postgres>> {
    begin(
        pool,
        format!("begin; set local relais.user_id = '{user_id}'; {TRANSACTION_SETTINGS}"),
    )
    .await
}

/// Opens a transaction for the platform's own work, across businesses, with the rights the tables grant it.
///
/// For the dispatcher, the runner, crons and authentication; never for a request that a tenant shaped.
pub async fn platform(pool: &PgPool) -> Result<Transaction<'static, Postgres>> {
    begin(pool, PLATFORM.to_owned()).await
}

/// [`platform`], for work that may be repeated if the server crashes: its commit does not wait for the disk.
pub async fn platform_relaxed(pool: &PgPool) -> Result<Transaction<'static, Postgres>> {
    begin(pool, PLATFORM_RELAXED.to_owned()).await
}

/// Begins in a task of its own, which the caller's end does not cancel.
///
/// Cancelled between the statement and its answer, sqlx would take the connection for idle and hand it to the next with
/// the transaction open: with another tenant, another role, or commits that do not wait for the disk.
async fn begin(pool: &PgPool, statement: String) -> Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(AssertSqlSafe(statement)).await });
    Ok(begun.await.map_err(|_| sqlx::Error::WorkerCrashed)??)
}
