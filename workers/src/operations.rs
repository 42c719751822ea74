//! Health and metrics of a worker process, on a port of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::telemetry;
use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json};
use poem::{EndpointExt, IntoResponse, Response, Route, Server, get, handler};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Serves at `address` until `shutdown`.
pub(crate) async fn serve(
    address: SocketAddr,
    context: Arc<Context>,
    shutdown: CancellationToken,
) -> Result<JoinHandle<()>, String> {
    let acceptor = TcpListener::bind(address)
        .into_acceptor()
        .await
        .map_err(|error| {
            format!(
                "cannot listen at {address}: {error}; set RELAIS_OPERATIONS_BIND to a free address"
            )
        })?;
    tracing::info!(address = %acceptor.local_addr()[0], "health and metrics");
    let app = Route::new()
        .at("/health", get(health))
        .at("/health/detailed", get(detailed))
        .at("/metrics", get(metrics))
        .data(context);
    Ok(tokio::spawn(async move {
        let until = async move { shutdown.cancelled().await };
        let ended = Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(
            app,
            until,
            Some(Duration::from_secs(1)),
        );
        if let Err(error) = ended.await {
            tracing::error!(%error, "health and metrics are not served any more");
        }
    }))
}

#[handler]
fn health() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

#[handler]
async fn detailed(context: Data<&Arc<Context>>) -> Response {
    let postgres = sqlx::query("SELECT 1").execute(&context.pool).await.is_ok();
    let redis = context.dispatch.ping().await.is_ok();
    let up = |up| if up { "up" } else { "down" };
    let status = if postgres && redis {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({ "worker": context.worker, "postgresql": up(postgres), "redis": up(redis) });
    Json(body).with_status(status).into_response()
}

#[handler]
fn metrics() -> String {
    telemetry::metrics().render()
}
