//! Signing up and in by e-mail and password: what it gives, how it stays, how it ends.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use dev::testing::{Platform, eventually};
use futures::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_input::refused;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// `method path` of the API with a token, at ingress number `ingress`.
pub(crate) async fn send_to(
    platform: &Platform,
    ingress: usize,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> Response {
    let url = format!("http://{}/api/v1{path}", platform.ingresses[ingress]);
    let mut request = platform.http.request(method, url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.unwrap()
}

/// `POST path` of the API, as nobody.
pub(crate) async fn post(platform: &Platform, path: &str, body: Value) -> Response {
    send_to(platform, 0, Method::POST, path, None, Some(body)).await
}

/// `POST path` of the API with a token.
pub(crate) async fn post_as(
    platform: &Platform,
    token: &Value,
    path: &str,
    body: Value,
) -> Response {
    let token = token.as_str();
    send_to(platform, 0, Method::POST, path, token, Some(body)).await
}

/// `GET path` of the API with a token.
pub(crate) async fn get_as(platform: &Platform, token: &Value, path: &str) -> Response {
    send_to(platform, 0, Method::GET, path, token.as_str(), None).await
}

/// The status of `GET path` of the API with a token, at ingress number `ingress`.
async fn status(platform: &Platform, ingress: usize, path: &str, token: &Value) -> u16 {
    let response = send_to(platform, ingress, Method::GET, path, token.as_str(), None).await;
    response.status().as_u16()
}

/// The body of an answer with this status.
pub(crate) async fn answered(response: Response, expected: u16) -> Value {
    let (status, body) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, expected, "{body}");
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(&body).unwrap()
}

/// Signs somebody up; the answer.
pub(crate) async fn sign_up(platform: &Platform, email: &str) -> Value {
    let body = json!({ "email": email, "password": PASSWORD });
    answered(post(platform, "/auth/signup", body).await, 201).await
}

async fn log_in(platform: &Platform, email: &str, password: &str) -> Response {
    let body = json!({ "email": email, "password": password });
    post(platform, "/auth/login", body).await
}

async fn refresh(platform: &Platform, token: &Value) -> Response {
    post(platform, "/auth/refresh", json!({ "refresh_token": token })).await
}

async fn execute(platform: &Platform, statement: &'static str, email: &str) {
    let done = sqlx::query(statement)
        .bind(email)
        .execute(&platform.owner)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1, "{statement}");
}

/// The actions in the audit log of the platform itself, the oldest first.
pub(crate) async fn audited(platform: &Platform) -> Vec<String> {
    sqlx::query_scalar("SELECT action FROM audit_events WHERE business_id IS NULL ORDER BY id")
        .fetch_all(&platform.owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_up_has_a_business_of_their_own_and_is_known_by_their_token() {
    let platform = crate::setup().start().await;
    let body = json!({ "email": " Ana@Example.org", "password": PASSWORD, "name": "Ana", "language": "en" });
    let tokens = answered(post(&platform, "/auth/signup", body).await, 201).await;

    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 7 * 24 * 60 * 60);
    assert!(
        tokens["refresh_token"]
            .as_str()
            .unwrap()
            .starts_with("rlr_")
    );
    let user = &tokens["user"];
    let business = user["default_business_id"].as_str().unwrap();
    assert_eq!(
        *user,
        json!({
            "id": user["id"], "email": "ana@example.org", "email_verified": false, "phone": null, "name": "Ana",
            "avatar_url": null, "language": "en", "role": "user", "default_business_id": business,
            "created_at": user["created_at"], "last_login_at": user["last_login_at"], "deactivated_at": null,
        })
    );
    let access = &tokens["access_token"];
    let me = send_to(&platform, 0, Method::GET, "/auth/me", access.as_str(), None).await;
    assert_eq!(answered(me, 200).await, *user);
    assert_eq!(status(&platform, 0, "/documents", access).await, 200);
    let (stage, role): (String, String) = sqlx::query_as(
        "SELECT stage, role FROM businesses JOIN memberships ON business_id = id WHERE id = $1::uuid",
    )
    .bind(business)
    .fetch_one(&platform.owner)
    .await
    .unwrap();
    assert_eq!((stage.as_str(), role.as_str()), ("personal", "owner"));

    for taken in ["ana@example.org", "ANA@example.org"] {
        let body = json!({ "email": taken, "password": PASSWORD });
        refused(
            taken,
            post(&platform, "/auth/signup", body).await,
            409,
            "CONFLICT",
        )
        .await;
    }
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    let personal: i64 =
        sqlx::query_scalar("SELECT count(*) FROM businesses WHERE stage = 'personal'")
            .fetch_one(&platform.owner)
            .await
            .unwrap();
    assert_eq!(
        (users, personal),
        (1, 1),
        "a refused sign-up leaves nothing"
    );
    assert_eq!(
        audited(&platform).await,
        ["user.created", "session.created"]
    );

    // An API key is no user.
    let me = platform.get("/api/v1/auth/me").await;
    refused("an API key", me, 403, "FORBIDDEN").await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_read_is_refused_and_nobody_gives_themselves_rights() {
    let platform = crate::setup().start().await;
    let email = "a@example.org";
    let long = |length: usize| "x".repeat(length);
    for (field, body) in [
        ("email", json!({ "email": "a", "password": PASSWORD })),
        (
            "email",
            json!({ "email": format!("{}@b.fr", long(300)), "password": PASSWORD }),
        ),
        (
            "email",
            json!({ "email": "a\0@b.fr", "password": PASSWORD }),
        ),
        ("email", json!({ "password": PASSWORD })),
        ("password", json!({ "email": email })),
        ("password", json!({ "email": email, "password": "1234567" })),
        ("password", json!({ "email": email, "password": long(73) })),
        (
            "password",
            json!({ "email": email, "password": "é".repeat(37) }),
        ),
        (
            "password",
            json!({ "email": email, "password": "12345678\0" }),
        ),
        (
            "name",
            json!({ "email": email, "password": PASSWORD, "name": "" }),
        ),
        (
            "name",
            json!({ "email": email, "password": PASSWORD, "name": "a\nb" }),
        ),
        (
            "name",
            json!({ "email": email, "password": PASSWORD, "name": long(121) }),
        ),
        (
            "language",
            json!({ "email": email, "password": PASSWORD, "language": "de" }),
        ),
        (
            "role",
            json!({ "email": email, "password": PASSWORD, "role": "admin" }),
        ),
        (
            "id",
            json!({ "email": email, "password": PASSWORD, "id": Uuid::now_v7() }),
        ),
        (
            "email_verified",
            json!({ "email": email, "password": PASSWORD, "email_verified": true }),
        ),
        (
            "default_business_id",
            json!({ "email": email, "password": PASSWORD, "default_business_id": platform.business.business_id }),
        ),
    ] {
        let case = format!("{body:.90}");
        let response = post(&platform, "/auth/signup", body).await;
        let error = refused(&case, response, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], field, "{case}: {error}");
    }
    for body in [
        json!({}),
        json!({ "email": email }),
        json!({ "password": PASSWORD }),
        json!({ "email": email, "password": PASSWORD, "id_token": "x" }),
        json!({ "email": email, "password": PASSWORD, "role": "admin" }),
        json!({ "email": email, "password": long(73) }),
        json!({ "id_token": "" }),
        json!({ "id_token": long(20_000) }),
    ] {
        let case = format!("{body:.90}");
        let response = post(&platform, "/auth/login", body).await;
        refused(&case, response, 400, "VALIDATION_ERROR").await;
    }
    let response = post(&platform, "/auth/login", json!({ "id_token": "a.b.c" })).await;
    refused("an ID token of nobody", response, 401, "UNAUTHORIZED").await;
    assert_eq!(audited(&platform).await, Vec::<String>::new());
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_learns_who_has_an_account_by_signing_in() {
    let platform = crate::setup().start().await;
    for email in ["here@example.org", "gone@example.org", "other@example.org"] {
        sign_up(&platform, email).await;
    }
    let deactivate = "UPDATE users SET deactivated_at = now() WHERE email = $1";
    execute(&platform, deactivate, "gone@example.org").await;
    let forget = "UPDATE users SET password_hash = NULL WHERE email = $1";
    execute(&platform, forget, "other@example.org").await;

    let mut answers = Vec::new();
    for (email, password) in [
        ("here@example.org", "wrong password"),
        ("here@example.org", "short"),
        ("nobody@example.org", PASSWORD),
        ("gone@example.org", PASSWORD),
        ("other@example.org", PASSWORD),
    ] {
        let started = Instant::now();
        let response = log_in(&platform, email, password).await;
        let error = refused(email, response, 401, "UNAUTHORIZED").await;
        answers.push((error, started.elapsed()));
    }
    assert!(answers.iter().all(|(error, _)| *error == answers[0].0));
    // Each hashes. How long it takes says no more than how busy the machine is.
    let quickest = answers.iter().map(|(_, took)| *took).min().unwrap();
    assert!(quickest > Duration::from_millis(50), "{answers:?}");

    let failures: Vec<(String, Value)> = sqlx::query_as(
        "SELECT object_id, details FROM audit_events WHERE action = 'login.failed' ORDER BY id",
    )
    .fetch_all(&platform.owner)
    .await
    .unwrap();
    assert_eq!(failures.len(), 5);
    assert_eq!(failures[0].0, failures[1].0);
    assert_ne!(failures[0].0, failures[2].0);
    assert_eq!(failures[2].1, json!({ "user_id": null }));
    assert!(!format!("{failures:?}").contains("example.org"));
    assert_eq!(
        log_in(&platform, "Here@example.org", PASSWORD)
            .await
            .status(),
        200
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_works_once_and_a_second_use_ends_the_session() {
    let platform = crate::setup().start().await;
    let first = sign_up(&platform, "a@example.org").await;
    let second = answered(refresh(&platform, &first["refresh_token"]).await, 200).await;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(second["user"]["email"], "a@example.org");
    assert_eq!(
        status(&platform, 0, "/auth/me", &second["access_token"]).await,
        200
    );

    // Two tabs refresh at once: both are told the same.
    let again = answered(refresh(&platform, &first["refresh_token"]).await, 200).await;
    assert_eq!(again["refresh_token"], second["refresh_token"]);

    // Somebody goes on with the successor, so whoever still has the first token is another.
    let third = answered(refresh(&platform, &second["refresh_token"]).await, 200).await;
    let reused = refresh(&platform, &first["refresh_token"]).await;
    refused("reuse", reused, 401, "UNAUTHORIZED").await;
    for token in [&first, &second, &third] {
        refused(
            "over",
            refresh(&platform, &token["refresh_token"]).await,
            401,
            "UNAUTHORIZED",
        )
        .await;
        assert_eq!(
            status(&platform, 0, "/auth/me", &token["access_token"]).await,
            401
        );
    }
    assert_eq!(audited(&platform).await.last().unwrap(), "session.reused");

    // Past the grace a second use is one, used or not.
    let first = answered(log_in(&platform, "a@example.org", PASSWORD).await, 200).await;
    let other = answered(log_in(&platform, "a@example.org", PASSWORD).await, 200).await;
    let second = answered(refresh(&platform, &first["refresh_token"]).await, 200).await;
    platform.clock.shift(TimeDelta::seconds(11));
    refused(
        "late",
        refresh(&platform, &first["refresh_token"]).await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    refused(
        "over",
        refresh(&platform, &second["refresh_token"]).await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    assert_eq!(
        status(&platform, 0, "/auth/me", &other["access_token"]).await,
        200
    );

    // A session that is not refreshed ends by itself; one that is goes on.
    platform.clock.shift(TimeDelta::days(20));
    let other = answered(refresh(&platform, &other["refresh_token"]).await, 200).await;
    platform.clock.shift(TimeDelta::days(20));
    let other = answered(refresh(&platform, &other["refresh_token"]).await, 200).await;
    platform.clock.shift(TimeDelta::days(31));
    refused(
        "late",
        refresh(&platform, &other["refresh_token"]).await,
        401,
        "UNAUTHORIZED",
    )
    .await;

    for wrong in [
        json!("rlr_"),
        json!("nonsense"),
        json!(format!("rlr_{}", "0".repeat(64))),
        other["access_token"].clone(),
    ] {
        refused(
            "wrong",
            refresh(&platform, &wrong).await,
            401,
            "UNAUTHORIZED",
        )
        .await;
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_refreshes_at_once_have_one_successor() {
    let platform = crate::setup().start().await;
    let tokens = sign_up(&platform, "a@example.org").await;
    let at_once = (0..100).map(|_| refresh(&platform, &tokens["refresh_token"]));
    let mut successors = std::collections::HashSet::new();
    for response in join_all(at_once).await {
        let body = answered(response, 200).await;
        successors.insert(body["refresh_token"].as_str().unwrap().to_owned());
    }
    assert_eq!(successors.len(), 1);
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM refresh_tokens")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert_eq!(kept, 2);
    let successor = json!(successors.iter().next());
    assert_eq!(refresh(&platform, &successor).await.status(), 200);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_ended_is_over_on_every_ingress() {
    let setup = dev::testing::Setup {
        ingresses: 2,
        ..crate::setup()
    };
    let platform = setup.start().await;
    let here = sign_up(&platform, "a@example.org").await;
    let there = answered(log_in(&platform, "a@example.org", PASSWORD).await, 200).await;
    let stranger = sign_up(&platform, "b@example.org").await;
    let (here, there, stranger) = (
        &here["access_token"],
        &there["access_token"],
        &stranger["access_token"],
    );
    for ingress in [0, 1] {
        for token in [here, there, stranger] {
            assert_eq!(status(&platform, ingress, "/auth/me", token).await, 200);
        }
    }

    let list = send_to(
        &platform,
        0,
        Method::GET,
        "/auth/sessions",
        here.as_str(),
        None,
    )
    .await;
    let list = answered(list, 200).await;
    let sessions = list["data"].as_array().unwrap();
    let current: Vec<&Value> = sessions.iter().map(|session| &session["current"]).collect();
    assert_eq!(current, [&json!(false), &json!(true)], "{list}");
    assert_eq!(sessions[0]["address"], "127.0.0.1");
    let path = format!("/auth/sessions/{}", sessions[0]["id"].as_str().unwrap());
    let end = async |token: &Value| {
        send_to(&platform, 0, Method::DELETE, &path, token.as_str(), None).await
    };
    refused("another's", end(stranger).await, 404, "NOT_FOUND").await;
    assert_eq!(end(here).await.status(), 204);
    refused("over", end(here).await, 404, "NOT_FOUND").await;
    let log_out = send_to(
        &platform,
        0,
        Method::POST,
        "/auth/logout",
        here.as_str(),
        None,
    )
    .await;
    assert_eq!(log_out.status(), 204);
    for token in [here, there] {
        assert_eq!(
            status(&platform, 0, "/auth/me", token).await,
            401,
            "at once"
        );
        // The other ingress hears of it within the time a message takes, long before what it learnt has aged.
        let started = Instant::now();
        eventually("the other ingress knows", async || {
            (status(&platform, 1, "/auth/me", token).await == 401).then_some(())
        })
        .await;
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    assert_eq!(status(&platform, 1, "/auth/me", stranger).await, 200);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_got_as_oauth_does() {
    let platform = crate::setup().start().await;
    sign_up(&platform, "a@example.org").await;
    let token = async |form: &[(&str, &str)]| {
        let form = form
            .iter()
            .map(|(name, value)| format!("{name}={}", value.replace(' ', "+")));
        platform
            .http
            .post(platform.url("/api/v1/auth/token"))
            // As Swagger UI does, whose client has no name.
            .basic_auth("", Some(""))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.collect::<Vec<_>>().join("&"))
            .send()
            .await
            .unwrap()
    };
    let right = [
        ("grant_type", "password"),
        ("username", "a%40example.org"),
        ("password", PASSWORD),
        ("scope", ""),
    ];
    let tokens = answered(token(&right).await, 200).await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(
        status(&platform, 0, "/auth/me", &tokens["access_token"]).await,
        200
    );
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let tokens = answered(token(&refresh).await, 200).await;
    assert_eq!(
        status(&platform, 0, "/auth/me", &tokens["access_token"]).await,
        200
    );

    let wrong = [right[0], right[1], ("password", "wrong password")];
    refused("wrong", token(&wrong).await, 401, "UNAUTHORIZED").await;
    for (field, form) in [
        ("grant_type", &[("username", "a%40example.org")][..]),
        ("grant_type", &[("grant_type", "client_credentials")]),
        ("username", &[("grant_type", "password")]),
        ("password", &right[..2]),
        ("refresh_token", &refresh[..1]),
        ("body", &[right[0], right[0]]),
    ] {
        let error = refused(field, token(form).await, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], field, "{error}");
    }
    let json = post(
        &platform,
        "/auth/token",
        json!({ "grant_type": "password" }),
    )
    .await;
    refused("JSON", json, 415, "UNSUPPORTED_MEDIA_TYPE").await;
    platform.stop().await;
}
