//! Businesses: what may be said of them, by whom, their stages and their end.

use chrono::TimeDelta;
use common::queue::NewJob;
use common::queue::jobs::EraseBusinesses;
use dev::testing::{Platform, TestUser, eventually};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_input::{files, refused};

const BUSINESSES: &str = "/api/v1/businesses";

/// `method path` as whoever has `token`, with the status that is expected; answers the body.
pub(crate) async fn ask(
    platform: &Platform,
    token: &SecretString,
    (method, path): (&str, &str),
    body: Option<Value>,
    status: u16,
) -> Value {
    let response = platform.send(token, method, path, body.as_ref()).await;
    let found = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{method} {path}: {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// A business of `user`'s; its path.
pub(crate) async fn business_of(platform: &Platform, user: &TestUser, name: &str) -> String {
    let body = json!({ "name": name });
    let made = ask(
        platform,
        &user.access_token,
        ("POST", BUSINESSES),
        Some(body),
        201,
    )
    .await;
    format!("{BUSINESSES}/{}", made["id"].as_str().unwrap())
}

/// Makes `user` a member behind the scenes.
pub(crate) async fn join(platform: &Platform, path: &str, user: &TestUser, role: &str) {
    let id = id_in(path);
    sqlx::query("INSERT INTO memberships (business_id, user_id, role, created_at) VALUES ($1, $2, $3, now())")
        .bind(id)
        .bind(user.id.0)
        .bind(role)
        .execute(&platform.owner)
        .await
        .unwrap();
}

/// What the audit log says was done in a business, oldest first.
pub(crate) async fn actions(platform: &Platform, business_id: Uuid) -> Vec<String> {
    sqlx::query_scalar("SELECT action FROM audit_events WHERE business_id = $1 ORDER BY id")
        .bind(business_id)
        .fetch_all(&platform.owner)
        .await
        .unwrap()
}

/// The business a path names.
pub(crate) fn id_in(path: &str) -> Uuid {
    Uuid::parse_str(path.rsplit('/').next().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_business_is_created_described_and_moved_between_stages() {
    let platform = crate::setup().start().await;
    let ana = platform.user("Ana").await;
    let token = &ana.access_token;

    let body = json!({
        "name": "  Boulangerie Dubois ", "stage": "idea", "industry": "food_and_beverage", "currency": "CHF",
        "team": [{ "name": "Ana", "role": "founder" }, { "name": "Bo" }], "time_zone": "Europe/Zurich",
        "finances": { "annual_revenue": 12_000_000, "funding_goal": 5_000_000 }, "language": "en",
        "assets": [{ "name": "Oven", "value": 350_000 }], "location": "Lausanne", "description": "Bread.\nAnd more.",
    });
    let made = ask(&platform, token, ("POST", BUSINESSES), Some(body), 201).await;
    assert_eq!(made["name"], "Boulangerie Dubois");
    assert_eq!(
        (&made["role"], &made["plan"]),
        (&json!("owner"), &json!("free"))
    );
    assert_eq!(made["team"][1], json!({ "name": "Bo", "role": null }));
    assert_eq!(made["finances"]["annual_revenue"], 12_000_000);
    let path = format!("{BUSINESSES}/{}", made["id"].as_str().unwrap());
    assert_eq!(ask(&platform, token, ("GET", &path), None, 200).await, made);

    // Newest first; the personal one was made at sign-up.
    let list = ask(&platform, token, ("GET", BUSINESSES), None, 200).await;
    assert_eq!(list["data"][0], made);
    assert_eq!(list["data"][1]["id"], ana.business_id.to_string());
    assert_eq!(list["data"][1]["stage"], "personal");
    let first = ask(
        &platform,
        token,
        ("GET", &format!("{BUSINESSES}?limit=1")),
        None,
        200,
    )
    .await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = format!("{BUSINESSES}?limit=1&cursor={cursor}");
    let second = ask(&platform, token, ("GET", &second), None, 200).await;
    assert_eq!(second["data"][0], list["data"][1]);
    assert!(second["next_cursor"].is_null());

    // Absent stays, null clears.
    let change =
        json!({ "name": "Chez Ana", "description": null, "team": null, "location": "Genève" });
    let changed = ask(&platform, token, ("PATCH", &path), Some(change), 200).await;
    assert_eq!(
        (&changed["name"], &changed["location"]),
        (&json!("Chez Ana"), &json!("Genève"))
    );
    assert_eq!(
        (&changed["description"], &changed["team"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(changed["industry"], "food_and_beverage");

    for (field, change) in [
        ("name", json!({ "name": null })),
        ("name", json!({ "name": " " })),
        ("name", json!({ "name": "x".repeat(121) })),
        ("name", json!({ "name": "a\u{0}b" })),
        ("industry", json!({ "industry": "piracy" })),
        ("currency", json!({ "currency": "eur" })),
        ("currency", json!({ "currency": null })),
        ("time_zone", json!({ "time_zone": "Paris" })),
        ("finances.debt", json!({ "finances": { "debt": -1 } })),
        (
            "assets.value",
            json!({ "assets": [{ "name": "x", "value": 2_000_000_000_000_000_i64 }] }),
        ),
        ("team", json!({ "team": vec![json!({ "name": "x" }); 101] })),
        // Nothing is taken that is not asked for.
        ("stage", json!({ "stage": "established" })),
        ("plan", json!({ "plan": "vip" })),
        ("id", json!({ "id": Uuid::now_v7() })),
        ("role", json!({ "role": "owner" })),
    ] {
        let response = platform.send(token, "PATCH", &path, Some(&change)).await;
        let error = refused(&change.to_string(), response, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], field, "{change}: {error}");
    }

    let personal = format!("{BUSINESSES}/{}/stage", ana.business_id);
    let stage = format!("{path}/stage");
    for (path, to, status) in [
        (&stage, "established", 200),
        (&stage, "idea", 200),
        (&stage, "personal", 422),
        (&personal, "established", 200),
        (&personal, "personal", 422),
    ] {
        let answer = ask(
            &platform,
            token,
            ("POST", path),
            Some(json!({ "stage": to })),
            status,
        )
        .await;
        if status == 200 {
            assert_eq!(answer["stage"], to);
        }
    }
    let personal = json!({ "name": "x", "stage": "personal" });
    ask(&platform, token, ("POST", BUSINESSES), Some(personal), 422).await;

    assert_eq!(
        actions(&platform, id_in(&path)).await,
        [
            "business.created",
            "business.changed",
            "business.stage_changed",
            "business.stage_changed"
        ]
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_in_a_business_cannot_tell_it_from_one_that_is_nowhere() {
    let platform = crate::setup().start().await;
    let (ana, bo, cem) = tokio::join!(
        platform.user("Ana"),
        platform.user("Bo"),
        platform.user("Cem")
    );
    let path = business_of(&platform, &ana, "Dubois").await;
    join(&platform, &path, &bo, "member").await;
    let nowhere = format!("{BUSINESSES}/{}", Uuid::now_v7());
    let key = &platform.business.api_key;

    let member = Uuid::now_v7();
    let operations = [
        ("GET", String::new(), None),
        ("PATCH", String::new(), Some(json!({ "name": "Mine" }))),
        ("DELETE", "?confirm=Dubois".to_owned(), None),
        (
            "POST",
            "/stage".to_owned(),
            Some(json!({ "stage": "established" })),
        ),
        ("POST", "/restore".to_owned(), None),
        ("GET", "/members".to_owned(), None),
        (
            "POST",
            "/members".to_owned(),
            Some(json!({ "email": "a@b.org", "role": "admin" })),
        ),
        (
            "PATCH",
            format!("/members/{member}"),
            Some(json!({ "role": "admin" })),
        ),
        ("DELETE", format!("/members/{member}"), None),
        ("GET", "/invitations".to_owned(), None),
        ("DELETE", format!("/invitations/{member}"), None),
        ("GET", "/settings".to_owned(), None),
        (
            "PATCH",
            "/settings".to_owned(),
            Some(json!({ "language": "en" })),
        ),
        ("POST", "/settings/webhook-secret".to_owned(), None),
    ];
    for (method, below, body) in &operations {
        let tell = async |token: &SecretString, business: &str| {
            let response = platform
                .send(token, method, &format!("{business}{below}"), body.as_ref())
                .await;
            (response.status().as_u16(), response.text().await.unwrap())
        };
        for token in [&cem.access_token, key] {
            let theirs = tell(token, &path).await;
            assert_eq!(theirs.0, 404, "{method} {below}: {}", theirs.1);
            assert_eq!(theirs, tell(token, &nowhere).await, "{method} {below}");
        }
        // A member may read, and leave; whoever they wish to remove.
        let expected = match (*method, below.as_str()) {
            ("GET", "/settings") => 403,
            ("GET", _) => 200,
            ("DELETE", below) if below.starts_with("/members") => 404,
            _ => 403,
        };
        let found = tell(&bo.access_token, &path).await;
        assert_eq!(found.0, expected, "{method} {below}: {}", found.1);
        let response = platform
            .send(
                &cem.access_token,
                method,
                &format!("{BUSINESSES}/x{below}"),
                body.as_ref(),
            )
            .await;
        assert_eq!(response.status(), 400, "{method} {below}");
    }

    // A key reads its own; what is for people is not for keys.
    let own = format!("{BUSINESSES}/{}", platform.business.business_id);
    let seen = ask(&platform, key, ("GET", &own), None, 200).await;
    assert_eq!(
        (&seen["role"], &seen["plan"]),
        (&Value::Null, &json!("vip"))
    );
    ask(&platform, key, ("GET", BUSINESSES), None, 403).await;
    ask(
        &platform,
        key,
        ("DELETE", &format!("{own}?confirm=x")),
        None,
        403,
    )
    .await;
    // Header and path must not disagree.
    let request = platform
        .http
        .get(platform.url(&path))
        .bearer_auth(ana.access_token.expose_secret());
    let request = request.header("X-Business-Id", ana.business_id.to_string());
    assert_eq!(request.send().await.unwrap().status(), 404);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_business_is_dead_at_once_restored_on_wish_and_erased_in_the_end() {
    let platform = crate::setup().start().await;
    let (ana, bo) = tokio::join!(platform.user("Ana"), platform.user("Bo"));
    // The operator's business, with a document and a conversation, becomes Ana's.
    let business = platform.business.clone();
    let path = format!("{BUSINESSES}/{}", business.business_id);
    join(&platform, &path, &ana, "owner").await;
    join(&platform, &path, &bo, "admin").await;
    platform
        .ingest("mascot.md", b"The mascot wears a red scarf.".to_vec())
        .await;
    platform.say(7, "Bonjour").await;
    eventually("the answer is sent", async || {
        (!platform.manychat.delivered().is_empty()).then_some(())
    })
    .await;
    sqlx::query("UPDATE users SET default_business_id = $1 WHERE id = $2")
        .bind(business.business_id.0)
        .bind(bo.id.0)
        .execute(&platform.owner)
        .await
        .unwrap();

    let delete = format!("{path}?confirm=Caf%C3%A9%20du%20Relais");
    for (token, path, status) in [
        (&bo.access_token, &delete, 403),
        (&ana.access_token, &path, 400),
        (&ana.access_token, &format!("{path}?confirm=Cafe"), 400),
        (
            &ana.access_token,
            &format!("{BUSINESSES}/{}?confirm=Ana", ana.business_id),
            422,
        ),
    ] {
        ask(&platform, token, ("DELETE", path), None, status).await;
    }
    assert_eq!(platform.get("/api/v1/documents").await.status(), 200);
    let deleting = ask(&platform, &ana.access_token, ("DELETE", &delete), None, 202).await;
    assert!(deleting["deletion_requested_at"].is_string() && deleting["erase_after"].is_string());

    // At once, whoever was let in a moment ago.
    let message = json!({ "subscriber_id": 7, "text": "Encore", "message_id": "2" });
    assert_eq!(platform.get("/api/v1/documents").await.status(), 401);
    assert_eq!(platform.webhook(&message).await.status(), 401);
    ask(&platform, &ana.access_token, ("GET", &path), None, 404).await;
    ask(&platform, &bo.access_token, ("GET", &path), None, 404).await;
    ask(
        &platform,
        &bo.access_token,
        ("POST", &format!("{path}/restore")),
        None,
        403,
    )
    .await;
    let list = ask(&platform, &ana.access_token, ("GET", BUSINESSES), None, 200).await;
    let listed = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == deleting["id"]);
    assert_eq!(listed.unwrap()["erase_after"], deleting["erase_after"]);
    // Bo's default moved on.
    ask(
        &platform,
        &bo.access_token,
        ("GET", "/api/v1/documents"),
        None,
        200,
    )
    .await;

    let restore = format!("{path}/restore");
    let restored = ask(&platform, &ana.access_token, ("POST", &restore), None, 200).await;
    assert!(restored["deletion_requested_at"].is_null());
    assert_eq!(platform.get("/api/v1/documents").await.status(), 200);
    assert_eq!(platform.webhook(&message).await.status(), 200);

    ask(&platform, &ana.access_token, ("DELETE", &delete), None, 202).await;
    let folder = platform.config.objects.data_dir.join("objects/documents");
    let erase = async |platform: &Platform| {
        let job = NewJob::new(&EraseBusinesses {});
        crate::insert(platform, &[job]).await;
    };
    erase(&platform).await;
    eventually("the job is done", async || {
        let done: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM jobs WHERE kind = 'erase_businesses' AND state = 'succeeded'",
        )
        .fetch_one(&platform.owner)
        .await
        .unwrap();
        (done > 0).then_some(())
    })
    .await;
    assert_eq!(files(&folder), 1, "30 days are not over");

    platform
        .clock
        .shift(TimeDelta::days(30) + TimeDelta::minutes(1));
    erase(&platform).await;
    let left = async |table: &str| -> i64 {
        let column = if table == "businesses" {
            "id"
        } else {
            "business_id"
        };
        let count = format!("SELECT count(*) FROM {table} WHERE {column} = $1");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(count)).bind(business.business_id.0);
        count.fetch_one(&platform.owner).await.unwrap()
    };
    eventually("the business is gone", async || {
        (left("businesses").await == 0).then_some(())
    })
    .await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'business_id'
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&platform.owner)
    .await
    .unwrap();
    assert!(tables.len() > 15, "{tables:?}");
    for table in tables {
        assert_eq!(left(&table).await, 0, "{table}");
    }
    assert_eq!(files(&folder), 0);
    let erased: String =
        sqlx::query_scalar("SELECT object_id FROM audit_events WHERE action = 'business.erased'")
            .fetch_one(&platform.owner)
            .await
            .unwrap();
    assert_eq!(erased, business.business_id.to_string());
    platform.stop().await;
}
