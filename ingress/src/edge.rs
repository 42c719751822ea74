//! What every request passes on its way in and out: an id, a span, a time limit, a net for panics, the error format,
//! a line of the log and the metrics. One layer, since each costs.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use common::telemetry;
use futures::FutureExt;
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::OperationId;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::allow;
use crate::error::ApiError;
use crate::limits::STANDING;
use crate::{pages, webhooks};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer one is somebody's mistake, or worse.
const LONGEST_REQUEST_ID: usize = 128;

/// How long an operation may take, body included, unless it waits for others.
const TIMEOUT: Duration = Duration::from_secs(30);

/// For operations that wait for a job.
const WAITING_TIMEOUT: Duration = Duration::from_secs(65);

/// For uploads: 20 MB over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(3);

/// Wraps the whole application.
pub(crate) struct Edge<E> {
    inner: E,
}

impl<E> Edge<E> {
    /// Puts `inner` behind the edge.
    pub(crate) fn new(inner: E) -> Self {
        Self { inner }
    }
}

impl<E: Endpoint> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let request_id = request_id(&request);
        let span = tracing::info_span!(
            "request",
            "otel.kind" = "server",
            request_id,
            "business.id" = tracing::field::Empty,
            operation = tracing::field::Empty,
        );
        telemetry::continue_trace(&span, request.header("traceparent"));
        let method = request.method().clone();
        let fixed = fixed_path(request.uri().path());

        let work = async {
            let answer = self.answer(request, request_id.clone()).await;
            (answer, STANDING.with(Cell::get))
        };
        let work = STANDING.scope(Cell::new(None), work);
        let ((mut response, operation), standing) = work.instrument(span.clone()).await;
        if let Some(standing) = standing {
            standing.write(&mut response);
        }
        // Every id was checked to be visible ASCII.
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(request_id)) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        // Answers of the API are one caller's alone, and some have secrets: no cache on the way keeps them.
        if fixed.is_none() {
            let kept = response.headers_mut().entry(header::CACHE_CONTROL);
            kept.or_insert(HeaderValue::from_static("no-store"));
        }
        let operation = operation.or(fixed).unwrap_or("unmatched");
        record(&span, &method, operation, &response, started.elapsed());
        Ok(response)
    }
}

impl<E: Endpoint> Edge<E> {
    /// The answer whatever happens, and the operation that gave it.
    async fn answer(
        &self,
        request: Request,
        request_id: String,
    ) -> (Response, Option<&'static str>) {
        let limit = time_limit(request.uri().path());
        let uri = request.uri().clone();
        let work = telemetry::within_request(request_id, self.inner.call(request));
        match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(Ok(output))) => {
                let response = output.into_response();
                let operation = response.data::<OperationId>().map(|operation| operation.0);
                (response, operation)
            }
            Ok(Ok(Err(error))) => {
                let operation = error.data::<OperationId>().map(|operation| operation.0);
                let mut response = ApiError::from(error).to_response();
                if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                    let methods = fixed_path(uri.path())
                        .map_or_else(|| allow::methods_of(uri.path()), |_| Some(allow::READING));
                    response
                        .headers_mut()
                        .extend(methods.map(|methods| (header::ALLOW, methods)));
                }
                (response, operation)
            }
            // The panic hook has logged it.
            Ok(Err(_panic)) => (ApiError::internal().to_response(), None),
            Err(_) => {
                tracing::warn!("gave up: out of time");
                (ApiError::unavailable().to_response(), None)
            }
        }
    }
}

/// The sender's id where it is sane, so that it finds our logs by its own.
fn request_id(request: &Request) -> String {
    request
        .header(&REQUEST_ID)
        .filter(|id| {
            !id.is_empty()
                && id.len() <= LONGEST_REQUEST_ID
                && id.bytes().all(|byte| byte.is_ascii_graphic())
        })
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn time_limit(path: &str) -> Duration {
    match path {
        "/api/v1/documents/upload" => UPLOAD_TIMEOUT,
        "/api/v1/query" | "/api/v1/search" => WAITING_TIMEOUT,
        _ => TIMEOUT,
    }
}

/// Paths outside the API, which have no operation id: listed, so that callers cannot invent metrics.
fn fixed_path(path: &str) -> Option<&'static str> {
    [
        "/",
        "/health",
        "/health/detailed",
        "/metrics",
        "/docs",
        "/redoc",
        "/api/v1/openapi.json",
    ]
    .into_iter()
    .chain(pages::PATHS)
    .find(|known| *known == path)
}

/// To the microsecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "a request takes far less than 2^52 microseconds"
)]
pub(crate) fn milliseconds(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}

fn record(
    span: &Span,
    method: &poem::http::Method,
    operation: &'static str,
    response: &Response,
    took: Duration,
) {
    let status = response.status().as_u16();
    let class = match status {
        ..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    metrics::histogram!("relais_http_seconds", "operation" => operation, "class" => class)
        .record(took);
    if operation == webhooks::manychat::OPERATION && status == 200 {
        metrics::histogram!("relais_ack_seconds").record(took);
    }
    span.record("operation", operation);
    let duration_ms = milliseconds(took);
    if operation.starts_with("/health") || operation == "/metrics" {
        tracing::debug!(parent: span, %method, status, duration_ms, "request");
    } else {
        tracing::info!(parent: span, %method, status, duration_ms, "request");
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make;
    use poem::http::StatusCode;
    use poem::test::TestClient;
    use serde_json::Value;

    use super::*;

    fn client<F>(work: F) -> TestClient<impl Endpoint>
    where
        F: Fn() -> poem::Result<String> + Send + Sync + 'static,
    {
        let endpoint = make(move |_| {
            let outcome = work();
            async move { outcome }
        });
        TestClient::new(Edge::new(endpoint))
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_like_any_other() {
        let response = client(|| panic!("oh no")).get("/").send().await;

        response.assert_status(StatusCode::INTERNAL_SERVER_ERROR);
        response.assert_header_exist("x-request-id");
        let body: Value = response.0.into_body().into_json().await.unwrap();
        assert_eq!(body["error"]["code"], "INTERNAL_ERROR");
        assert!(!body.to_string().contains("oh no"));
    }

    #[tokio::test]
    async fn the_work_knows_the_request_it_is_done_for() {
        let client = client(|| Ok(telemetry::current_request_id().unwrap_or_default()));

        let response = client.get("/").header("x-request-id", "abc-1").send().await;
        response.assert_header("x-request-id", "abc-1");
        response.assert_text("abc-1").await;
        for insane in ["a b", "", &"x".repeat(129)] {
            let response = client.get("/").header("x-request-id", insane).send().await;
            let made = response.0.header("x-request-id").unwrap().to_owned();
            assert!(Uuid::try_parse(&made).is_ok(), "{made}");
        }
    }
}
