//! Rate limits at the edge.

use common::domain::MemberRole;
use dev::testing::Setup;
use reqwest::{Method, Response};
use serde_json::{Value, json};

fn limited(vars: &[(&str, &str)]) -> Setup {
    Setup {
        ingresses: 2,
        vars: vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..crate::setup()
    }
}

fn number(response: &Response, header: &str) -> u64 {
    response.headers()[header]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_business_has_one_limit_at_all_ingresses_together_and_webhooks_have_none() {
    let platform = limited(&[("RATE_LIMIT_REQUESTS", "6")]).start().await;
    let other = platform.another_business("Another").await;
    let ask = async |ingress: usize, key: &secrecy::SecretString| {
        let request = platform
            .http
            .get(platform.url_of(ingress, "/api/v1/documents"));
        request
            .bearer_auth(secrecy::ExposeSecret::expose_secret(key))
            .send()
            .await
            .unwrap()
    };

    for (nth, ingress) in [0, 1, 0, 1, 0, 1].into_iter().enumerate() {
        let response = ask(ingress, &platform.business.api_key).await;
        assert_eq!(response.status(), 200);
        assert_eq!(number(&response, "ratelimit-limit"), 6);
        assert_eq!(number(&response, "ratelimit-remaining"), 5 - nth as u64);
        assert!((1..=60).contains(&number(&response, "ratelimit-reset")));
    }
    for ingress in [0, 1] {
        let refused = ask(ingress, &platform.business.api_key).await;
        assert_eq!(
            (
                refused.status().as_u16(),
                number(&refused, "ratelimit-remaining")
            ),
            (429, 0)
        );
        assert!(
            (1..=10).contains(&number(&refused, "retry-after")),
            "one is back after ten seconds"
        );
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body["error"]["code"], "TOO_MANY_REQUESTS");
    }
    // A member is the business; another business is not.
    let ada = platform.member("Ada", MemberRole::Member).await;
    let request = platform.as_bearer(&ada.access_token, Method::GET, "/api/v1/documents");
    let refused = request
        .header("X-Business-Id", platform.business.business_id.to_string())
        .send()
        .await;
    assert_eq!(refused.unwrap().status(), 429);
    assert_eq!(ask(0, &other.api_key).await.status(), 200);
    for nth in 0..10 {
        let message =
            json!({ "subscriber_id": 1, "text": format!("{nth}"), "message_id": format!("{nth}") });
        assert_eq!(platform.webhook(&message).await.status(), 200);
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_asks_a_model_is_limited_by_the_plan() {
    let platform = limited(&[]).start().await;
    let lower = "UPDATE plans SET requests_per_minute = 2 WHERE name = 'vip'";
    sqlx::query(lower).execute(&platform.owner).await.unwrap();
    let ask = async |path: &str| {
        let request = platform.as_bearer(&platform.business.api_key, Method::POST, path);
        request
            .json(&json!({ "question": "When?" }))
            .send()
            .await
            .unwrap()
    };

    assert_eq!(
        number(&ask("/api/v1/search").await, "ratelimit-remaining"),
        1
    );
    assert_eq!(ask("/api/v1/search").await.status(), 200);
    assert_eq!(ask("/api/v1/query").await.status(), 429);
    let list = platform
        .as_bearer(&platform.business.api_key, Method::GET, "/api/v1/documents")
        .send()
        .await;
    assert_eq!(list.unwrap().status(), 200, "a list asks no model");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_ingress_counts_for_itself() {
    let mut platform = limited(&[("RATE_LIMIT_REQUESTS", "3")]).start().await;
    platform.redis.stop().await;
    let ask = async |ingress: usize| {
        let request = platform
            .http
            .get(platform.url_of(ingress, "/api/v1/documents"));
        let key = secrecy::ExposeSecret::expose_secret(&platform.business.api_key);
        request
            .bearer_auth(key)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };

    for ingress in [0, 1] {
        for expected in [200, 200, 200, 429] {
            assert_eq!(ask(ingress).await, expected, "ingress {ingress}");
        }
    }
    platform.stop().await;
}
