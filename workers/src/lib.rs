//! Worker pools: they take jobs from Redis, run them against PostgreSQL, and call models and channels.

pub mod answer;
pub mod backoff;
pub mod context;
pub mod error;
pub mod extraction;
pub mod handler;
mod jobs;
mod leases;
mod operations;
pub mod options;
mod pools;
pub mod runner;
pub mod turn;

use std::sync::Arc;

use common::database::Lines;
use common::providers::models;
use common::providers::{ManyChat, Models, mail, object_store};
use common::queue::Dispatch;
use common::retrieval::Retriever;
use common::secret::{DerivationKey, Purpose, Sealer};
use common::{Clock, Config, database, redis};
use tokio_util::sync::CancellationToken;

pub use context::Context;
pub use options::{Concurrency, Options};

use extraction::Extractor;
use leases::Leases;
use runner::Runner;

/// Runs the pools until `shutdown`; then takes no more, lets what runs finish within the grace time, and gives back the rest.
///
/// # Errors
///
/// What keeps it from starting, in words for the operator.
pub async fn run(
    config: &Config,
    concurrency: &Concurrency,
    extractor: Extractor,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let context = Arc::new(context(config, extractor, clock).map_err(|error| error.to_string())?);
    let operations = match config.operations_bind {
        Some(address) => {
            Some(operations::serve(address, Arc::clone(&context), shutdown.clone()).await?)
        }
        None => None,
    };
    let abort = CancellationToken::new();
    let runner = Runner::new(Arc::clone(&context), abort.clone());
    let serving = pools::serve(config, concurrency, &context, runner, shutdown.clone());
    let grace = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.shutdown_grace).await;
        tracing::warn!("the grace time is over: what still runs is given back");
        abort.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! { served = serving => served?, () = grace => {} }
    if let Some(operations) = operations {
        operations.await.ok();
    }
    Ok(())
}

fn context(config: &Config, extractor: Extractor, clock: Clock) -> common::Result<Context> {
    let pool = database::connect_lazy(
        &config.stores.database_url,
        config.stores.database_max_connections,
    )?;
    let secret = &config.identity.jwt_secret;
    let worker = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7().simple());
    Ok(Context {
        leases: Leases::keep(Lines::beside(&pool), worker.clone()),
        lines: Lines::beside(&pool),
        pool,
        clock,
        dispatch: Dispatch::new(redis::connect(&config.stores.redis_url)?),
        models: Models::from_config(&config.models),
        retriever: Retriever::new(models::embedder(&config.models)),
        extractor,
        objects: object_store::connect(&config.objects)?,
        sealer: Sealer::new(&config.secrets)?,
        manychat: ManyChat::new(config.manychat_base_url.clone(), config.manychat_timeout),
        mailer: mail::connect(&config.identity.mail, &config.objects.data_dir)?,
        email_proofs_key: DerivationKey::new(secret, Purpose::EmailProofs),
        invitations_key: DerivationKey::new(secret, Purpose::Invitations),
        public_url: config.public_url(),
        burst_quiet: config.burst_quiet,
        job_retention: config.job_retention,
        worker,
    })
}
