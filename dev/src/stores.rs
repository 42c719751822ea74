//! The PostgreSQL and the Redis that `cargo run` works with: given by URL, or its own.

use std::collections::HashMap;
use std::path::Path;

use common::{database, secret};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};

use crate::servers::{
    Binaries, Postgres, PostgresOptions, Redis, RedisOptions, ServersError, default_cache_dir,
    find_postgres, find_redis,
};

/// The database of `cargo run`.
const DATABASE: &str = "relais";

/// PostgreSQL's code for a database that is there already.
const ALREADY_EXISTS: &str = "42P04";

/// Stores that run; those of its own stop with [`Stores::stop`].
pub struct Stores {
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    /// `DATABASE_URL`, as the services' role.
    pub database_url: String,
    /// `DATABASE_OWNER_URL`; `None`: somebody else migrates.
    pub database_owner_url: Option<String>,
    /// `REDIS_URL`
    pub redis_url: String,
}

impl Stores {
    /// Uses what `vars` name, and starts its own of what they do not, in `data_dir`; its own are emptied for a `reset`.
    ///
    /// # Errors
    ///
    /// One sentence with what to do.
    pub async fn start(
        vars: &HashMap<String, String>,
        data_dir: &Path,
        reset: bool,
    ) -> Result<Self, String> {
        let given = |name: &str| vars.get(name).filter(|value| !value.is_empty()).cloned();
        let (postgres, database_url, database_owner_url) = if let Some(url) = given("DATABASE_URL")
        {
            (None, url, given("DATABASE_OWNER_URL"))
        } else {
            let server = own_postgres(data_dir).await.map_err(told)?;
            let made = make_database(&server, reset).await;
            let owner_url = made.map_err(|error| format!("the database was not made: {error}"))?;
            (Some(server), owner_url.clone(), Some(owner_url))
        };
        let (redis, redis_url) = if let Some(url) = given("REDIS_URL") {
            (None, url)
        } else {
            let server = own_redis(data_dir).await.map_err(told)?;
            let url = server.url();
            (Some(server), url)
        };
        if let Some(owner_url) = &database_owner_url {
            let migrated = database::migrate::migrate(&SecretString::from(owner_url.clone())).await;
            migrated.map_err(|error| format!("the database was not migrated: {error}"))?;
        }
        // The role exists once the schema does.
        let database_url = match (&postgres, &database_owner_url) {
            (Some(server), Some(owner_url)) => {
                let password = SecretString::from(secret::random_token());
                let set = database::migrate::set_app_password(
                    &SecretString::from(owner_url.clone()),
                    &password,
                )
                .await;
                set.map_err(|error| format!("the services' role got no password: {error}"))?;
                server.url_for(
                    "relais_app",
                    secrecy::ExposeSecret::expose_secret(&password),
                    DATABASE,
                )
            }
            _ => database_url,
        };
        Ok(Self {
            postgres,
            redis,
            database_url,
            database_owner_url,
            redis_url,
        })
    }

    /// Stops its own servers.
    pub async fn stop(mut self) {
        if let Some(redis) = &mut self.redis {
            redis.stop().await;
        }
        if let Some(postgres) = &mut self.postgres {
            postgres.stop().await;
        }
    }
}

async fn own_postgres(data_dir: &Path) -> Result<Postgres, ServersError> {
    let bin = find_postgres(&default_cache_dir()).await?;
    Postgres::start(&bin, PostgresOptions::kept(data_dir.join("postgres"))).await
}

async fn own_redis(data_dir: &Path) -> Result<Redis, ServersError> {
    let program = find_redis(&default_cache_dir()).await?;
    Redis::start(&program, RedisOptions::kept(data_dir.join("redis"))).await
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` takes"
)]
fn told(error: ServersError) -> String {
    error.to_string()
}

/// Makes the database at the first start; answers its URL, as the owner.
async fn make_database(server: &Postgres, reset: bool) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect(&server.owner_url("postgres")).await?;
    if reset {
        // Where the server cannot use the data folder itself, its data lies elsewhere and outlived the folder.
        let drop = "DROP DATABASE IF EXISTS relais WITH (FORCE)";
        sqlx::raw_sql(drop).execute(&mut connection).await?;
    }
    match sqlx::raw_sql("CREATE DATABASE relais")
        .execute(&mut connection)
        .await
    {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(ALREADY_EXISTS) => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    connection.close().await?;
    Ok(server.owner_url(DATABASE))
}

/// Both servers' programs, for tests.
pub async fn locate() -> Result<Binaries, String> {
    Binaries::locate(&default_cache_dir())
        .await
        .map_err(|error| error.to_string())
}
