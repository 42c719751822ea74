//! Settings and their secrets: what may be set, what is never told, and what another master key changes.

use std::process::Output;

use chrono::TimeDelta;
use common::config::SecretsConfig;
use common::secret::{Sealer, manychat_key_place};
use dev::seed::Seeded;
use dev::testing::{PATIENCE, Platform, Setup};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_input::refused;
use crate::businesses::{actions, ask, join};

fn path_of(business: &Seeded) -> String {
    format!("/api/v1/businesses/{}", business.business_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_changed_one_by_one_and_their_secrets_never_told() {
    let platform = crate::setup().start().await;
    let business = platform.business.clone();
    let path = format!("{}/settings", path_of(&business));
    let key = &business.api_key;

    let before = ask(&platform, key, ("GET", &path), None, 200).await;
    assert_eq!(before["manychat_connected"], true);
    assert_eq!(before["webhook_secrets"].as_array().unwrap().len(), 1);
    let character = platform.get_json("/api/v1/config/characters").await["data"][0]["id"].clone();
    let hours = json!({
        "time_zone": "Europe/Paris",
        "weekly": { "monday": [{ "opens": "14:00", "closes": "18:30" }, { "opens": "09:00", "closes": "12:00" }] },
        "holidays": ["2026-12-25", "2026-05-01", "2026-05-01"],
    });
    let change = json!({
        "language": "en", "acknowledgement": "One moment.", "default_character_id": character, "delivery_policy": "at_most_once",
        "opt_out_words": ["  Arrêt! ", "ARRET", "Plus rien"], "outbound_webhook_url": "https://example.com/hook",
        "business_hours": hours, "manychat_api_key": "77:another-key",
    });
    let changed = ask(&platform, key, ("PATCH", &path), Some(change), 200).await;
    assert_eq!(changed["opt_out_words"], json!(["arret", "plus rien"]));
    assert_eq!(
        changed["business_hours"]["weekly"]["monday"],
        json!([{ "opens": "09:00", "closes": "12:00" }, { "opens": "14:00", "closes": "18:30" }])
    );
    assert_eq!(changed["business_hours"]["weekly"]["sunday"], json!([]));
    assert_eq!(
        changed["business_hours"]["holidays"],
        json!(["2026-05-01", "2026-12-25"])
    );
    assert!(changed["manychat_connected_at"].is_string());
    assert!(!changed.to_string().contains("another-key"));
    assert_eq!(
        ask(&platform, key, ("GET", &path), None, 200).await,
        changed
    );

    // The next webhook is acknowledged so, though its secret was learnt before.
    let message = |id: &str| json!({ "subscriber_id": 1, "text": "Hello", "message_id": id });
    platform.say(1, "Bonjour").await;
    for (text, seen) in [("A moment more.", true), ("", false)] {
        let acknowledgement = if seen { json!(text) } else { Value::Null };
        let change = json!({ "acknowledgement": acknowledgement });
        ask(&platform, key, ("PATCH", &path), Some(change), 200).await;
        let answer = platform.webhook(&message(text)).await.text().await.unwrap();
        assert_eq!(answer.contains("A moment more."), seen, "{answer}");
    }
    let cleared = json!({
        "outbound_webhook_url": null, "business_hours": null, "default_character_id": null, "manychat_api_key": null,
    });
    let cleared = ask(&platform, key, ("PATCH", &path), Some(cleared), 200).await;
    assert_eq!(cleared["manychat_connected"], false);
    for field in [
        "outbound_webhook_url",
        "business_hours",
        "default_character_id",
        "manychat_connected_at",
    ] {
        assert!(cleared[field].is_null(), "{field}: {cleared}");
    }
    assert_eq!(cleared["language"], "en");

    let other = platform.another_business("Another").await;
    let theirs: Uuid = sqlx::query_scalar("SELECT id FROM characters WHERE business_id = $1")
        .bind(other.business_id.0)
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    let slots = |slots: Value| json!({ "business_hours": { "time_zone": "UTC", "weekly": { "friday": slots } } });
    for (field, change) in [
        ("language", json!({ "language": "de" })),
        ("language", json!({ "language": null })),
        ("acknowledgement", json!({ "acknowledgement": "" })),
        (
            "acknowledgement",
            json!({ "acknowledgement": "x".repeat(1001) }),
        ),
        (
            "default_character_id",
            json!({ "default_character_id": theirs }),
        ),
        (
            "default_character_id",
            json!({ "default_character_id": Uuid::now_v7() }),
        ),
        ("opt_out_words", json!({ "opt_out_words": [] })),
        ("opt_out_words", json!({ "opt_out_words": ["!"] })),
        (
            "outbound_webhook_url",
            json!({ "outbound_webhook_url": "http://example.com" }),
        ),
        (
            "outbound_webhook_url",
            json!({ "outbound_webhook_url": "https://169.254.169.254/" }),
        ),
        (
            "outbound_webhook_url",
            json!({ "outbound_webhook_url": "https://localhost/" }),
        ),
        (
            "business_hours",
            slots(json!([{ "opens": "9:00", "closes": "12:00" }])),
        ),
        (
            "business_hours",
            slots(json!([{ "opens": "12:00", "closes": "09:00" }])),
        ),
        (
            "business_hours",
            json!({ "business_hours": { "time_zone": "Mars", "weekly": {} } }),
        ),
        ("manychat_api_key", json!({ "manychat_api_key": "no-page" })),
        ("manychat_api_key", json!({ "manychat_api_key": "1:a b" })),
        ("manychat_connected", json!({ "manychat_connected": true })),
        ("business_id", json!({ "business_id": other.business_id })),
    ] {
        let response = platform.send(key, "PATCH", &path, Some(&change)).await;
        let error = refused(&change.to_string(), response, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], field, "{change}: {error}");
    }
    let details: Vec<Value> =
        sqlx::query_scalar("SELECT details FROM audit_events WHERE action = 'settings.changed'")
            .fetch_all(&platform.owner)
            .await
            .unwrap();
    assert_eq!(details.len(), 4);
    assert!(
        !format!("{details:?}").contains("another-key"),
        "{details:?}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_webhook_secret_works_for_a_day_beside_its_successor() {
    let platform = Setup {
        ingresses: 2,
        ..crate::setup()
    }
    .start()
    .await;
    let ana = platform.user("Ana").await;
    let business = platform.business.clone();
    join(&platform, &path_of(&business), &ana, "admin").await;
    let path = format!("{}/settings/webhook-secret", path_of(&business));
    let rotate = async || -> Seeded {
        let made = ask(&platform, &ana.access_token, ("POST", &path), None, 201).await;
        let webhook_secret = made["webhook_secret"].as_str().unwrap().into();
        Seeded {
            webhook_secret,
            ..business.clone()
        }
    };
    let status = async |ingress: usize, business: &Seeded| {
        let body = json!({ "subscriber_id": 1, "text": "Bonjour", "message_id": Uuid::now_v7() });
        platform
            .webhook_to(ingress, business, &body)
            .await
            .status()
            .as_u16()
    };
    assert_eq!(
        (status(0, &business).await, status(1, &business).await),
        (200, 200)
    );

    let second = rotate().await;
    assert_eq!(
        (status(0, &business).await, status(0, &second).await),
        (200, 200)
    );
    let third = rotate().await;
    // At most two at a time; the other ingress hears of it.
    assert_eq!(status(0, &business).await, 401);
    dev::testing::eventually("the other ingress refuses it too", async || {
        (status(1, &business).await == 401).then_some(())
    })
    .await;
    for ingress in [0, 1] {
        assert_eq!(
            (
                status(ingress, &second).await,
                status(ingress, &third).await
            ),
            (200, 200)
        );
    }
    let settings = format!("{}/settings", path_of(&business));
    let settings = ask(&platform, &business.api_key, ("GET", &settings), None, 200).await;
    assert_eq!(settings["webhook_secrets"].as_array().unwrap().len(), 2);
    assert!(!settings.to_string().contains("rlwh_"));

    platform
        .clock
        .shift(TimeDelta::hours(24) + TimeDelta::seconds(1));
    assert_eq!(
        (status(0, &second).await, status(0, &third).await),
        (401, 200)
    );
    let id = business.business_id.0;
    assert_eq!(
        actions(&platform, id).await,
        ["webhook_secret.rotated", "webhook_secret.rotated"]
    );
    platform.stop().await;
}

/// `relais keys rotate` with these master keys.
async fn rotate_keys(platform: &Platform, current: &str, previous: &str) -> Output {
    tokio::process::Command::new(&platform.setup.program)
        .args(["keys", "rotate", "--batch", "1"])
        .env_clear()
        .envs(&platform.vars)
        .env("RELAIS_MASTER_KEY", current)
        .env("RELAIS_PREVIOUS_MASTER_KEYS", previous)
        .output()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_go_on_with_another_master_key_once_the_keys_were_rotated() {
    let platform = Setup {
        workers: false,
        ..crate::setup()
    }
    .start()
    .await;
    let old = platform
        .config
        .secrets
        .master_key
        .expose_secret()
        .to_owned();
    let new = "ee".repeat(32);
    let wrapped = platform.another_business("Wrapped").await;
    // As a version without data keys left it.
    let legacy = platform.business.clone();
    let sealer = Sealer::new(&SecretsConfig {
        master_key: SecretString::from(old.clone()),
        previous_master_keys: Vec::new(),
    })
    .unwrap();
    let legacy_key =
        sealer.seal_without_data_key(&"42:test".into(), &manychat_key_place(legacy.business_id));
    sqlx::query("UPDATE business_settings SET manychat_api_key = $2 WHERE business_id = $1")
        .bind(legacy.business_id.0)
        .bind(legacy_key)
        .execute(&platform.owner)
        .await
        .unwrap();
    sqlx::query("DELETE FROM data_keys WHERE business_id = $1")
        .bind(legacy.business_id.0)
        .execute(&platform.owner)
        .await
        .unwrap();

    // Without the old key nothing opens, and it says so.
    let blind = rotate_keys(&platform, &new, "").await;
    let told = String::from_utf8_lossy(&blind.stderr).into_owned();
    assert!(
        !blind.status.success() && told.contains(&legacy.business_id.to_string()),
        "{told}"
    );
    let rotated = rotate_keys(&platform, &new, &old).await;
    let told = String::from_utf8_lossy(&rotated.stdout).into_owned();
    assert!(rotated.status.success(), "{rotated:?}");
    let counts: Vec<&str> = told
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    assert_eq!(counts, ["1", "1", "0"], "{told}");
    // Nothing is left to do, and the old key is not needed to see that.
    let again = rotate_keys(&platform, &new, "").await;
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(
        again.status.success() && told.matches(" 0").count() == 3,
        "{again:?}"
    );

    let _workers = platform.spawn_with(&["workers"], &[("RELAIS_MASTER_KEY", &new)]);
    for (number, business) in [&legacy, &wrapped].into_iter().enumerate() {
        let message = json!({ "subscriber_id": number + 1, "text": "Bonjour", "message_id": "1" });
        assert_eq!(
            platform.webhook_to(0, business, &message).await.status(),
            200
        );
    }
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| delivered.len() == 2)
            .await
    );
    let audited: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit_events WHERE action = 'data_keys.rotated'")
            .fetch_one(&platform.owner)
            .await
            .unwrap();
    assert_eq!(audited, 3);
    platform.stop().await;
}
