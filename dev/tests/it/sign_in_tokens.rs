//! Access tokens that are not ours, or no longer: all refused, and alike.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::TimeDelta;
use common::domain::{Role, SessionId, UserId};
use dev::testing::Platform;
use ingress::auth::{AccessTokens, Subject};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_input::refused;
use crate::sign_in::{get_as, sign_up};

/// A token of somebody who has the key to `tokens`.
fn signed(
    platform: &Platform,
    tokens: &AccessTokens,
    user: &Value,
    session_id: SessionId,
) -> String {
    let subject = Subject {
        user_id: UserId(user["id"].as_str().unwrap().parse().unwrap()),
        email: None,
        role: Role::Admin,
        session_id,
        impersonator_id: None,
    };
    let token = tokens.issue(&subject, tokens.lifetime(), platform.clock.now());
    token.unwrap().expose_secret().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_forged_or_is_over_is_refused() {
    let platform = crate::setup().start().await;
    let tokens = sign_up(&platform, "ana@example.org").await;
    let (right, user) = (tokens["access_token"].as_str().unwrap(), &tokens["user"]);
    let parts: Vec<&str> = right.split('.').collect();
    let claims: Value = serde_json::from_slice(&BASE64.decode(parts[1]).unwrap()).unwrap();
    assert_eq!(claims["sub"], user["id"]);
    assert_eq!(
        (&claims["email"], &claims["role"]),
        (&json!("ana@example.org"), &json!("user"))
    );
    let session_id = SessionId(claims["sid"].as_str().unwrap().parse().unwrap());

    let forged = |header: Value, claims: &Value, signature: &str| {
        let part = |value: &Value| BASE64.encode(value.to_string());
        format!("{}.{}.{signature}", part(&header), part(claims))
    };
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let hs256 = json!({ "typ": "JWT", "alg": "HS256" });
    let theirs = AccessTokens::new(
        &"another secret of at least 32 letters".into(),
        Duration::from_hours(1),
    );
    let ours = AccessTokens::new(
        &platform.config.identity.jwt_secret,
        Duration::from_hours(1),
    );
    for (case, token) in [
        (
            "no signature",
            forged(json!({ "alg": "none" }), &claims, ""),
        ),
        (
            "none, signed",
            forged(json!({ "alg": "none" }), &claims, parts[2]),
        ),
        (
            "a header without algorithm",
            forged(json!({ "typ": "JWT" }), &claims, parts[2]),
        ),
        (
            "an algorithm of keys",
            forged(json!({ "alg": "RS256" }), &claims, parts[2]),
        ),
        (
            "another role",
            forged(hs256.clone(), &with("role", json!("admin")), parts[2]),
        ),
        (
            "another user",
            forged(hs256.clone(), &with("sub", json!(Uuid::now_v7())), parts[2]),
        ),
        (
            "a later end",
            forged(
                hs256.clone(),
                &with("exp", json!(9_999_999_999_u64)),
                parts[2],
            ),
        ),
        (
            "a key that comes along",
            forged(
                json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AA" }, "kid": "../../dev/null" }),
                &claims,
                parts[2],
            ),
        ),
        ("half a token", format!("{}.{}", parts[0], parts[1])),
        ("a longer signature", format!("{right}AA")),
        ("another key", signed(&platform, &theirs, user, session_id)),
        (
            "a session of nobody",
            signed(&platform, &ours, user, SessionId::new()),
        ),
        (
            "the refresh token",
            tokens["refresh_token"].as_str().unwrap().to_owned(),
        ),
    ] {
        let response = get_as(&platform, &json!(token), "/auth/me").await;
        refused(case, response, 401, "UNAUTHORIZED").await;
        let response = get_as(&platform, &json!(token), "/documents").await;
        refused(case, response, 401, "UNAUTHORIZED").await;
    }
    // What it says of its holder is for clients to read. Who asks what is allowed asks the database.
    let admin = json!(signed(&platform, &ours, user, session_id));
    assert_eq!(get_as(&platform, &admin, "/auth/me").await.status(), 200);

    let right = json!(right);
    platform.clock.shift(-TimeDelta::minutes(2));
    refused(
        "of the future",
        get_as(&platform, &right, "/auth/me").await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    platform.clock.shift(TimeDelta::minutes(2));
    assert_eq!(get_as(&platform, &right, "/auth/me").await.status(), 200);
    platform.clock.shift(TimeDelta::days(7));
    refused(
        "expired",
        get_as(&platform, &right, "/auth/me").await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    platform.stop().await;
}
