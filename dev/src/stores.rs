//! The PostgreSQL and the Redis that `cargo run` works with: given by URL, or its own.

use std::collections::HashMap;
use std::path::Path;

use common::{database, secret};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};

use crate::servers::{
    Binaries, Postgres, PostgresOptions, Redis, RedisOptions, default_cache_dir, find_postgres,
    find_redis,
};

/// The database of `cargo run`.
const DATABASE: &str = "relais";

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
        let cache = default_cache_dir();
        let (mut postgres, mut redis) = (None, None);
        let (database_url, database_owner_url) = match given("DATABASE_URL") {
            Some(url) => (url, given("DATABASE_OWNER_URL")),
            None => {
                let bin = find_postgres(&cache)
                    .await
                    .map_err(|error| error.to_string())?;
                let options = PostgresOptions::kept(data_dir.join("postgres"));
                let server = Postgres::start(&bin, options)
                    .await
                    .map_err(|error| error.to_string())?;
                let urls = own_database(&server, reset)
                    .await
                    .map_err(|error| format!("the database was not made: {error}"))?;
                postgres = Some(server);
                urls
            }
        };
        let redis_url = match given("REDIS_URL") {
            Some(url) => url,
            None => {
                let program = find_redis(&cache)
                    .await
                    .map_err(|error| error.to_string())?;
                let server = Redis::start(&program, RedisOptions::kept(data_dir.join("redis")));
                let server = server.await.map_err(|error| error.to_string())?;
                let url = server.url();
                redis = Some(server);
                url
            }
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

/// Makes the database at the first start; answers its URL twice, as nobody else's role has a password yet.
async fn own_database(
    server: &Postgres,
    reset: bool,
) -> Result<(String, Option<String>), sqlx::Error> {
    let mut connection = PgConnection::connect(&server.owner_url("postgres")).await?;
    if reset {
        // Where the server cannot use the data folder itself, its data lies elsewhere and outlived the folder.
        sqlx::raw_sql("DROP DATABASE IF EXISTS relais WITH (FORCE)")
            .execute(&mut connection)
            .await?;
    }
    let made = sqlx::raw_sql("CREATE DATABASE relais")
        .execute(&mut connection)
        .await;
    match made {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => {}
        made => drop(made?),
    }
    connection.close().await?;
    let owner_url = server.owner_url(DATABASE);
    Ok((owner_url.clone(), Some(owner_url)))
}

/// Both servers' programs, for tests.
pub async fn locate() -> Result<Binaries, String> {
    Binaries::locate(&default_cache_dir())
        .await
        .map_err(|error| error.to_string())
}
