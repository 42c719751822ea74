//! Logs, traces and metrics, the same for every process; and what a request carries into its jobs.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::TelemetryConfig;

mod described;

pub use described::METRICS;

tokio::task_local! {
    /// The request this task works for.
    static REQUEST_ID: String;
}

/// Runs `work` as part of the request `id`: jobs it enqueues carry the id.
pub async fn within_request<T>(id: String, work: impl Future<Output = T>) -> T {
    REQUEST_ID.scope(id, work).await
}

/// The request this task works for.
pub fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// The current span in W3C form; `None` where nothing is traced.
pub fn current_traceparent() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove("traceparent")
}

/// Makes `span` a child of what `traceparent` names.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent {
        let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        // Fails only where tracing is off.
        span.set_parent(TraceContextPropagator::new().extract(&carrier))
            .ok();
    }
}

/// Flushes what is not exported yet when dropped.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "some traces were not exported");
        }
    }
}

/// Starts logging to standard error and, where configured, tracing, as `service`. Once a process.
///
/// # Errors
///
/// A filter or an endpoint that does not parse, in words for the operator.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Telemetry, String> {
    let filter =
        EnvFilter::try_new(&config.filter).map_err(|error| format!("RUST_LOG: {error}"))?;
    // Of an answer that does not read it logs every word, and people's words with them.
    let filter = filter.add_directive("async_openai=off".parse().expect("a constant that reads"));
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if config.json {
        format
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        format.with_target(false).boxed()
    };
    let traces = config
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| tracer(endpoint, service))
        .transpose()?;
    let spans = traces
        .as_ref()
        .map(|traces| tracing_opentelemetry::layer().with_tracer(traces.tracer("relais")));
    tracing_subscriber::registry()
        .with(filter)
        .with(logs)
        .with(spans)
        .try_init()
        .map_err(|error| error.to_string())?;
    install_panic_hook();
    Ok(Telemetry { traces })
}

/// A panic is a line of the log like any other, with its place.
fn install_panic_hook() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if tracing::enabled!(tracing::Level::ERROR) {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(
                place,
                reason = panic.payload_as_str().unwrap_or("unknown"),
                "panicked"
            );
        } else {
            default(panic);
        }
    }));
}

fn tracer(endpoint: &str, service: &'static str) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(Duration::from_secs(5))
        .build()
        .map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}"))?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}

/// Seconds: from a cached read to a long turn.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// How often what was recorded is folded into the metrics.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How long a gauge that nobody sets any more is told: what is measured is set every few seconds, and a business whose
/// backlog is gone must not be told for ever.
const GAUGES_FOR: Duration = Duration::from_secs(15);

/// The process's metrics: installed at the first call, rendered by [`PrometheusHandle::render`].
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("the list of buckets is not empty")
            .idle_timeout(MetricKindMask::GAUGE, Some(GAUGES_FOR));
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_ok() {
            described::describe();
        }
        // Without upkeep, what is recorded piles up where nobody scrapes.
        let kept = handle.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_EVERY);
                kept.run_upkeep();
            }
        });
        handle
    })
}
