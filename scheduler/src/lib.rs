//! The scheduler: offers due jobs to Redis, frees those whose worker died, and enqueues what is due by the clock.
//!
//! Any number of schedulers may run: rows are taken under locks, and a tick's job has a unique key.

mod backlogs;
mod dispatcher;
mod janitor;
mod operations;
pub mod schedule;
mod shares;
mod window;

use std::sync::Arc;

use common::database::Lines;
use common::queue::{Dispatch, wake};
use common::{Clock, Config, database, redis};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Connections the scheduler uses at once beside its lines: ticks, measuring and some room.
const CONNECTIONS: u32 = 3;

/// The scheduler's ready parts.
#[derive(Clone)]
pub struct Context {
    /// The database, as the services' role.
    pub pool: PgPool,
    /// The database, for the dispatcher and the janitor.
    pub lines: Lines,
    /// Redis.
    pub dispatch: Dispatch,
    /// The time.
    pub clock: Clock,
    /// Rung when there may be something to dispatch.
    pub bell: Arc<Notify>,
}

/// Runs until `shutdown`.
///
/// # Errors
///
/// What keeps it from starting, in words for the operator.
pub async fn run(config: &Config, clock: Clock, shutdown: CancellationToken) -> Result<(), String> {
    let context = context(config, clock).map_err(|error| error.to_string())?;
    let operations = match config.operations_bind {
        Some(address) => Some(operations::serve(address, context.clone(), shutdown.clone()).await?),
        None => None,
    };
    let subscriber =
        redis::connect_subscriber(&config.stores.redis_url).map_err(|error| error.to_string())?;
    wake::listen_to_refusals(&subscriber, &context.bell);
    tracing::info!("scheduler started");
    tokio::select! {
        () = Box::pin(dispatcher::run(context.clone())) => {}
        () = Box::pin(janitor::run(context.clone())) => {}
        () = Box::pin(backlogs::run(context.clone())) => {}
        () = Box::pin(schedule::run(context)) => {}
        () = shutdown.cancelled() => {}
    }
    if let Some(operations) = operations {
        operations.await.ok();
    }
    Ok(())
}

fn context(config: &Config, clock: Clock) -> common::Result<Context> {
    let pool = database::connect_lazy(&config.stores.database_url, CONNECTIONS)?;
    Ok(Context {
        lines: Lines::beside(&pool),
        pool,
        dispatch: Dispatch::new(redis::connect(&config.stores.redis_url)?),
        clock,
        bell: Arc::default(),
    })
}
