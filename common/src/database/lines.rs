//! Connections of their own for the platform's small, constant work: claims, ends, offers, leases, acceptance.
//!
//! A pool asks each connection for a sign of life when it is taken and again when it is given back, and plans each statement
//! anew: for a statement that takes a tenth of a millisecond that is most of its cost, and every question and answer waits
//! for a core.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool};

use super::{PLATFORM, PLATFORM_RELAXED, within};
use crate::error::Result;

/// How long a kept connection may take to begin a transaction before another is tried: it may have fallen silent.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(3);

/// What these statements have in common: each finds a few rows by an index, whatever the statistics say, so one plan serves
/// for good. What would be better for many rows is left out, because a plan made while a table was small would scan it when
/// it is large.
const PLANS: [(&str, &str); 6] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Connections for short transactions of the platform; as many as are used at once. Cheap to clone.
#[derive(Clone)]
pub struct Lines {
    options: Arc<PgConnectOptions>,
    idle: Arc<Mutex<Vec<PgConnection>>>,
}

impl Lines {
    /// Lines to where the connections of `pool` go, apart from them.
    pub fn beside(pool: &PgPool) -> Self {
        let options = PgConnectOptions::clone(&pool.connect_options()).options(PLANS);
        Self {
            options: Arc::new(options),
            idle: Arc::default(),
        }
    }

    /// As [`super::platform`].
    pub async fn platform(&self) -> Result<LineTransaction> {
        self.begin(PLATFORM).await
    }

    /// As [`super::platform_relaxed`].
    pub async fn platform_relaxed(&self) -> Result<LineTransaction> {
        self.begin(PLATFORM_RELAXED).await
    }

    async fn begin(&self, statement: &'static str) -> Result<LineTransaction> {
        let kept = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(connection) = kept {
            let begun = within(SIGN_OF_LIFE, self.begin_on(connection, statement)).await;
            match begun {
                Err(error) if error.is_database_outage() => self.forget_idle(),
                other => return other,
            }
        }
        let connection = within(CONNECTING, async { Ok(self.options.connect().await?) }).await?;
        self.begin_on(connection, statement).await
    }

    async fn begin_on(
        &self,
        mut connection: PgConnection,
        statement: &'static str,
    ) -> Result<LineTransaction> {
        sqlx::raw_sql(statement).execute(&mut connection).await?;
        Ok(LineTransaction {
            connection,
            idle: Arc::clone(&self.idle),
        })
    }

    /// What befell one befell the others: a server that was restarted, a network that was cut.
    fn forget_idle(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// A transaction on a line. Dropped before its end, it ends with its connection: nobody can take over one whose state is not
/// known.
pub struct LineTransaction {
    connection: PgConnection,
    idle: Arc<Mutex<Vec<PgConnection>>>,
}

impl LineTransaction {
    /// Commits.
    pub async fn commit(mut self) -> Result<()> {
        sqlx::raw_sql("commit")
            .execute(&mut self.connection)
            .await?;
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.connection);
        Ok(())
    }
}

impl Deref for LineTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for LineTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
