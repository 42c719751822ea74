//! The ingress: verifies, writes, queues, answers. Never calls a model.
//!
//! [`run`] is the service; [`start`] the same in the background, for those who start several in one process; [`app`] the
//! bare application over a [`Context`].

pub mod accept;
pub mod auth;
pub mod error;
pub mod limits;
pub mod webhooks;

mod allow;
mod api;
mod body;
mod cache;
mod context;
mod edge;
mod idempotency;
mod open_id;
mod openapi;
mod operations;
mod pages;
mod prompt;

pub use context::Context;
pub use prompt::PromptAcceptor;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Clock, Config, telemetry};
use poem::listener::Acceptor;
use poem::{Endpoint, EndpointExt, Response, Route, Server, get};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use idempotency::Idempotent;

/// How long a connection may be silent. Longer than any operation waits.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

const HTML: &str = "text/html; charset=utf-8";

/// Why the ingress does not start, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// Serves until `shutdown`; then closes the listener at once and finishes what it accepted, for as long as
/// `config.shutdown_grace`.
///
/// # Errors
///
/// Where it cannot start, or a connection task fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), StartError> {
    let (_, served) = start(config, Clock::default(), shutdown).await?;
    served
        .await
        .map_err(|error| StartError(format!("the ingress stopped: {error}")))
}

/// Starts serving in the background; answers the address it listens on (of use where `config.bind` has port 0) and what
/// to await after cancelling `shutdown`.
///
/// # Errors
///
/// Where it cannot start.
pub async fn start(
    config: Config,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(SocketAddr, JoinHandle<()>), StartError> {
    // Before anything is connected: a taken port is the likeliest mistake.
    let (acceptor, address) = bind(config.bind).await?;
    let context = Context::connect(config, clock, shutdown).map_err(StartError)?;
    let served = tokio::spawn(serve(acceptor, context));
    tracing::info!(%address, "ingress listens");
    Ok((address, served))
}

async fn bind(address: SocketAddr) -> Result<(PromptAcceptor, SocketAddr), StartError> {
    let refused = |error: std::io::Error| {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "something else listens there; stop it or set RELAIS_BIND to a free port"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need rights; set RELAIS_BIND to a higher one"
            }
            _ => "set RELAIS_BIND to an address of this machine",
        };
        StartError(format!("cannot listen on {address} ({error}): {advice}"))
    };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(refused)?;
    let acceptor = PromptAcceptor::new(listener).map_err(refused)?;
    let bound = acceptor
        .local_addr()
        .first()
        .and_then(|address| address.as_socket_addr().copied());
    Ok((acceptor, bound.unwrap_or(address)))
}

async fn serve(acceptor: PromptAcceptor, context: Arc<Context>) {
    let server = Server::new_with_acceptor(acceptor).idle_timeout(IDLE_TIMEOUT);
    let stop = context.stopping.clone().cancelled_owned();
    let grace = context.config.shutdown_grace;
    if let Err(error) = server
        .run_with_graceful_shutdown(app(context), stop, Some(grace))
        .await
    {
        tracing::error!(%error, "the server failed");
    }
}

/// The application over `context`.
pub fn app(context: Arc<Context>) -> impl Endpoint<Output = Response> {
    // Installs the recorder before the first request is measured.
    telemetry::metrics();
    // Megabytes of which most processes are never asked for one: each page is made at its first request.
    let specification = || openapi::document(&api::service().spec());
    let swagger = || {
        let service = api::service();
        openapi::page(
            &service.swagger_ui_html(),
            &service.spec(),
            openapi::with_kept_login,
        )
    };
    let redoc = || {
        let service = api::service();
        openapi::page(
            &service.redoc_html(),
            &service.spec(),
            openapi::without_foreign_fonts,
        )
    };
    let routes = pages::add(Route::new())
        .at("/", get(operations::root))
        .at("/health", get(operations::health))
        .at("/health/detailed", get(operations::detailed_health))
        .at("/metrics", get(operations::metrics))
        .at("/docs", get(operations::page(HTML, swagger)))
        .at("/redoc", get(operations::page(HTML, redoc)))
        .at(
            "/api/v1/openapi.json",
            get(operations::page("application/json", specification)),
        )
        .nest("/api/v1", Idempotent::new(api::service()));
    edge::Edge::new(routes.data(context))
}

#[cfg(test)]
mod tests;
