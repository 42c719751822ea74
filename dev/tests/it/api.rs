//! The API as it describes itself, and what stands beside it: documentation, health, metrics.

use std::collections::HashSet;

use dev::testing::{PATIENCE, eventually};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

/// Every `$ref` in `value`.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            own.into_iter()
                .chain(fields.values().flat_map(references))
                .collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_describes_every_operation_and_its_refusals() {
    let platform = crate::setup().start().await;

    let document = platform.get_json("/api/v1/openapi.json").await;

    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(is_text(&document["info"]["title"]) && is_text(&document["info"]["description"]));
    assert_eq!(document["servers"][0]["url"], "/api/v1");
    for reference in references(&document) {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference}");
    }
    let mut names = HashSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let case = format!("{method} {path}");
            let name = operation["operationId"]
                .as_str()
                .unwrap_or_else(|| panic!("{case}: no operationId"));
            assert!(names.insert(name), "{case}: {name} twice");
            assert!(
                is_text(&operation["summary"]) || is_text(&operation["description"]),
                "{case}"
            );
            assert!(
                operation["tags"]
                    .as_array()
                    .is_some_and(|tags| !tags.is_empty()),
                "{case}"
            );

            let security = operation["security"]
                .as_array()
                .unwrap_or_else(|| panic!("{case}: no security"));
            assert_eq!(
                security.is_empty(),
                operation["x-access"] == "public",
                "{case}"
            );
            for scheme in security
                .iter()
                .flat_map(|way| way.as_object().unwrap().keys())
            {
                assert!(
                    document["components"]["securitySchemes"][scheme].is_object(),
                    "{case}: {scheme}"
                );
            }
            let parameters = operation["parameters"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let in_path: HashSet<&str> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let in_template: HashSet<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            assert_eq!(in_path, in_template, "{case}");

            let responses = &operation["responses"];
            let mut statuses = vec!["401", "500", "503"];
            if !in_path.is_empty() {
                statuses.extend(["400", "404"]);
            }
            if operation["requestBody"].is_object() {
                statuses.extend(["400", "413", "415"]);
                assert!(operation["requestBody"]["content"].is_object(), "{case}");
            }
            for status in statuses {
                let refusal = &responses[status];
                assert!(is_text(&refusal["description"]), "{case}: {status}");
                let content = &refusal["content"]["application/json; charset=utf-8"];
                assert_eq!(
                    content["schema"]["$ref"], "#/components/schemas/Error",
                    "{case}: {status}"
                );
            }
            let good = responses
                .as_object()
                .unwrap()
                .iter()
                .filter(|(status, _)| status.starts_with('2') || *status == "302");
            assert!(good.clone().count() > 0, "{case}");
            for (status, response) in good {
                assert!(
                    is_text(&response["description"]) || response["content"].is_object(),
                    "{case}: {status}"
                );
            }
        }
    }
    assert!(names.len() >= 16, "{names:?}");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documentation_and_health_are_open_to_all() {
    let platform = crate::setup().start().await;
    let open = async |path: &str| {
        let response = platform.http.get(platform.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.headers().contains_key("x-request-id"), "{path}");
        let kind = response.headers()[CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        (kind, response.text().await.unwrap())
    };

    for path in ["/", "/docs", "/redoc"] {
        let (kind, page) = open(path).await;
        assert_eq!(kind, "text/html; charset=utf-8", "{path}");
        assert!(
            page.contains("receive_manychat_message"),
            "{path} carries the description"
        );
        // Nothing is fetched from elsewhere.
        assert!(
            !page.contains("<script src=") && !page.contains("<link href=\"http"),
            "{path}"
        );
    }
    let (_, health) = open("/health").await;
    assert_eq!(
        serde_json::from_str::<Value>(&health).unwrap()["status"],
        "ok"
    );
    let detailed: Value = serde_json::from_str(&open("/health/detailed").await.1).unwrap();
    assert_eq!(
        (&detailed["status"], &detailed["spooling"]),
        (&json!("ok"), &json!(false))
    );
    for dependency in ["postgresql", "redis", "object_storage"] {
        let report = &detailed["dependencies"][dependency];
        assert_eq!(report["status"], "ok", "{dependency}");
        assert!(report["latency_ms"].as_f64().unwrap() > 0.0, "{dependency}");
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_of_the_traffic_there_was() {
    let platform = crate::setup().start().await;
    platform.say(1, "Bonjour").await;
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await
    );
    platform
        .ingest("notes.md", b"The shop opens at nine.".to_vec())
        .await;
    assert_eq!(platform.get("/api/v1/nowhere").await.status(), 404);
    assert_eq!(
        platform.get("/api/v1/invented-by-a-caller").await.status(),
        404
    );

    let promised = [
        // Acknowledgement and acceptance.
        "relais_ack_seconds_bucket{le=",
        "relais_http_seconds_count{operation=\"receive_manychat_message\",class=\"2xx\"}",
        "relais_http_seconds_count{operation=\"upload_document\",class=\"2xx\"}",
        "relais_http_seconds_count{operation=\"unmatched\",class=\"4xx\"}",
        "relais_accepted_total{outcome=\"new\"}",
        "relais_commit_jobs",
        // Queues: depth and age, the signal to scale by.
        "relais_backlog_jobs{queue=\"chat\"}",
        "relais_backlog_age_seconds{queue=\"chat\"}",
        "relais_running_jobs{queue=\"chat\"}",
        // Jobs.
        "relais_jobs_total{kind=\"receive_message\",outcome=\"succeeded\"}",
        "relais_jobs_total{kind=\"ingest_document\",outcome=\"succeeded\"}",
        "relais_job_seconds_bucket{kind=\"take_turn\",le=",
        "relais_job_wait_seconds_bucket{kind=\"take_turn\",le=",
        // Turns and deliveries.
        "relais_turn_seconds_bucket{stage=\"gather\",le=",
        "relais_turn_seconds_bucket{stage=\"retrieve\",le=",
        "relais_turn_seconds_bucket{stage=\"model\",le=",
        "relais_turn_seconds_bucket{stage=\"commit\",le=",
        "relais_deliveries_total{channel=\"manychat\",outcome=\"accepted\"}",
    ];
    let page = eventually("the scheduler has looked at the queues", async || {
        let response = platform
            .http
            .get(platform.url("/metrics"))
            .send()
            .await
            .unwrap();
        assert_eq!(
            response.headers()[CONTENT_TYPE],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        let page = response.text().await.unwrap();
        page.contains("relais_backlog_jobs{").then_some(page)
    })
    .await;
    for name in promised {
        assert!(page.contains(name), "{name}:\n{page}");
    }
    assert!(!page.contains("invented"), "callers cannot make metrics");
    platform.stop().await;
}
