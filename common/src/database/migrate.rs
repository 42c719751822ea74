//! Bringing a database to the schema of this build, as its owner.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::error::{Error, Result};

/// The oldest server the migrations run on: role grants without inheritance came with it.
const OLDEST_SERVER: u32 = 160_000;

/// Runs what is missing, under a lock, so that any number of processes may start at once.
///
/// # Errors
///
/// The database's; [`Error::Conflict`] where the server is older than PostgreSQL 16, or the schema is not ours.
pub async fn migrate(owner_url: &SecretString) -> Result<()> {
    let options: PgConnectOptions = owner_url.expose_secret().parse()?;
    let mut connection = tokio::time::timeout(Duration::from_secs(10), options.connect())
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)??;
    if connection
        .server_version_num()
        .is_some_and(|version| version < OLDEST_SERVER)
    {
        return Err(Error::Conflict("PostgreSQL 16 or newer is needed"));
    }
    super::MIGRATOR
        .run(&mut connection)
        .await
        .map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "migration failed");
            match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Error::from(error),
            _ => Error::Conflict(
                "the database's schema is not one this version knows: migrate a database of its own, or \
                 in development start afresh with --reset",
            ),
        }
    })?;
    connection.close().await?;
    Ok(())
}

/// Gives the services' role a password, as the owner.
pub async fn set_app_password(owner_url: &SecretString, password: &SecretString) -> Result<()> {
    let options: PgConnectOptions = owner_url.expose_secret().parse()?;
    let mut connection = options.connect().await?;
    let quoted = password.expose_secret().replace('\'', "''");
    sqlx::raw_sql(AssertSqlSafe(format!(
        "ALTER ROLE relais_app PASSWORD '{quoted}'"
    )))
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(())
}
