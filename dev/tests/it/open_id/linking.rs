//! Which user of ours a person of an issuer becomes.

use dev::simulators::openid::SigningKey;
use dev::testing::{Platform, eventually};
use fred::interfaces::{ClientLike, PubsubInterface};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{get, platform_with};
use crate::bad_input::refused;

const DOCUMENTS: &str = "/api/v1/documents";

/// A user who signed up with an address, proved or not.
async fn user(platform: &Platform, email: &str, is_verified: bool) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO users (id, email, email_verified_at, name, created_at, updated_at)
         VALUES ($1, $2, CASE WHEN $3 THEN now() END, 'Before', now(), now())",
    )
    .bind(id)
    .bind(email)
    .bind(is_verified)
    .execute(&platform.owner)
    .await
    .unwrap();
    id
}

/// The user with this subject; `None`: nobody.
async fn linked(platform: &Platform, subject: &str) -> Option<Uuid> {
    sqlx::query_scalar("SELECT user_id FROM user_identities WHERE subject = $1")
        .bind(subject)
        .fetch_optional(&platform.owner)
        .await
        .unwrap()
}

async fn count(platform: &Platform, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(&platform.owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_person_signs_up_with_the_first_call_and_is_the_same_ever_after() {
    let (platform, simulator) = platform_with(&[]).await;
    let ada = json!({
        "sub": "ada", "email": "Ada@Example.org", "email_verified": true, "name": " Ada\n  Lovelace ",
        "picture": "https://example.org/ada.png", "locale": "en-GB",
    });
    let token = simulator.token(&ada);

    // A page makes its first calls at once.
    let calls = (0..8).map(|_| get(&platform, &token, DOCUMENTS));
    for response in futures::future::join_all(calls).await {
        assert_eq!(response.status(), 200);
    }
    let row: Value = sqlx::query_scalar(
        "SELECT jsonb_build_object('email', email, 'verified', email_verified_at IS NOT NULL, 'name', users.name,
             'avatar', avatar_url, 'language', users.language, 'stage', stage, 'membership', memberships.role, 'role', users.role)
         FROM users JOIN memberships ON user_id = users.id JOIN businesses ON businesses.id = memberships.business_id
         WHERE businesses.id = default_business_id",
    )
    .fetch_one(&platform.owner)
    .await
    .unwrap();
    assert_eq!(
        row,
        json!({
            "email": "ada@example.org", "verified": true, "name": "Ada Lovelace", "avatar": "https://example.org/ada.png",
            "language": "en", "stage": "personal", "membership": "owner", "role": "user",
        })
    );
    assert_eq!(count(&platform, "SELECT count(*) FROM users").await, 1);
    let audited: Value = sqlx::query_scalar(
        "SELECT jsonb_agg(jsonb_build_object('action', action, 'details', details, 'address', address)) FROM audit_events",
    )
    .fetch_one(&platform.owner)
    .await
    .unwrap();
    let details = json!({ "issuer": simulator.issuer(), "subject": "ada" });
    assert_eq!(
        audited,
        json!([{ "action": "user.created", "details": details, "address": "127.0.0.1" }])
    );

    // Nothing a token says makes anybody more than a user.
    let bold = simulator
        .token(&json!({ "sub": "ada", "role": "admin", "scope": "*", "email": "b@example.org" }));
    assert_eq!(get(&platform, &bold, DOCUMENTS).await.status(), 200);
    assert_eq!(
        count(
            &platform,
            "SELECT count(*) FROM users WHERE role = 'user' AND email = 'ada@example.org'"
        )
        .await,
        1
    );

    // The same subject of another issuer is another person: here nobody is.
    let claims = simulator.claims(&json!({ "sub": "ada", "iss": "http://127.0.0.1:1" }));
    let other = SigningKey::rsa("first", 1).sign(&claims);
    refused(
        "another issuer",
        get(&platform, &other, DOCUMENTS).await,
        401,
        "UNAUTHORIZED",
    )
    .await;

    // What nobody needs to have.
    let bare = simulator.token(
        &json!({ "sub": "bare", "email": "not an address", "picture": "javascript:alert(1)" }),
    );
    assert_eq!(get(&platform, &bare, DOCUMENTS).await.status(), 200);
    assert_eq!(
        count(
            &platform,
            "SELECT count(*) FROM users WHERE email IS NULL AND avatar_url IS NULL AND name <> ''"
        )
        .await,
        1
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_linked_by_an_address_that_is_proved_on_both_sides_and_by_nothing_less() {
    let (platform, simulator) = platform_with(&[]).await;
    let proved = user(&platform, "proved@example.org", true).await;
    user(&platform, "unproved@example.org", false).await;
    let gone = user(&platform, "gone@example.org", true).await;
    sqlx::query("UPDATE users SET deactivated_at = now() WHERE id = $1")
        .bind(gone)
        .execute(&platform.owner)
        .await
        .unwrap();

    for (subject, claims, status) in [
        (
            "1",
            json!({ "email": "proved@example.org", "email_verified": false }),
            409,
        ),
        ("2", json!({ "email": "proved@example.org" }), 409),
        (
            "3",
            json!({ "email": "proved@example.org", "email_verified": "false" }),
            409,
        ),
        (
            "4",
            json!({ "email": "proved@example.org", "email_verified": 1 }),
            409,
        ),
        (
            "5",
            json!({ "email": "unproved@example.org", "email_verified": true }),
            409,
        ),
        (
            "6",
            json!({ "email": "unproved@example.org", "email_verified": false }),
            409,
        ),
        (
            "7",
            json!({ "email": "gone@example.org", "email_verified": true }),
            401,
        ),
    ] {
        let mut person = claims.clone();
        person["sub"] = subject.into();
        let response = get(&platform, &simulator.token(&person), DOCUMENTS).await;
        let code = if status == 409 {
            "CONFLICT"
        } else {
            "UNAUTHORIZED"
        };
        refused(&claims.to_string(), response, status, code).await;
        assert_eq!(linked(&platform, subject).await, None, "{claims}");
    }
    // `K` here is the Kelvin sign, which lower-cases into a plain `k`.
    user(&platform, "mark@example.org", true).await;
    let kelvin = json!({ "sub": "8", "email": "mar\u{212a}@example.org", "email_verified": true });
    assert_eq!(
        get(&platform, &simulator.token(&kelvin), DOCUMENTS)
            .await
            .status(),
        200
    );
    let email: Option<String> = sqlx::query_scalar(
        "SELECT email FROM users JOIN user_identities ON user_id = id WHERE subject = '8'",
    )
    .fetch_one(&platform.owner)
    .await
    .unwrap();
    assert_eq!(email, None, "somebody else, without an address");

    let token = simulator
        .token(&json!({ "sub": "9", "email": "PROVED@example.org", "email_verified": true }));
    // They have no business in this test, and so are known and yet find nothing.
    assert_eq!(get(&platform, &token, DOCUMENTS).await.status(), 404);
    assert_eq!(linked(&platform, "9").await, Some(proved));
    let linked = "SELECT count(*) FROM audit_events WHERE action = 'identity.linked'";
    assert_eq!(count(&platform, linked).await, 1);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_deactivated_is_out_whatever_their_issuer_says() {
    let (platform, simulator) = platform_with(&[]).await;
    let token = simulator.token(&json!({ "sub": "ada" }));
    assert_eq!(get(&platform, &token, DOCUMENTS).await.status(), 200);

    sqlx::query("UPDATE users SET deactivated_at = now()")
        .execute(&platform.owner)
        .await
        .unwrap();
    let redis = common::redis::connect(&platform.config.stores.redis_url).unwrap();
    redis.wait_for_connect().await.unwrap();
    redis
        .publish::<(), _, _>(ingress::auth::CHANNEL, "")
        .await
        .unwrap();

    eventually("they are out at once", async || {
        (get(&platform, &token, DOCUMENTS).await.status() == 401).then_some(())
    })
    .await;
    assert_eq!(
        count(&platform, "SELECT count(*) FROM users").await,
        1,
        "nor can they sign up again"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_token_signs_in_for_a_session_of_our_own() {
    let (platform, simulator) = platform_with(&[]).await;
    let log_in = async |token: &str| {
        let request = platform.http.post(platform.url("/api/v1/auth/login"));
        let body = json!({ "id_token": token });
        request.json(&body).send().await.unwrap()
    };
    let token = simulator
        .token(&json!({ "sub": "ada", "email": "ada@example.org", "email_verified": true }));

    let signed_in = log_in(&token).await;
    assert_eq!(signed_in.status(), 200);
    let tokens: Value = signed_in.json().await.unwrap();
    assert_eq!(tokens["user"]["email"], "ada@example.org");
    let ours = tokens["access_token"].as_str().unwrap();
    assert_eq!(get(&platform, ours, DOCUMENTS).await.status(), 200);
    let sessions = "SELECT count(*) FROM audit_events WHERE action = 'session.created' AND details = '{\"means\": \"id_token\"}'";
    assert_eq!(count(&platform, sessions).await, 1);

    let expired = simulator.token(&json!({ "sub": "ada", "exp": 1 }));
    for bad in [expired.as_str(), &token[..token.len() - 8], ours] {
        refused("a bad token", log_in(bad).await, 401, "UNAUTHORIZED").await;
    }
    user(&platform, "unproved@example.org", false).await;
    let of_another = simulator
        .token(&json!({ "sub": "bea", "email": "unproved@example.org", "email_verified": true }));
    refused(
        "another's address",
        log_in(&of_another).await,
        409,
        "CONFLICT",
    )
    .await;
    platform.stop().await;
}
