//! Outside the API: health, metrics, documentation.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::providers::object_store;
use common::telemetry;
use poem::endpoint::make_sync;
use poem::http::{StatusCode, header};
use poem::web::{Data, Json};
use poem::{Endpoint, IntoResponse, Response, handler};
use serde_json::{Value, json};

use crate::context::Context;
use crate::edge::milliseconds;

/// How long a dependency may take to say that it is well.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the process is up; asks nobody.
#[handler]
pub(crate) fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Each dependency with its latency.
///
/// Without PostgreSQL little can be done here, although messages are still taken: 503. Without Redis or object storage
/// most goes on, more slowly or without uploads: degraded.
#[handler]
pub(crate) async fn detailed_health(context: Data<&Arc<Context>>) -> Response {
    let (postgresql, redis, objects) = tokio::join!(
        check(async {
            sqlx::Executor::execute(&context.pool, "SELECT 1")
                .await
                .is_ok()
        }),
        check(async { context.dispatch.ping().await.is_ok() }),
        check(async { object_store::ping(&*context.objects).await.is_ok() }),
    );
    let status = match (postgresql.is_some(), redis.is_some() && objects.is_some()) {
        (false, _) => "down",
        (true, false) => "degraded",
        (true, true) => "ok",
    };
    let body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "spooling": context.acceptor.is_spooling(),
        "dependencies": {
            "postgresql": report(postgresql),
            "redis": report(redis),
            "object_storage": report(objects),
        },
    });
    let code = if postgresql.is_some() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Json(body).with_status(code).into_response()
}

/// How long a dependency took to answer; `None`: it did not.
async fn check(answers: impl Future<Output = bool>) -> Option<Duration> {
    let started = Instant::now();
    tokio::time::timeout(CHECK_TIMEOUT, answers)
        .await
        .ok()?
        .then(|| started.elapsed())
}

fn report(latency: Option<Duration>) -> Value {
    match latency {
        Some(latency) => json!({ "status": "ok", "latency_ms": milliseconds(latency) }),
        None => json!({ "status": "down" }),
    }
}

/// The process's metrics, for Prometheus.
#[handler]
pub(crate) fn metrics() -> Response {
    Response::builder()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(telemetry::metrics().render())
}

/// The way to the documentation.
#[handler]
pub(crate) fn root() -> Response {
    Response::builder()
        .status(StatusCode::TEMPORARY_REDIRECT)
        .header(header::LOCATION, "/docs")
        .finish()
}

/// A page that is made when it is first asked for.
pub(crate) fn page(
    content_type: &'static str,
    write: impl Fn() -> String + Send + Sync + 'static,
) -> impl Endpoint {
    let written: OnceLock<Bytes> = OnceLock::new();
    make_sync(move |_| {
        let body = written.get_or_init(|| write().into()).clone();
        Response::builder().content_type(content_type).body(body)
    })
}
