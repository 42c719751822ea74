//! API keys: what they may do, for how long, and that they stop at once.

use chrono::TimeDelta;
use dev::testing::Setup;
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_input::refused;
use crate::businesses::{actions, ask, join};

const KEYS: &str = "/api/v1/api-keys";
const DOCUMENTS: &str = "/api/v1/documents";
const JOBS: &str = "/api/v1/jobs/00000000-0000-7000-8000-000000000000";

fn secret(made: &Value) -> SecretString {
    made["key"].as_str().unwrap().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_does_what_its_scopes_say_until_it_is_revoked() {
    let platform = Setup {
        ingresses: 2,
        ..crate::setup()
    }
    .start()
    .await;
    let ana = platform.user("Ana").await;
    let token = &ana.access_token;

    let body = json!({ "name": "n8n", "scopes": ["documents:read", "documents:read"] });
    let made = ask(&platform, token, ("POST", KEYS), Some(body), 201).await;
    let key = secret(&made);
    assert_eq!(made["scopes"], json!(["documents:read"]));
    ask(&platform, &key, ("GET", DOCUMENTS), None, 200).await;
    ask(&platform, &key, ("GET", JOBS), None, 403).await;
    // No key makes, sees or ends keys without the scope, and none makes or ends any.
    let every = json!({ "name": "all", "scopes": ["*"] });
    let every = ask(&platform, token, ("POST", KEYS), Some(every), 201).await;
    ask(&platform, &key, ("GET", KEYS), None, 403).await;
    let list = ask(&platform, &secret(&every), ("GET", KEYS), None, 200).await;
    assert_eq!(list["data"][0]["id"], every["id"]);
    assert_eq!(list["data"][1]["created_by"], ana.id.to_string());
    assert!(list["data"][1]["last_used_at"].is_string(), "{list}");
    assert!(!list.to_string().contains("rl_live_"));
    let more = json!({ "name": "more", "scopes": ["*"] });
    ask(
        &platform,
        &secret(&every),
        ("POST", KEYS),
        Some(more.clone()),
        403,
    )
    .await;

    let now = platform.clock.now();
    for (field, body) in [
        ("name", json!({ "scopes": ["*"] })),
        ("name", json!({ "name": "", "scopes": ["*"] })),
        ("scopes", json!({ "name": "x", "scopes": [] })),
        ("scopes", json!({ "name": "x", "scopes": ["moon:land"] })),
        (
            "scopes",
            json!({ "name": "x", "scopes": ["api_keys:write"] }),
        ),
        ("scopes", json!({ "name": "x", "scopes": ["users:write"] })),
        (
            "expires_at",
            json!({ "name": "x", "scopes": ["*"], "expires_at": now }),
        ),
        (
            "expires_at",
            json!({ "name": "x", "scopes": ["*"], "expires_at": now + TimeDelta::days(400) }),
        ),
        (
            "business_id",
            json!({ "name": "x", "scopes": ["*"], "business_id": Uuid::now_v7() }),
        ),
        (
            "created_by",
            json!({ "name": "x", "scopes": ["*"], "created_by": Uuid::now_v7() }),
        ),
    ] {
        let response = platform.send(token, "POST", KEYS, Some(&body)).await;
        let error = refused(&body.to_string(), response, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], field, "{body}: {error}");
    }

    // Another's key is nowhere; a member manages none.
    let cem = platform.user("Cem").await;
    let one = format!("{KEYS}/{}", made["id"].as_str().unwrap());
    let nowhere = format!("{KEYS}/{}", Uuid::now_v7());
    for path in [&one, &nowhere] {
        ask(&platform, &cem.access_token, ("DELETE", path), None, 404).await;
        ask(
            &platform,
            &cem.access_token,
            ("POST", &format!("{path}/rotate")),
            Some(json!({})),
            404,
        )
        .await;
    }
    let business = format!("/api/v1/businesses/{}", ana.business_id);
    join(&platform, &business, &cem, "member").await;
    let request = platform
        .http
        .get(platform.url(KEYS))
        .bearer_auth(secrecy::ExposeSecret::expose_secret(&cem.access_token));
    let request = request.header("X-Business-Id", ana.business_id.to_string());
    assert_eq!(request.send().await.unwrap().status(), 403);

    let elsewhere = format!("http://{}{DOCUMENTS}", platform.ingresses[1]);
    let at_the_other = async || {
        let request = platform
            .http
            .get(&elsewhere)
            .bearer_auth(secrecy::ExposeSecret::expose_secret(&key));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(at_the_other().await, 200);
    ask(&platform, token, ("DELETE", &one), None, 204).await;
    ask(&platform, &key, ("GET", DOCUMENTS), None, 401).await;
    dev::testing::eventually("the other ingress refuses it too", async || {
        (at_the_other().await == 401).then_some(())
    })
    .await;
    ask(&platform, token, ("DELETE", &one), None, 204).await;
    assert_eq!(
        actions(&platform, ana.business_id.0).await,
        ["api_key.created", "api_key.created", "api_key.revoked"]
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_works_beside_its_successor_for_a_while() {
    let platform = crate::setup().start().await;
    let ana = platform.user("Ana").await;
    let token = &ana.access_token;
    let expires_at = platform.clock.now() + TimeDelta::days(5);
    let body = json!({ "name": "n8n", "scopes": ["documents:read"], "expires_at": expires_at });
    let first = ask(&platform, token, ("POST", KEYS), Some(body), 201).await;
    let rotate = format!("{KEYS}/{}/rotate", first["id"].as_str().unwrap());
    ask(
        &platform,
        token,
        ("POST", &rotate),
        Some(json!({ "grace_seconds": 604_801 })),
        400,
    )
    .await;
    let second = ask(
        &platform,
        token,
        ("POST", &rotate),
        Some(json!({ "grace_seconds": 3600 })),
        201,
    )
    .await;
    assert_eq!(
        (&second["scopes"], &second["name"]),
        (&first["scopes"], &first["name"])
    );
    assert_eq!(second["expires_at"], first["expires_at"]);
    ask(&platform, token, ("POST", &rotate), Some(json!({})), 409).await;

    let works = async |made: &Value, status: u16| {
        ask(&platform, &secret(made), ("GET", DOCUMENTS), None, status).await;
    };
    works(&first, 200).await;
    works(&second, 200).await;
    platform
        .clock
        .shift(TimeDelta::hours(1) + TimeDelta::seconds(1));
    works(&first, 401).await;
    works(&second, 200).await;
    // At once, where nothing else is wished.
    let rotate = format!("{KEYS}/{}/rotate", second["id"].as_str().unwrap());
    let third = ask(
        &platform,
        token,
        ("POST", &rotate),
        Some(json!({ "grace_seconds": 0 })),
        201,
    )
    .await;
    works(&second, 401).await;
    works(&third, 200).await;
    platform.clock.shift(TimeDelta::days(5));
    works(&third, 401).await;
    platform.stop().await;
}
