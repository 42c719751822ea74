//! The whole application with no store behind it: what it answers when it must not, or cannot, do anything.

use std::collections::HashMap;
use std::sync::Arc;

use common::{Clock, Config};
use poem::Endpoint;
use poem::http::{Method, StatusCode};
use poem::test::{TestClient, TestResponse};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Context;

const SECRET: &str = "rlwh_11111111111171118111111111111111_x";
const KEY: &str = "rl_live_11111111111171118111111111111111_x";

/// Port 1 refuses at once.
fn client() -> TestClient<impl Endpoint> {
    let folder = std::env::temp_dir().join("relais-ingress-tests");
    let vars = [
        ("DATABASE_URL", "postgres://relais_app@127.0.0.1:1/relais"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("RELAIS_MASTER_KEY", &"ab".repeat(32)),
        ("JWT_SECRET", &"cd".repeat(32)),
        ("RELAIS_DATA_DIR", folder.to_str().unwrap()),
    ];
    let vars: HashMap<String, String> = vars
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let config = Config::from_vars(vars).unwrap();
    let context = Context::connect(config, Clock::default(), CancellationToken::new()).unwrap();
    TestClient::new(crate::app(Arc::clone(&context)))
}

/// Asserts the one error format; answers the error.
async fn refusal(response: TestResponse, status: StatusCode, code: &str) -> Value {
    response.assert_status(status);
    response.assert_header_exist("x-request-id");
    response.assert_content_type("application/json; charset=utf-8");
    let body: Value = response.0.into_body().into_json().await.unwrap();
    let error = body["error"].clone();
    assert_eq!(
        body,
        json!({ "error": { "code": code, "message": error["message"], "details": error["details"] } })
    );
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty())
            && error["details"].is_object()
    );
    error
}

#[tokio::test]
async fn what_is_nowhere_or_of_another_method_is_refused_in_the_error_format() {
    let client = client();
    for path in [
        "/nowhere",
        "/api/v1/nowhere",
        "/api/v1",
        "/api/v1/documents/a/b/c",
    ] {
        refusal(
            client.get(path).send().await,
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
        )
        .await;
    }
    for (method, path) in [
        (Method::PUT, "/api/v1/documents"),
        (Method::POST, "/health"),
        (Method::GET, "/api/v1/query"),
    ] {
        let response = client.request(method, path).send().await;
        refusal(
            response,
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
        )
        .await;
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_told() {
    let client = client();
    let id = "01890000-0000-7000-8000-000000000000";
    for path in [
        "documents",
        &format!("documents/{id}"),
        &format!("documents/{id}/chunks"),
        &format!("jobs/{id}"),
        "chats",
        &format!("chats/{id}"),
        &format!("chats/{id}/messages"),
        "messages",
        "contacts",
        &format!("contacts/{id}"),
        "config/characters",
    ] {
        for authorization in [
            None,
            Some("Bearer nonsense"),
            Some("Basic YTpi"),
            Some("Bearer rl_live_x_y"),
        ] {
            let request = client.get(format!("/api/v1/{path}"));
            let request = match authorization {
                Some(value) => request.header("authorization", value),
                None => request,
            };
            refusal(
                request.send().await,
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
            )
            .await;
        }
    }
    for path in ["query", "search", "documents/upload", "webhook/manychat"] {
        let response = client
            .post(format!("/api/v1/{path}"))
            .body_json(&json!({}))
            .send()
            .await;
        refusal(response, StatusCode::UNAUTHORIZED, "UNAUTHORIZED").await;
    }
}

#[tokio::test]
async fn who_cannot_be_verified_is_asked_to_come_again_and_not_turned_away() {
    let client = client();
    let message = json!({ "subscriber_id": 1, "text": "a" });
    let webhook = client
        .post("/api/v1/webhook/manychat")
        .header("x-webhook-secret", SECRET)
        .body_json(&message);
    let api = client
        .get("/api/v1/documents")
        .header("authorization", format!("Bearer {KEY}"));
    for request in [webhook, api] {
        let response = request.send().await;
        response.assert_header("retry-after", "2");
        refusal(response, StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE").await;
    }
}

#[tokio::test]
async fn health_needs_nothing_and_its_details_tell_what_is_down() {
    let client = client();
    client.get("/health").send().await.assert_status_is_ok();
    client.get("/metrics").send().await.assert_status_is_ok();

    let response = client.get("/health/detailed").send().await;
    response.assert_status(StatusCode::SERVICE_UNAVAILABLE);
    let body: Value = response.0.into_body().into_json().await.unwrap();
    assert_eq!(body["status"], "down");
    assert_eq!(body["dependencies"]["postgresql"]["status"], "down");
    assert_eq!(body["dependencies"]["redis"]["status"], "down");
    assert_eq!(body["dependencies"]["object_storage"]["status"], "ok");
}

#[tokio::test]
async fn the_documentation_is_served_whole_and_describes_every_operation() {
    let client = client();
    let html = client
        .get("/docs")
        .send()
        .await
        .0
        .into_body()
        .into_string()
        .await
        .unwrap();
    assert!(html.contains("persistAuthorization: true,") && !html.contains("<script src="));
    let html = client
        .get("/redoc")
        .send()
        .await
        .0
        .into_body()
        .into_string()
        .await
        .unwrap();
    assert!(!html.contains("<link href=") && !html.contains("<script src="));

    let document: Value = client
        .get("/api/v1/openapi.json")
        .send()
        .await
        .0
        .into_body()
        .into_json()
        .await
        .unwrap();
    assert_eq!(
        document["components"]["securitySchemes"]["Bearer"]["scheme"],
        "bearer"
    );
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            for field in ["operationId", "summary", "security", "tags"] {
                assert!(
                    !operation[field].is_null(),
                    "{method} {path} has no {field}"
                );
            }
            assert!(
                operation["responses"]["401"]["content"].is_object(),
                "{method} {path}"
            );
        }
    }
    assert!(operations > 16, "{operations}");
}
