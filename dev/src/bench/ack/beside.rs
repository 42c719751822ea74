//! The ingress with another acceptor: one that stores nothing, and one that commits each request for itself.

use std::sync::Arc;
use std::time::Duration;

use common::batch::BatchLimits;
use common::database;
use common::database::jobs::Accepted;
use common::queue::Enqueued;
use common::{Clock, Config};
use ingress::accept::Acceptor;
use ingress::{Context, PromptAcceptor};
use poem::Server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::super::Failure;

/// What is otherwise than in the ingress.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in crate::bench) enum Beside {
    /// Nothing is stored.
    Nothing,
    /// Each request is a commit.
    Single,
}

/// How the ingress that stores nothing is sized: as the real one.
const NOTHING: BatchLimits = BatchLimits {
    batch: 512,
    concurrency: 4,
    linger: Duration::ZERO,
    many: 4,
    waiting: 8_192,
};

/// How the ingress without group commit is sized: a request a commit, as many at once as there are connections.
const SINGLE: BatchLimits = BatchLimits {
    batch: 1,
    concurrency: 20,
    linger: Duration::ZERO,
    many: 4,
    waiting: 8_192,
};

/// Serves until it is killed, configured as the ingress is.
pub(in crate::bench) async fn serve(beside: Beside) -> Result<(), Failure> {
    let config = Config::from_env()?;
    let bind = config.bind;
    let context = Context::connect(config, Clock::default(), CancellationToken::new())?;
    let mut context = Arc::into_inner(context).ok_or("the context is shared")?;
    context.acceptor = match beside {
        Beside::Nothing => storing_nothing(&context),
        Beside::Single => committing_each(&context),
    };
    let app = ingress::app(Arc::new(context));
    let acceptor = PromptAcceptor::new(TcpListener::bind(bind).await?)?;
    Ok(Server::new_with_acceptor(acceptor).run(app).await?)
}

fn storing_nothing(context: &Context) -> Acceptor {
    let (pool, dispatch) = (context.pool.clone(), context.dispatch.clone());
    Acceptor::committing(NOTHING, pool, dispatch, async |jobs| {
        Ok(jobs.iter().map(|job| Accepted::New(job.id)).collect())
    })
}

fn committing_each(context: &Context) -> Acceptor {
    let (pool, dispatch) = (context.pool.clone(), context.dispatch.clone());
    let (into, push, clock) = (pool.clone(), dispatch.clone(), context.clock.clone());
    Acceptor::committing(SINGLE, pool, dispatch, move |jobs| {
        let (into, push, now) = (into.clone(), push.clone(), clock.now());
        async move {
            let mut tx = database::platform(&into).await?;
            let accepted = database::jobs::insert_many(&mut tx, &jobs, now).await?;
            tx.commit().await?;
            // Off the path of the acknowledgement, as the real one does.
            let due: Vec<Enqueued> = jobs.iter().map(|job| job.due()).collect();
            tokio::spawn(async move { push.push(&due).await });
            Ok(accepted)
        }
    })
}
