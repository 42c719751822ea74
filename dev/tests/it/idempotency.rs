//! `Idempotency-Key`: sent again, done once.

use std::collections::BTreeSet;

use common::domain::MemberRole;
use dev::testing::{Platform, TestUser};
use fred::interfaces::KeysInterface;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const BUSINESSES: &str = "/api/v1/businesses";

/// `POST path` with a key; status, whether it was answered before, body.
async fn post(
    platform: &Platform,
    user: &TestUser,
    path: &str,
    key: &str,
    body: &Value,
) -> (u16, bool, Value) {
    let request = platform.as_bearer(&user.access_token, Method::POST, path);
    let response = request
        .header("Idempotency-Key", key)
        .json(body)
        .send()
        .await
        .unwrap();
    let replayed = response
        .headers()
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true");
    (
        response.status().as_u16(),
        replayed,
        response.json().await.unwrap_or_default(),
    )
}

async fn names(platform: &Platform, user: &TestUser) -> Vec<String> {
    let list = platform
        .send(&user.access_token, "GET", BUSINESSES, None)
        .await;
    let list: Value = list.json().await.unwrap();
    let businesses = list["data"].as_array().unwrap().iter();
    businesses
        .map(|business| business["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_with_its_key_is_answered_and_not_done_again() {
    let platform = crate::setup().start().await;
    let (ana, bob) = (platform.user("Ana").await, platform.user("Bob").await);
    let dubois = json!({ "name": "Dubois" });

    let first = post(&platform, &ana, BUSINESSES, "k1", &dubois).await;
    assert_eq!((first.0, first.1), (201, false), "{}", first.2);
    let again = post(&platform, &ana, BUSINESSES, "k1", &dubois).await;
    assert_eq!(again, (201, true, first.2.clone()));
    // Also a refusal that would come again.
    let refused = post(&platform, &ana, BUSINESSES, "k2", &json!({ "name": "" })).await;
    assert_eq!((refused.0, refused.1), (400, false));
    assert_eq!(
        post(&platform, &ana, BUSINESSES, "k2", &json!({ "name": "" })).await,
        (400, true, refused.2)
    );
    // Another body is another request; another's key is another key; so is another operation's.
    let other = post(
        &platform,
        &ana,
        BUSINESSES,
        "k1",
        &json!({ "name": "Durand" }),
    )
    .await;
    assert_eq!(
        (other.0, &other.2["error"]["code"]),
        (422, &json!("IDEMPOTENCY_MISMATCH"))
    );
    let bobs = post(&platform, &bob, BUSINESSES, "k1", &dubois).await;
    assert!(
        bobs.0 == 201 && !bobs.1 && bobs.2["id"] != first.2["id"],
        "{bobs:?}"
    );
    let path = format!("{BUSINESSES}/{}/stage", first.2["id"].as_str().unwrap());
    assert_eq!(post(&platform, &ana, &path, "k1", &dubois).await.0, 400);
    assert_eq!(
        names(&platform, &ana)
            .await
            .iter()
            .filter(|name| *name == "Dubois")
            .count(),
        1
    );

    for insane in ["", " ", &"k".repeat(256), "a b"] {
        let refused = post(&platform, &ana, BUSINESSES, insane, &dubois).await;
        assert_eq!(
            refused.2["error"]["details"]["field"], "Idempotency-Key",
            "{insane}: {}",
            refused.2
        );
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_is_done() {
    let platform = crate::setup().start().await;
    let ana = platform.user("Ana").await;
    let body = json!({ "name": "Dubois" });

    let answers = join_all((0..20).map(|_| post(&platform, &ana, BUSINESSES, "k", &body))).await;

    let statuses: BTreeSet<u16> = answers.iter().map(|answer| answer.0).collect();
    assert!(
        statuses.is_subset(&BTreeSet::from([201, 409])),
        "{answers:?}"
    );
    let running = answers.iter().filter(|answer| answer.0 == 409);
    for answer in running {
        assert_eq!(answer.2["error"]["code"], "IDEMPOTENCY_RUNNING");
    }
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.0 == 201 && !answer.1)
            .count(),
        1
    );
    assert_eq!(
        names(&platform, &ana)
            .await
            .iter()
            .filter(|name| *name == "Dubois")
            .count(),
        1
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_shown_once_is_shown_again_with_its_key_but_lies_nowhere_in_clear() {
    let platform = crate::setup().start().await;
    let ana = platform.member("Ana", MemberRole::Owner).await;
    let wanted = json!({ "name": "orders of the week", "scopes": ["documents:read"] });

    let made = post(&platform, &ana, "/api/v1/api-keys", "k", &wanted).await;
    assert_eq!(made.0, 201, "{}", made.2);
    let again = post(&platform, &ana, "/api/v1/api-keys", "k", &wanted).await;
    assert_eq!(again, (201, true, made.2.clone()));

    let redis = common::redis::connect(&platform.config.stores.redis_url).unwrap();
    let mut kept = Vec::new();
    let mut scan = Box::pin(redis.scan_buffered("relais:idempotency:*", None, None));
    while let Some(key) = futures::StreamExt::next(&mut scan).await {
        let record: String = redis.get(key.unwrap()).await.unwrap();
        kept.push(record);
    }
    assert_eq!(kept.len(), 1);
    assert!(
        !kept[0].contains("rl_live_") && !kept[0].contains("orders of"),
        "{kept:?}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_session_is_over_is_not_answered_again() {
    let platform = crate::setup().start().await;
    let ana = platform.user("Ana").await;
    let body = json!({ "name": "Dubois" });
    assert_eq!(post(&platform, &ana, BUSINESSES, "k", &body).await.0, 201);

    let left = platform
        .send(&ana.access_token, "POST", "/api/v1/auth/logout", None)
        .await;
    assert_eq!(left.status(), 204);

    let again = post(&platform, &ana, BUSINESSES, "k", &body).await;
    assert_eq!((again.0, again.1), (401, false), "{}", again.2);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_did_not_arrive_whole_may_be_sent_again_with_its_key() {
    let platform = crate::setup().start().await;
    let upload = async |body: &'static str| {
        let path = "/api/v1/documents/upload";
        let request = platform.as_bearer(&platform.business.api_key, Method::POST, path);
        let request = request.header("Content-Type", "multipart/form-data; boundary=b");
        let response = request
            .header("Idempotency-Key", "k")
            .body(body)
            .send()
            .await
            .unwrap();
        response.status().as_u16()
    };
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n";
    let whole = format!("{head}The mascot is a heron.\r\n--b--\r\n").leak();
    let broken: &'static str = &whole[..whole.len() - 9];

    assert_eq!(upload(broken).await, 400);
    assert_eq!(upload(whole).await, 202);
    assert_eq!(upload(whole).await, 202);
    let list = platform
        .get_as(&platform.business, "/api/v1/documents")
        .await;
    let list: Value = list.json().await.unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    platform.stop().await;
}
