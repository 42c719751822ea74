//! Bad input: every refusal has its status and code in the one error format, and leaves nothing behind.

use std::path::Path;

use dev::testing::{PATIENCE, Platform};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::documents::{Pdf, typeset};

const WEBHOOK: &str = "/api/v1/webhook/manychat";
const UPLOAD: &str = "/api/v1/documents/upload";

/// An upload has 20 MiB at most.
const LARGEST_FILE: usize = 20 * 1024 * 1024;

/// Asserts a refusal: its status, its code, and that its form is the one all refusals have; answers its error.
pub(crate) async fn refused(case: &str, response: Response, status: u16, code: &str) -> Value {
    let (found, headers) = (response.status(), response.headers().clone());
    let body = response.text().await.unwrap();
    assert_eq!(found, status, "{case}: {body}");
    let id = headers
        .get("x-request-id")
        .unwrap_or_else(|| panic!("{case}: no request id"));
    assert!(!id.is_empty(), "{case}");
    assert_eq!(
        headers[CONTENT_TYPE], "application/json; charset=utf-8",
        "{case}"
    );
    let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{case}: {body}"));
    let error = body["error"].clone();
    let (message, details) = (&error["message"], &error["details"]);
    let form = json!({ "error": { "code": code, "message": message, "details": details } });
    assert_eq!(body, form, "{case}");
    assert!(
        message.as_str().is_some_and(|message| !message.is_empty()),
        "{case}: {body}"
    );
    assert!(details.is_object(), "{case}: {body}");
    error
}

/// Asserts a 400 that names `field`.
async fn invalid(case: &str, response: Response, field: &str) {
    let error = refused(case, response, 400, "VALIDATION_ERROR").await;
    assert_eq!(error["details"]["field"], field, "{case}: {error}");
    assert!(error["details"]["reason"].is_string(), "{case}: {error}");
}

/// Asserts that nothing came of all that was refused, and that the service works on.
async fn nothing_was_kept(platform: &Platform) {
    for table in [
        "jobs",
        "documents",
        "contacts",
        "chats",
        "messages",
        "deliveries",
        "model_calls",
    ] {
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT count(*) FROM {table} WHERE business_id IS NOT NULL"
        )))
        .fetch_one(&platform.owner)
        .await
        .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(
        files(&platform.config.objects.data_dir.join("objects")),
        0,
        "objects"
    );
    assert!(platform.manychat.delivered().is_empty());
    let health = platform.get("/health").await;
    assert_eq!(health.status(), 200);
    platform.get_json("/api/v1/documents").await;
}

/// How many files lie in `folder` and below.
pub(crate) fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            if entry.file_type().unwrap().is_dir() {
                files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

fn webhook(platform: &Platform, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let secret = platform.business.webhook_secret.expose_secret();
    platform
        .http
        .post(platform.url(WEBHOOK))
        .header("X-Webhook-Secret", secret)
        .header(CONTENT_TYPE, "application/json")
        .body(body)
}

fn request(platform: &Platform, method: Method, path: &str) -> RequestBuilder {
    let key = platform.business.api_key.expose_secret();
    platform
        .http
        .request(method, platform.url(path))
        .bearer_auth(key)
}

fn upload(
    platform: &Platform,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> RequestBuilder {
    request(platform, Method::POST, UPLOAD)
        .header(CONTENT_TYPE, content_type)
        .body(body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_without_the_right_secret_is_turned_away() {
    let platform = crate::setup().start().await;
    let right = platform.business.webhook_secret.expose_secret();
    let (prefix, random) = right.rsplit_once('_').unwrap();
    let nobody = format!("rlwh_{}_{random}", Uuid::now_v7().simple());
    let body = json!({ "subscriber_id": 1, "text": "Bonjour" });

    let without = platform
        .http
        .post(platform.url(WEBHOOK))
        .json(&body)
        .send()
        .await
        .unwrap();
    refused("no secret", without, 401, "UNAUTHORIZED").await;
    for wrong in [
        "",
        "nonsense",
        "rlwh_",
        "rlwh__",
        prefix,
        &format!("{prefix}_"),
        &format!("{prefix}_wrong"),
        &format!("{right}x"),
        &right.to_uppercase(),
        &nobody,
        platform.business.api_key.expose_secret(),
        &"x".repeat(16 * 1024),
        "'; DROP TABLE webhook_secrets; --",
    ] {
        let request = platform
            .http
            .post(platform.url(WEBHOOK))
            .header("X-Webhook-Secret", wrong);
        let response = request.json(&body).send().await.unwrap();
        refused(
            &format!("secret {wrong:.60}"),
            response,
            401,
            "UNAUTHORIZED",
        )
        .await;
    }
    // What is wrong besides is not told to strangers.
    let stranger = platform
        .http
        .post(platform.url(WEBHOOK))
        .header("X-Webhook-Secret", "wrong")
        .body("{");
    refused(
        "a stranger's bad body",
        stranger.send().await.unwrap(),
        401,
        "UNAUTHORIZED",
    )
    .await;
    let bytes = platform
        .http
        .post(platform.url(WEBHOOK))
        .header("X-Webhook-Secret", &b"rlwh_\xff\xfe_x"[..]);
    refused(
        "a secret of bytes",
        bytes.json(&body).send().await.unwrap(),
        401,
        "UNAUTHORIZED",
    )
    .await;

    nothing_was_kept(&platform).await;
    assert_eq!(platform.webhook(&body).await.status(), 200);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_does_not_read_is_refused_and_queues_nothing() {
    let platform = crate::setup().start().await;

    let nested = format!(
        r#"{{"id":1,"text":"a","x":{}{}}}"#,
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    for body in [
        &b""[..],
        b" ",
        b"{",
        b"}",
        b"null",
        b"1",
        b"[]",
        b"\"text\"",
        b"{'id': 1, 'text': 'a'}",
        b"{\"id\": 1, \"text\": \"a\",}",
        b"{\"id\": 1, \"text\": \"a\"} {}",
        b"{\"id\": 1, \"text\": NaN}",
        b"{\"id\": 01, \"text\": \"a\"}",
        b"{\"id\": 1, \"text\": \"a\tb\n\x01\"}",
        b"{\"id\": 1, \"text\": \"a\0\"}",
        b"{\"id\": 1, \"text\": \"\\ud800\"}",
        b"{\"id\": 1, \"text\": \"\xff\xfe\"}",
        b"\xef\xbb\xbf{\"id\": 1, \"text\": \"a\"}",
        b"id=1&text=a",
        b"<id>1</id>",
        nested.as_bytes(),
    ] {
        let response = webhook(&platform, body.to_vec()).send().await.unwrap();
        invalid(
            &format!("{:.60}", String::from_utf8_lossy(body)),
            response,
            "body",
        )
        .await;
    }

    for id in [
        json!(-1),
        json!(1.5),
        json!(1e30),
        json!(true),
        json!([1]),
        json!({}),
        json!("abc"),
        json!("-1"),
        json!("+1"),
        json!("1.5"),
        json!("1e3"),
        json!("0x1F"),
        json!("1 2"),
        json!("\u{661}"),
        json!("18446744073709551616"),
        json!("9".repeat(5_000)),
        json!("1\0"),
    ] {
        let body = json!({ "subscriber_id": id, "text": "a" });
        let case = format!("{:.60}", body.to_string());
        invalid(&case, platform.webhook(&body).await, "subscriber_id").await;
    }
    let huge = format!(r#"{{"subscriber_id": {}, "text": "a"}}"#, "9".repeat(30));
    invalid(
        "a huge number",
        webhook(&platform, huge).send().await.unwrap(),
        "subscriber_id",
    )
    .await;

    let long = |length: usize| "é".repeat(length);
    for (field, body) in [
        ("subscriber_id", json!({ "text": "a" })),
        ("subscriber_id", json!({ "subscriber_id": "", "text": "a" })),
        (
            "subscriber_id",
            json!({ "subscriber_id": null, "text": "a" }),
        ),
        ("subscriber_id", json!({})),
        ("id", json!({ "id": "a", "last_input_text": "a" })),
        ("text", json!({ "subscriber_id": 1 })),
        ("text", json!({ "subscriber_id": 1, "text": "" })),
        ("text", json!({ "subscriber_id": 1, "text": " \n\t " })),
        (
            "text",
            json!({ "subscriber_id": 1, "text": null, "last_input_text": "" }),
        ),
        ("text", json!({ "subscriber_id": 1, "text": ["a"] })),
        ("text", json!({ "subscriber_id": 1, "text": { "a": 1 } })),
        ("text", json!({ "subscriber_id": 1, "text": true })),
        ("text", json!({ "subscriber_id": 1, "text": long(4_097) })),
        ("text", json!({ "subscriber_id": 1, "text": "a\0b" })),
        ("text", json!({ "subscriber_id": 1, "text": "a\u{1b}[2Jb" })),
        (
            "last_input_text",
            json!({ "id": 1, "last_input_text": long(4_097) }),
        ),
        (
            "media_url",
            json!({ "subscriber_id": 1, "text": "", "media_url": "file:///etc/passwd" }),
        ),
        (
            "media_url",
            json!({ "subscriber_id": 1, "text": "", "media_url": "javascript:alert(1)" }),
        ),
        (
            "media_url",
            json!({ "subscriber_id": 1, "text": "a", "media_url": 0 }),
        ),
        (
            "media_url",
            json!({ "subscriber_id": 1, "media_url": format!("https://a/{}", long(2_048)) }),
        ),
        (
            "message_id",
            json!({ "subscriber_id": 1, "text": "a", "message_id": long(257) }),
        ),
        (
            "message_id",
            json!({ "subscriber_id": 1, "text": "a", "message_id": "a\0" }),
        ),
        (
            "message_id",
            json!({ "subscriber_id": 1, "text": "a", "message_id": {} }),
        ),
        (
            "first_name",
            json!({ "subscriber_id": 1, "text": "a", "first_name": long(257) }),
        ),
        (
            "last_name",
            json!({ "subscriber_id": 1, "text": "a", "last_name": "a\0" }),
        ),
        (
            "phone",
            json!({ "subscriber_id": 1, "text": "a", "phone": [] }),
        ),
        (
            "whatsapp_phone",
            json!({ "subscriber_id": 1, "text": "a", "whatsapp_phone": [] }),
        ),
        (
            "language",
            json!({ "subscriber_id": 1, "text": "a", "language": false }),
        ),
        (
            "last_interaction",
            json!({ "subscriber_id": 1, "text": "a", "last_interaction": {} }),
        ),
        (
            "custom_fields",
            json!({ "subscriber_id": 1, "text": "a", "custom_fields": { "a": ["\0"] } }),
        ),
        (
            "custom_fields",
            json!({ "subscriber_id": 1, "text": "a", "custom_fields": { "\0": 1 } }),
        ),
        ("ab", json!({ "subscriber_id": 1, "text": "a", "a\0b": 1 })),
    ] {
        let case = format!("{:.90}", body.to_string());
        invalid(&case, platform.webhook(&body).await, field).await;
    }

    let good = r#"{"subscriber_id": 1, "text": "a"}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "json",
        "",
    ] {
        let request = webhook(&platform, good).header(CONTENT_TYPE, kind);
        let mut request = request.build().unwrap();
        request
            .headers_mut()
            .insert(CONTENT_TYPE, kind.parse().unwrap());
        let response = platform.http.execute(request).await.unwrap();
        refused(
            &format!("content type {kind:?}"),
            response,
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        )
        .await;
    }
    let mut untyped = webhook(&platform, good).build().unwrap();
    untyped.headers_mut().remove(CONTENT_TYPE);
    let untyped = platform.http.execute(untyped).await.unwrap();
    refused("no content type", untyped, 415, "UNSUPPORTED_MEDIA_TYPE").await;

    nothing_was_kept(&platform).await;
    assert_eq!(webhook(&platform, good).send().await.unwrap().status(), 200);
    platform.stop().await;
}

/// A good message of exactly `length` bytes.
fn message_of(length: usize) -> String {
    let empty = json!({ "subscriber_id": 1, "text": "a", "padding": "" }).to_string();
    let padding = "x".repeat(length - empty.len());
    json!({ "subscriber_id": 1, "text": "a", "padding": padding }).to_string()
}

/// What is answered to `request` as it stands, with the writing side closed after it where that is said.
async fn raw(platform: &Platform, request: &[u8], close: bool) -> String {
    let mut stream = TcpStream::connect(platform.ingresses[0]).await.unwrap();
    stream.write_all(request).await.unwrap();
    if close {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_long_or_breaks_off_is_refused() {
    let platform = crate::setup().start().await;

    for length in [64 * 1024 + 1, 65 * 1024, 10 * 1024 * 1024] {
        let response = webhook(&platform, message_of(length)).send().await.unwrap();
        let error = refused(
            &format!("{length} bytes"),
            response,
            413,
            "PAYLOAD_TOO_LARGE",
        )
        .await;
        assert_eq!(error["details"]["limit_bytes"], 64 * 1024);
    }
    for path in ["/api/v1/query", "/api/v1/search"] {
        let question = json!({ "question": "x".repeat(1024 * 1024) });
        let response = platform.post(path, &question).await;
        refused(path, response, 413, "PAYLOAD_TOO_LARGE").await;
    }
    let head = format!(
        "POST {WEBHOOK} HTTP/1.1\r\nHost: relais\r\nConnection: close\r\nContent-Type: application/json\r\nX-Webhook-Secret: {}\r\n",
        platform.business.webhook_secret.expose_secret(),
    );
    let message = message_of(10 * 1024 * 1024);
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{message}\r\n0\r\n\r\n",
        message.len()
    );
    let answer = raw(&platform, chunked.as_bytes(), false).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("PAYLOAD_TOO_LARGE"),
        "{answer}"
    );
    // Says how much will come and waits to be told to send it.
    let expecting = format!("{head}Content-Length: 10485760\r\nExpect: 100-continue\r\n\r\n");
    let answer = raw(&platform, expecting.as_bytes(), false).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("PAYLOAD_TOO_LARGE"),
        "{answer}"
    );
    // A caller that is gone hears nothing; that no half message is taken is seen below.
    let broken =
        format!("{head}Content-Length: 1000\r\n\r\n{{\"subscriber_id\": 1, \"text\": \"a\"}}");
    raw(&platform, broken.as_bytes(), true).await;
    let broken = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"su");
    raw(&platform, broken.as_bytes(), true).await;

    nothing_was_kept(&platform).await;
    let longest = webhook(&platform, message_of(64 * 1024))
        .send()
        .await
        .unwrap();
    assert_eq!(longest.status(), 200);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_to_the_api_that_do_not_read_are_refused() {
    let platform = crate::setup().start().await;

    for path in [
        "/nowhere",
        "/api",
        "/api/v1",
        "/api/v2/documents",
        "/api/v1/nowhere",
        "/api/v1/documents/a/b/c",
        "/api/v1/webhook/nobody",
        "/.env",
        "/docs/nowhere",
        "/health/nowhere",
    ] {
        let response = platform.get(path).await;
        refused(path, response, 404, "NOT_FOUND").await;
    }
    let id = Uuid::now_v7();
    for (method, path) in [
        (Method::PUT, "/api/v1/documents".to_owned()),
        (Method::DELETE, "/api/v1/documents".to_owned()),
        (Method::POST, format!("/api/v1/documents/{id}")),
        (Method::PATCH, "/api/v1/messages".to_owned()),
        (Method::GET, "/api/v1/query".to_owned()),
        (Method::DELETE, "/api/v1/search".to_owned()),
        (Method::GET, WEBHOOK.to_owned()),
        (Method::PUT, WEBHOOK.to_owned()),
        (Method::DELETE, format!("/api/v1/jobs/{id}")),
        (Method::POST, "/health".to_owned()),
        (Method::DELETE, "/metrics".to_owned()),
    ] {
        let case = format!("{method} {path}");
        let response = request(&platform, method, &path).send().await.unwrap();
        assert!(response.headers().contains_key("allow"), "{case}");
        refused(&case, response, 405, "METHOD_NOT_ALLOWED").await;
    }

    let document = platform
        .upload_as(
            &platform.business,
            "a.txt",
            b"Some text of some length.".to_vec(),
        )
        .await;
    let document: Value = document.json().await.unwrap();
    let chunks = format!("documents/{}/chunks", document["id"].as_str().unwrap());
    for list in [
        "documents",
        "chats",
        "messages",
        "contacts",
        "config/characters",
        &chunks,
    ] {
        for limit in [
            "0",
            "101",
            "-1",
            "abc",
            "1.5",
            "99999999999999999999",
            "1%00",
            "%F0%9F%98%80",
        ] {
            let path = format!("/api/v1/{list}?limit={limit}");
            invalid(&path, platform.get(&path).await, "limit").await;
        }
        for cursor in [
            "x",
            "0",
            "-1",
            "%00",
            "'",
            &id.to_string(),
            &"f".repeat(16),
            &"x".repeat(4_000),
        ] {
            let path = format!("/api/v1/{list}?cursor={cursor}");
            invalid(&path, platform.get(&path).await, "cursor").await;
        }
    }
    for (path, field) in [
        ("documents?status=unknown", "status"),
        ("chats?contact_id=1", "contact_id"),
        ("messages?contact_id=x", "contact_id"),
        ("messages?chat_id=%00", "chat_id"),
        ("messages?direction=sideways", "direction"),
        ("messages?from=yesterday", "from"),
        ("messages?to=2026-13-45T00:00:00Z", "to"),
        ("messages?from=2026-01-01", "from"),
        ("contacts?channel=fax", "channel"),
        ("contacts?external_id=a%00b", "external_id"),
    ] {
        let path = format!("/api/v1/{path}");
        invalid(&path, platform.get(&path).await, field).await;
    }
    // Far from our time, but times.
    for time in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
        platform
            .get_json(&format!("/api/v1/messages?from={time}&to={time}"))
            .await;
    }
    for bad in [
        "1",
        "abc",
        "%00",
        "..%2F..%2Fetc",
        "%F0%9F%98%80",
        &"a".repeat(4_000),
    ] {
        for path in [
            "documents/{id}",
            "documents/{id}/chunks",
            "jobs/{id}",
            "chats/{id}",
            "chats/{id}/messages",
            "contacts/{id}",
        ] {
            let path = format!("/api/v1/{}", path.replace("{id}", bad));
            invalid(&format!("{path:.80}"), platform.get(&path).await, "id").await;
        }
        let path = format!("/api/v1/documents/{bad}");
        let response = request(&platform, Method::DELETE, &path)
            .send()
            .await
            .unwrap();
        invalid(&format!("DELETE {path:.80}"), response, "id").await;
    }
    // Not even UTF-8 behind the percent signs.
    let undecodable = platform.get("/api/v1/documents/%FF").await;
    refused("%FF", undecodable, 400, "VALIDATION_ERROR").await;

    assert_eq!(
        platform
            .get("/api/v1/documents?limit=100&cursor=")
            .await
            .status(),
        200
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_does_not_read_is_refused_and_asks_nobody() {
    let platform = crate::setup().start().await;
    let id = Uuid::now_v7();
    let many: Vec<Uuid> = (0..101).map(|_| Uuid::now_v7()).collect();

    for path in ["/api/v1/query", "/api/v1/search"] {
        for (field, body) in [
            ("body", json!(null)),
            ("body", json!([])),
            ("body", json!("Combien ?")),
            ("question", json!({})),
            ("question", json!({ "Question": "a" })),
            ("question", json!({ "question": null })),
            ("question", json!({ "question": 5 })),
            ("question", json!({ "question": ["a"] })),
            ("question", json!({ "question": "" })),
            ("question", json!({ "question": " \n" })),
            ("question", json!({ "question": "a\0" })),
            ("question", json!({ "question": "\u{7}" })),
            ("question", json!({ "question": "é".repeat(2_001) })),
            ("top_k", json!({ "question": "a", "top_k": 0 })),
            ("top_k", json!({ "question": "a", "top_k": 21 })),
            (
                "top_k",
                json!({ "question": "a", "top_k": 4_294_967_295_u32 }),
            ),
            (
                "top_k",
                json!({ "question": "a", "top_k": 4_294_967_296_u64 }),
            ),
            ("top_k", json!({ "question": "a", "top_k": -1 })),
            ("top_k", json!({ "question": "a", "top_k": 1.5 })),
            ("top_k", json!({ "question": "a", "top_k": "5" })),
            (
                "document_ids",
                json!({ "question": "a", "document_ids": [] }),
            ),
            (
                "document_ids",
                json!({ "question": "a", "document_ids": many }),
            ),
            (
                "document_ids[0]",
                json!({ "question": "a", "document_ids": ["x"] }),
            ),
            (
                "document_ids",
                json!({ "question": "a", "document_ids": id }),
            ),
            (
                "document_ids[0]",
                json!({ "question": "a", "document_ids": [null] }),
            ),
        ] {
            let case = format!("{path} {:.60}", body.to_string());
            invalid(&case, platform.post(path, &body).await, field).await;
        }
        for body in [
            &b""[..],
            b"{",
            b"{\"question\": \"\xff\"}",
            b"{\"question\": \"a\"} x",
            b"question=a",
        ] {
            let request =
                request(&platform, Method::POST, path).header(CONTENT_TYPE, "application/json");
            let response = request.body(body.to_vec()).send().await.unwrap();
            invalid(
                &format!("{path} {}", String::from_utf8_lossy(body)),
                response,
                "body",
            )
            .await;
        }
        for kind in ["text/plain", "multipart/form-data; boundary=x"] {
            let request = request(&platform, Method::POST, path).header(CONTENT_TYPE, kind);
            let response = request.body("{\"question\": \"a\"}").send().await.unwrap();
            refused(
                &format!("{path} {kind}"),
                response,
                415,
                "UNSUPPORTED_MEDIA_TYPE",
            )
            .await;
        }
        let unknown = json!({ "question": "a", "document_ids": [id] });
        refused(path, platform.post(path, &unknown).await, 404, "NOT_FOUND").await;
    }

    nothing_was_kept(&platform).await;
    let longest = json!({ "question": "é ".repeat(1_000), "new": 1 });
    assert_eq!(platform.post("/api/v1/query", &longest).await.status(), 200);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_as_long_as_a_message_is_answered_like_any_other() {
    let platform = crate::setup().start().await;

    let question = json!({ "question": "a".repeat(2_000) });
    assert_eq!(
        platform.post("/api/v1/query", &question).await.status(),
        200
    );
    platform.say(1, &"a".repeat(4_096)).await;

    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await
    );
    let retried: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE attempt > 1")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert_eq!(retried, 0);
    platform.stop().await;
}

/// One part of a form, with what comes after its headers.
fn form(headers: &str, content: &[u8]) -> Vec<u8> {
    [
        format!("--b\r\n{headers}\r\n\r\n").as_bytes(),
        content,
        b"\r\n--b--\r\n",
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_no_document_is_refused_and_kept_nowhere() {
    let mut setup = crate::setup();
    setup.workers = false;
    let platform = setup.start().await;
    let pdf = typeset(&["A good page."]);
    let html = b"<!DOCTYPE html><title>Not a PDF</title>";
    let executable = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0";

    for (filename, bytes) in [
        ("report.pdf", &html[..]),
        ("report.pdf", b"PK\x03\x04"),
        ("report.pdf", b"just text"),
        ("report.txt", &pdf),
        ("report.md", &pdf),
        ("report.txt", executable),
        ("report.md", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("report.exe", executable),
        ("report.docx", b"PK\x03\x04"),
        ("report.html", html),
        ("report.pdf.exe", &pdf),
        ("report.unheardof", b"text"),
        ("report", b"text"),
        (".pdf", b"text"),
    ] {
        let response = platform
            .upload_as(&platform.business, filename, bytes.to_vec())
            .await;
        refused(
            &format!("{filename}: {:.20}", String::from_utf8_lossy(bytes)),
            response,
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        )
        .await;
    }

    let multipart = "multipart/form-data; boundary=b";
    let named = |name: &str, filename: &str| {
        format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"")
    };
    for (case, field, body) in [
        (
            "another field",
            "file",
            form(&named("document", "a.txt"), b"text"),
        ),
        ("no fields", "file", b"--b--\r\n".to_vec()),
        (
            "no name",
            "file",
            form("Content-Disposition: form-data; name=\"file\"", b"text"),
        ),
        ("an empty name", "file", form(&named("file", ""), b"text")),
        ("a folder", "file", form(&named("file", "folder/"), b"text")),
        (
            "a long name",
            "file",
            form(&named("file", &format!("{}.txt", "x".repeat(252))), b"text"),
        ),
        (
            "not closed",
            "body",
            form(&named("file", "a.txt"), b"text")[..73].to_vec(),
        ),
        ("no form", "body", b"text".to_vec()),
        ("empty", "body", Vec::new()),
        (
            "another boundary",
            "body",
            form(&named("file", "a.txt"), b"text")
                .into_iter()
                .map(|b| if b == b'b' { b'c' } else { b })
                .collect(),
        ),
    ] {
        let response = upload(&platform, multipart, body).send().await.unwrap();
        invalid(case, response, field).await;
    }
    let response = upload(
        &platform,
        "multipart/form-data",
        form(&named("file", "a.txt"), b"text"),
    )
    .send()
    .await
    .unwrap();
    invalid("no boundary", response, "body").await;
    for kind in [
        "application/json",
        "application/pdf",
        "application/x-www-form-urlencoded",
    ] {
        let response = upload(&platform, kind, pdf.clone()).send().await.unwrap();
        refused(kind, response, 415, "UNSUPPORTED_MEDIA_TYPE").await;
    }

    // One byte too many is seen as it comes, a megabyte by what is declared.
    for size in [LARGEST_FILE + 1, 21 * 1024 * 1024] {
        let response = platform
            .upload_as(&platform.business, "large.txt", vec![b'x'; size])
            .await;
        let error = refused(&format!("{size} bytes"), response, 413, "PAYLOAD_TOO_LARGE").await;
        assert_eq!(error["details"]["limit_bytes"], LARGEST_FILE);
    }
    let response = platform
        .upload_as(&platform.business, "large.exe", vec![b'x'; LARGEST_FILE])
        .await;
    refused(
        "a large file of no kind",
        response,
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )
    .await;

    nothing_was_kept(&platform).await;
    let largest = platform
        .upload_as(&platform.business, "large.txt", vec![b'x'; LARGEST_FILE])
        .await;
    assert_eq!(largest.status(), 202);
    let untyped = form(
        "Content-Disposition: form-data; name=\"file\"; filename=\"notes\"\r\nContent-Type: text/plain",
        b"text",
    );
    assert_eq!(
        upload(&platform, multipart, untyped)
            .send()
            .await
            .unwrap()
            .status(),
        202
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_fails_with_the_reason() {
    let platform = crate::setup().start().await;
    let good = typeset(&["The warranty covers every oven for eleven years."]);
    let image = "/Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 /ColorSpace /DeviceGray";
    let scanned = Pdf::default()
        .object("<< /Type /Catalog /Pages 2 0 R >>")
        .object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
        .object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /XObject << /X1 5 0 R >> >> >>")
        .stream("", "q 595 0 0 842 0 0 cm /X1 Do Q")
        .stream(image, "x");
    let encryption = format!(
        "<< /Filter /Standard /V 1 /R 2 /Length 40 /P -44 /O <{0}> /U <{0}> >>",
        "0123456789ABCDEF".repeat(4)
    );
    let encrypted = Pdf::pages(&["Nobody reads this."]).object(&encryption);
    let encrypted = encrypted
        .clone()
        .trailer(&format!("/Encrypt {} 0 R /ID [<00> <00>]", encrypted.len()));
    let long = Pdf::default()
        .object("<< /Type /Catalog /Pages 2 0 R >>")
        .object("<< /Type /Pages /Kids [3 0 R] /Count 100000 >>")
        .object("<< /Type /Page /Parent 2 0 R >>");
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = Pdf::default()
        .object("<< /Type /Catalog /Pages 2 0 R >>")
        .object(&format!("<< /Type /Pages /Kids {nested} /Count 1 >>"));

    let cases = [
        ("scanned.pdf", scanned.bytes(), &["no_text"][..]),
        ("encrypted.pdf", encrypted.bytes(), &["encrypted"]),
        ("long.pdf", long.bytes(), &["too_many_pages"]),
        (
            "nested.pdf",
            bomb.bytes(),
            &["damaged", "no_text", "too_complex"],
        ),
        (
            "truncated.pdf",
            good[..good.len() / 4].to_vec(),
            &["damaged", "no_text"],
        ),
        ("header.pdf", b"%PDF-1.7\n".to_vec(), &["damaged"]),
        ("empty.pdf", Vec::new(), &["empty"]),
        ("empty.txt", Vec::new(), &["empty"]),
        ("blank.md", b" \n\t\n".to_vec(), &["empty"]),
        (
            "late.txt",
            [vec![b'a'; 2_000], vec![0x81, 0xFF, 0x00]].concat(),
            &["not_text"],
        ),
    ];
    let documents = futures::future::join_all(
        cases
            .iter()
            .map(|(name, bytes, _)| platform.ingest(name, bytes.clone())),
    )
    .await;
    for ((name, _, codes), document) in cases.iter().zip(documents) {
        assert_eq!(document["status"], "failed", "{name}: {document}");
        let code = document["error_code"].as_str().unwrap();
        assert!(codes.contains(&code), "{name}: {document}");
        assert!(
            document["error"]
                .as_str()
                .is_some_and(|reason| reason.ends_with('.')),
            "{name}: {document}"
        );
        assert_eq!(
            (&document["pages"], &document["chunks"]),
            (&Value::Null, &Value::Null),
            "{name}"
        );
        // The file is at fault, not the work.
        let job = platform
            .get_json(&format!(
                "/api/v1/jobs/{}",
                document["job_id"].as_str().unwrap()
            ))
            .await;
        assert_eq!(
            (&job["status"], &job["attempts"]),
            (&json!("succeeded"), &json!(1)),
            "{name}: {job}"
        );
    }
    let chunks: i64 = sqlx::query_scalar("SELECT count(*) FROM chunks")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert_eq!(chunks, 0);
    let failed = platform.get_json("/api/v1/documents?status=failed").await;
    assert_eq!(failed["data"].as_array().unwrap().len(), cases.len());

    assert_eq!(
        platform.ingest("good.pdf", good).await["status"],
        "processed"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sane_request_id_is_kept_and_another_replaced() {
    let platform = crate::setup().start().await;
    let ask = async |id: Option<&str>, path: &str| {
        let mut request = request(&platform, Method::GET, path);
        if let Some(id) = id {
            request = request.header("X-Request-Id", id);
        }
        let response = request.send().await.unwrap();
        response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };

    for path in [
        "/health",
        "/api/v1/documents",
        "/api/v1/nowhere",
        "/api/v1/documents/abc",
    ] {
        for sane in [
            "abc-1",
            "01890000-0000-7000-8000-000000000000",
            &"x".repeat(128),
        ] {
            assert_eq!(ask(Some(sane), path).await, sane, "{path}");
        }
        for insane in [
            None,
            Some(""),
            Some("a b"),
            Some("a\tb"),
            Some(&*"x".repeat(129)),
        ] {
            let made = ask(insane, path).await;
            assert!(Uuid::try_parse(&made).is_ok(), "{path} {insane:?}: {made}");
        }
    }
    let body = json!({ "subscriber_id": 1, "text": "Bonjour" }).to_string();
    let taken = webhook(&platform, body)
        .header("X-Request-Id", "flow-7")
        .send()
        .await
        .unwrap();
    assert_eq!(taken.headers()["x-request-id"], "flow-7");
    let id: Uuid = taken.headers()["x-message-id"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let carried: Option<String> = sqlx::query_scalar("SELECT request_id FROM jobs WHERE id = $1")
        .bind(id)
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert_eq!(
        carried.as_deref(),
        Some("flow-7"),
        "the job tells which request it came from"
    );
    platform.stop().await;
}
