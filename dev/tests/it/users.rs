//! Users as they see themselves, and as support and admins see them.

use common::domain::{MemberRole, Role};
use dev::testing::{Platform, Setup};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

/// Asks, and answers status and body.
async fn ask(
    platform: &Platform,
    token: &SecretString,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let mut request = platform.as_bearer(token, method, path);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

async fn get(platform: &Platform, token: &SecretString, path: &str) -> (u16, Value) {
    ask(platform, token, Method::GET, path, None).await
}

async fn patch(platform: &Platform, token: &SecretString, path: &str, body: Value) -> (u16, Value) {
    ask(platform, token, Method::PATCH, path, Some(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_sees_and_changes_their_own_profile_and_nothing_more() {
    let platform = crate::setup().start().await;
    let ada = platform.user("Ada").await;
    let me = "/api/v1/users/me";

    let (status, profile) = get(&platform, &ada.access_token, me).await;
    assert_eq!(
        (status, &profile["email"], &profile["role"]),
        (200, &json!("ada@example.org"), &json!("user"))
    );
    assert_eq!(profile["default_business_id"], json!(ada.business_id));

    let change = json!({ "name": " Ada L. ", "avatar_url": "https://example.org/ada.png", "language": "fr" });
    let (status, profile) = patch(&platform, &ada.access_token, me, change).await;
    assert_eq!(
        (status, &profile["name"], &profile["language"]),
        (200, &json!("Ada L."), &json!("fr"))
    );
    let (_, profile) = patch(
        &platform,
        &ada.access_token,
        me,
        json!({ "avatar_url": null }),
    )
    .await;
    assert_eq!(
        (&profile["avatar_url"], &profile["name"]),
        (&json!(null), &json!("Ada L."))
    );

    // What is not theirs to set is refused as unknown, and stays.
    for change in [
        json!({ "role": "admin" }),
        json!({ "id": platform.business.business_id }),
        json!({ "email": "root@example.org" }),
        json!({ "deactivated_at": null }),
        json!({ "name": "" }),
        json!({ "name": "x".repeat(121) }),
        json!({ "avatar_url": "javascript:alert(1)" }),
        json!({ "language": "tlh" }),
    ] {
        let (status, refusal) = patch(&platform, &ada.access_token, me, change.clone()).await;
        assert_eq!(
            (status, &refusal["error"]["code"]),
            (400, &json!("VALIDATION_ERROR")),
            "{change}"
        );
    }
    // A business they are not in is as one that is not there.
    let change = json!({ "default_business_id": platform.business.business_id });
    assert_eq!(patch(&platform, &ada.access_token, me, change).await.0, 404);
    let (_, profile) = get(&platform, &ada.access_token, me).await;
    assert_eq!(
        (&profile["role"], &profile["email"]),
        (&json!("user"), &json!("ada@example.org"))
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_acts_for_the_business_it_names_else_for_the_users_own() {
    let platform = crate::setup().start().await;
    let ada = platform.member("Ada", MemberRole::Member).await;
    let bob = platform.user("Bob").await;
    let uploaded = platform
        .upload_as(
            &platform.business,
            "mascot.md",
            "The mascot is a heron.".into(),
        )
        .await;
    assert_eq!(uploaded.status(), 202);
    let documents = async |token: &SecretString, business: Option<String>| {
        let mut request = platform.as_bearer(token, Method::GET, "/api/v1/documents");
        if let Some(business) = business {
            request = request.header("X-Business-Id", business);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };

    let seeded = platform.business.business_id;
    let (status, list) = documents(&ada.access_token, None).await;
    assert!(
        status == 200 && !list.contains("mascot"),
        "her own business has none: {list}"
    );
    let (status, list) = documents(&ada.access_token, Some(seeded.to_string())).await;
    assert!(status == 200 && list.contains("mascot.md"), "{list}");
    // Another's and nobody's are the same.
    let nobodys = documents(&bob.access_token, Some(uuid::Uuid::now_v7().to_string())).await;
    assert_eq!(nobodys.0, 404);
    for business in [
        seeded.to_string(),
        ada.business_id.to_string(),
        "nonsense".to_owned(),
    ] {
        assert_eq!(documents(&bob.access_token, Some(business)).await, nobodys);
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_find_users_change_their_roles_and_end_their_sessions_at_once_everywhere() {
    let platform = Setup {
        ingresses: 2,
        ..crate::setup()
    }
    .start()
    .await;
    let admin = platform.staff("Root", Role::Admin).await;
    let support = platform.staff("Sue", Role::Support).await;
    let ada = platform.user("Ada").await;
    let path = format!("/api/v1/users/{}", ada.id);

    let (_, found) = get(
        &platform,
        &support.access_token,
        "/api/v1/users?search=ada@",
    )
    .await;
    assert_eq!(
        (
            found["data"].as_array().unwrap().len(),
            &found["data"][0]["id"]
        ),
        (1, &json!(ada.id))
    );
    let (_, found) = get(&platform, &support.access_token, "/api/v1/users?role=admin").await;
    assert_eq!(found["data"][0]["email"], json!("root@example.org"));
    // Signs that stand for others in a pattern stand for themselves here.
    for search in ["%25", "_da"] {
        let (status, found) = get(
            &platform,
            &support.access_token,
            &format!("/api/v1/users?search={search}"),
        )
        .await;
        assert_eq!(
            (status, found["data"].as_array().unwrap().len()),
            (200, 0),
            "{search}"
        );
    }
    let (_, first) = get(&platform, &admin.access_token, "/api/v1/users?limit=2").await;
    let next = format!(
        "/api/v1/users?limit=2&cursor={}",
        first["next_cursor"].as_str().unwrap()
    );
    let (_, second) = get(&platform, &admin.access_token, &next).await;
    assert_eq!(
        (
            second["data"].as_array().unwrap().len(),
            &second["next_cursor"]
        ),
        (1, &json!(null))
    );

    // Who may not is told so, and learns nothing.
    for (token, method, path) in [
        (&ada.access_token, Method::GET, "/api/v1/users".to_owned()),
        (&ada.access_token, Method::GET, path.clone()),
        (&support.access_token, Method::PATCH, path.clone()),
        (
            &support.access_token,
            Method::GET,
            "/api/v1/admin/audit".to_owned(),
        ),
        (
            &platform.business.api_key,
            Method::GET,
            "/api/v1/users".to_owned(),
        ),
    ] {
        let body = (method == Method::PATCH).then(|| json!({ "role": "admin" }));
        let (status, refusal) = ask(&platform, token, method, &path, body).await;
        assert_eq!(
            (status, &refusal["error"]["code"]),
            (403, &json!("FORBIDDEN")),
            "{path}"
        );
    }

    // Learnt by both ingresses, forgotten by both.
    let me = async |ingress: usize| {
        let request = platform
            .http
            .get(platform.url_of(ingress, "/api/v1/users/me"));
        let token = secrecy::ExposeSecret::expose_secret(&ada.access_token).to_owned();
        request
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!((me(0).await, me(1).await), (200, 200));
    let (status, changed) = patch(
        &platform,
        &admin.access_token,
        &path,
        json!({ "active": false }),
    )
    .await;
    assert!(
        status == 200 && changed["deactivated_at"].is_string(),
        "{changed}"
    );
    assert_eq!(me(0).await, 401);
    dev::testing::eventually("the other ingress has heard of it", async || {
        (me(1).await == 401).then_some(())
    })
    .await;
    // Reactivated, what ended stays ended.
    let (_, changed) = patch(
        &platform,
        &admin.access_token,
        &path,
        json!({ "active": true, "role": "support" }),
    )
    .await;
    assert_eq!(
        (&changed["deactivated_at"], &changed["role"]),
        (&json!(null), &json!("support"))
    );
    assert_eq!(me(0).await, 401);

    // Nobody changes themselves, and the last admin stays.
    let own = format!("/api/v1/users/{}", admin.id);
    assert_eq!(
        patch(
            &platform,
            &admin.access_token,
            &own,
            json!({ "role": "user" })
        )
        .await
        .0,
        409
    );
    let (_, events) = get(
        &platform,
        &admin.access_token,
        "/api/v1/admin/audit?action=user.changed",
    )
    .await;
    let events = events["data"].as_array().unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[1]["details"], &events[1]["object_id"]),
        (&json!({ "active": false, "role": null }), &json!(ada.id))
    );
    assert!(
        events[0]["actor_id"] == json!(admin.id) && events[0]["address"].is_string(),
        "{events:?}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_admins_cannot_demote_each_other_at_once() {
    let platform = crate::setup().start().await;
    let admins = [
        platform.staff("A", Role::Admin).await,
        platform.staff("B", Role::Admin).await,
    ];
    let demote = async |by: usize, whom: usize| {
        let path = format!("/api/v1/users/{}", admins[whom].id);
        patch(
            &platform,
            &admins[by].access_token,
            &path,
            json!({ "role": "user" }),
        )
        .await
        .0
    };

    let outcomes = tokio::join!(demote(0, 1), demote(1, 0));

    // The second is refused: as the last admin's demotion, or since it is no admin's any more.
    assert!(
        matches!(outcomes, (200, 403 | 409) | (403 | 409, 200)),
        "{outcomes:?}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn support_acts_for_a_user_but_never_with_credentials_and_never_unseen() {
    let platform = crate::setup().start().await;
    let support = platform.staff("Sue", Role::Support).await;
    let admin = platform.staff("Root", Role::Admin).await;
    let ada = platform.member("Ada", MemberRole::Owner).await;
    let impersonate = async |token: &SecretString, whom: &dyn std::fmt::Display, body: Value| {
        ask(
            &platform,
            token,
            Method::POST,
            &format!("/api/v1/users/{whom}/impersonate"),
            Some(body),
        )
        .await
    };
    let why = || json!({ "reason": "ticket 4711" });

    // Never of an admin, of support, of oneself, of nobody; never without a reason; never by a user or by one who acts.
    assert_eq!(
        impersonate(&support.access_token, &admin.id, why()).await.0,
        409
    );
    assert_eq!(
        impersonate(&admin.access_token, &support.id, why()).await.0,
        409
    );
    assert_eq!(
        impersonate(&support.access_token, &support.id, why())
            .await
            .0,
        409
    );
    assert_eq!(
        impersonate(&support.access_token, &uuid::Uuid::now_v7(), why())
            .await
            .0,
        404
    );
    assert_eq!(
        impersonate(&support.access_token, &ada.id, json!({ "reason": " " }))
            .await
            .0,
        400
    );
    assert_eq!(impersonate(&ada.access_token, &ada.id, why()).await.0, 403);
    let (status, begun) = impersonate(&support.access_token, &ada.id, why()).await;
    assert_eq!(
        (status, &begun["expires_in"]),
        (201, &json!(900)),
        "{begun}"
    );
    let token = SecretString::from(begun["access_token"].as_str().unwrap().to_owned());
    assert_eq!(impersonate(&token, &ada.id, why()).await.0, 403);

    // Sees what she sees.
    let (status, profile) = get(&platform, &token, "/api/v1/users/me").await;
    assert_eq!(
        (status, &profile["email"]),
        (200, &json!("ada@example.org"))
    );
    let request = platform.as_bearer(&token, Method::GET, "/api/v1/documents");
    let seen = request
        .header("X-Business-Id", platform.business.business_id.to_string())
        .send()
        .await;
    assert_eq!(seen.unwrap().status(), 200);
    // But not the audit log, and nobody's users.
    assert_eq!(get(&platform, &token, "/api/v1/audit").await.0, 403);
    assert_eq!(get(&platform, &token, "/api/v1/users").await.0, 403);

    // Every request is written down: with who, for whom, what; in the business, where it was in one.
    let (_, events) = get(
        &platform,
        &admin.access_token,
        &format!("/api/v1/admin/audit?actor_id={}", support.id),
    )
    .await;
    let events = events["data"].as_array().unwrap();
    let begun: Vec<&Value> = events
        .iter()
        .filter(|event| event["action"] == "impersonation.begun")
        .collect();
    assert_eq!(
        (begun.len(), &begun[0]["details"]["reason"]),
        (1, &json!("ticket 4711"))
    );
    let made = events
        .iter()
        .find(|event| event["details"]["path"] == "/api/v1/users/me")
        .unwrap();
    assert_eq!(
        (&made["actor_id"], &made["on_behalf_of"]),
        (&json!(support.id), &json!(ada.id))
    );
    let request = platform.as_bearer(
        &ada.access_token,
        Method::GET,
        "/api/v1/audit?action=impersonation.request",
    );
    let events = request
        .header("X-Business-Id", platform.business.business_id.to_string())
        .send()
        .await;
    let events: Value = events.unwrap().json().await.unwrap();
    assert_eq!(
        events["data"][0]["details"],
        json!({ "method": "GET", "path": "/api/v1/documents" })
    );

    // Over once the one who acts is no support any more.
    let path = format!("/api/v1/users/{}", support.id);
    assert_eq!(
        patch(
            &platform,
            &admin.access_token,
            &path,
            json!({ "role": "user" })
        )
        .await
        .0,
        200
    );
    assert_eq!(get(&platform, &token, "/api/v1/users/me").await.0, 401);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_rewrites_the_audit_log() {
    let platform = crate::setup().start().await;
    for (role, statement) in [
        ("relais_app", "UPDATE audit_events SET action = 'nothing'"),
        ("relais_app", "DELETE FROM audit_events"),
        (
            "relais_platform",
            "UPDATE audit_events SET action = 'nothing'",
        ),
        ("relais_platform", "DELETE FROM audit_events"),
    ] {
        let mut tx = platform.pool.begin().await.unwrap();
        let take = sqlx::AssertSqlSafe(format!("SET LOCAL ROLE {role}"));
        sqlx::query(take).execute(&mut *tx).await.unwrap();
        let refused = sqlx::query(statement).execute(&mut *tx).await.unwrap_err();
        assert_eq!(
            refused.as_database_error().unwrap().code().unwrap(),
            "42501",
            "{role}: {statement}"
        );
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_makes_the_first_admin_at_the_command_line() {
    let platform = crate::setup().start().await;
    let ada = platform.user("Ada").await;
    let relais = async |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_relais"));
        command
            .args(args)
            .envs(&platform.vars)
            .output()
            .await
            .unwrap()
    };

    let unknown = relais(&[
        "user",
        "role",
        "--email",
        "nobody@example.org",
        "--role",
        "admin",
    ])
    .await;
    assert!(!unknown.status.success());
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        told.contains("no user with the address nobody@example.org"),
        "{told}"
    );
    assert_eq!(
        get(&platform, &ada.access_token, "/api/v1/users").await.0,
        403
    );

    let done = relais(&[
        "user",
        "role",
        "--email",
        "Ada@Example.org",
        "--role",
        "admin",
    ])
    .await;
    assert!(done.status.success(), "{done:?}");

    dev::testing::eventually("the ingress has heard of it", async || {
        (get(&platform, &ada.access_token, "/api/v1/users").await.0 == 200).then_some(())
    })
    .await;
    platform.stop().await;
}
