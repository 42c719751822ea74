//! One trace from a webhook to its delivery, through three processes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use dev::testing::{Setup, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AttributeValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::Data;
use poem::{Body, EndpointExt, Route, Server, handler, post};
use prost::Message;
use secrecy::ExposeSecret;
use serde_json::json;

type Spans = Arc<Mutex<Vec<Span>>>;

/// Takes what is exported by OTLP over HTTP; its address.
async fn collector(spans: &Spans) -> String {
    let acceptor = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .into_acceptor()
        .await
        .unwrap();
    let address = acceptor.local_addr()[0].as_socket_addr().copied().unwrap();
    let app = Route::new()
        .at("/v1/traces", post(take))
        .data(Arc::clone(spans));
    tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
    format!("http://{address}")
}

#[handler]
async fn take(body: Body, Data(spans): Data<&Spans>) {
    let body = body.into_vec().await.unwrap();
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let resources = request.resource_spans.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    let exported = scopes.flat_map(|scope| scope.spans);
    spans.lock().unwrap().extend(exported);
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let attribute = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        AttributeValue::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_webhook_to_the_delivery() {
    let platform = Setup {
        ingresses: 0,
        workers: false,
        scheduler: false,
        ..crate::setup()
    }
    .start()
    .await;
    let spans = Spans::default();
    let endpoint = collector(&spans).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ingress = free.local_addr().unwrap().to_string();
    drop(free);
    let vars = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("RUST_LOG", "info"),
        ("RELAIS_BIND", ingress.as_str()),
    ];
    let mut processes = [["ingress"], ["workers"], ["scheduler"]]
        .map(|service| platform.spawn_with(&service, &vars));
    eventually("the ingress is up", async || {
        let health = platform
            .http
            .get(format!("http://{ingress}/health"))
            .send()
            .await;
        health.ok().filter(|health| health.status() == 200)
    })
    .await;

    let trace: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    let send = async |traceparent: Option<String>, message_id: &str| {
        let mut request = platform
            .http
            .post(format!("http://{ingress}/api/v1/webhook/manychat"))
            .header(
                "X-Webhook-Secret",
                platform.business.webhook_secret.expose_secret(),
            )
            .json(&json!({ "subscriber_id": 7, "text": "Bonjour", "message_id": message_id }));
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    send(None, "wamid.1").await;
    let delivered = async |count| {
        let found = eventually("it is delivered", async || {
            (platform.manychat.delivered().len() == count).then_some(())
        });
        found.await;
    };
    delivered(1).await;
    send(
        Some(format!("00-{trace:032x}-00f067aa0ba902b7-01")),
        "wamid.2",
    )
    .await;
    delivered(2).await;

    let kinds = ["receive_message", "take_turn", "deliver_message"];
    let jobs = |kind: &str| -> Vec<Span> {
        let spans = spans.lock().unwrap();
        let jobs = spans
            .iter()
            .filter(|span| attribute(span, "job.kind") == Some(kind));
        jobs.cloned().collect()
    };
    eventually("all spans are exported", async || {
        kinds.iter().all(|kind| jobs(kind).len() >= 2).then_some(())
    })
    .await;
    for process in &mut processes {
        assert!(
            process.terminate().success(),
            "what is left is exported at the end"
        );
    }

    let requests: Vec<Span> = spans
        .lock()
        .unwrap()
        .iter()
        .filter(|span| {
            span.name == "request"
                && attribute(span, "operation") == Some("receive_manychat_message")
        })
        .cloned()
        .collect();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for (at, request) in requests.iter().enumerate() {
        assert_eq!(
            attribute(request, "business.id"),
            Some(platform.business.business_id.to_string().as_str())
        );
        let mut causes = vec![request.span_id.clone()];
        for kind in kinds {
            // One, unless an attempt had to be repeated.
            let attempts: Vec<Span> = jobs(kind)
                .into_iter()
                .filter(|job| job.trace_id == request.trace_id)
                .collect();
            assert!(!attempts.is_empty(), "{kind} of message {at}");
            for attempt in &attempts {
                assert!(
                    causes.contains(&attempt.parent_span_id),
                    "{kind} follows from what caused it: {attempt:?}"
                );
            }
            causes = attempts.into_iter().map(|span| span.span_id).collect();
        }
    }
    assert_ne!(requests[0].trace_id, requests[1].trace_id);
    assert_eq!(
        requests[1].trace_id,
        trace.to_be_bytes(),
        "the sender's trace goes on"
    );
}
