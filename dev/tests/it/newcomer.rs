//! The newcomer's path: a PDF in, a WhatsApp message in, an answer from that PDF out.

use serde_json::{Value, json};

use dev::testing::PATIENCE;

/// Two languages, typeset; its text is known.
const HANDBOOK: &[u8] = include_bytes!("../../../workers/tests/fixtures/handbook.pdf");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whatsapp_message_is_answered_from_an_uploaded_pdf() {
    let platform = crate::setup().start().await;

    let uploaded = platform
        .upload_as(&platform.business, "handbook.pdf", HANDBOOK.to_vec())
        .await;
    assert_eq!(uploaded.status(), 202);
    let uploaded: Value = uploaded.json().await.unwrap();
    assert_eq!(uploaded["status"], "pending");
    let path = format!("/api/v1/documents/{}", uploaded["id"].as_str().unwrap());
    let document = dev::testing::eventually("the document is processed", async || {
        let document = platform.get_json(&path).await;
        (document["status"] == "processed").then_some(document)
    })
    .await;
    assert!(document["pages"].as_i64().unwrap() >= 2, "{document}");
    assert!(document["chunks"].as_i64().unwrap() >= 1, "{document}");

    let question = "Combien coûte la livraison à vélo ?";
    let body =
        json!({ "subscriber_id": "9007199254740993", "text": question, "message_id": "wamid.1" });
    let acknowledged = platform.webhook(&body).await;
    assert_eq!(acknowledged.status(), 200);
    assert!(acknowledged.headers().contains_key("x-message-id"));
    let acknowledged: Value = acknowledged.json().await.unwrap();
    assert_eq!(acknowledged["version"], "v2");
    assert_eq!(acknowledged["content"]["type"], "whatsapp");
    assert_eq!(
        acknowledged["content"]["messages"][0]["text"],
        "OK, bien reçu"
    );

    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await
    );
    let delivered = platform.manychat.delivered();
    assert_eq!(delivered[0].subscriber_id, "9007199254740993");
    assert!(
        delivered[0]
            .text
            .contains("La livraison à vélo coûte trois euros"),
        "{}",
        delivered[0].text
    );
    assert!(
        delivered[0].text.contains("handbook.pdf, p. 1"),
        "{}",
        delivered[0].text
    );

    let answer: Value = platform
        .post("/api/v1/query", &json!({ "question": question }))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(answer["sources"][0]["filename"], "handbook.pdf");
    assert_eq!(answer["sources"][0]["page"], 1);
    assert!(
        delivered[0]
            .text
            .contains(answer["answer"].as_str().unwrap()),
        "{answer}"
    );

    let messages = platform.get_json("/api/v1/messages").await;
    let roles: Vec<&str> = messages["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["assistant", "user"], "newest first");
    let chats = platform.get_json("/api/v1/chats").await;
    assert_eq!(chats["data"][0]["channel"], "manychat");
    let job = platform
        .get_json(&format!(
            "/api/v1/jobs/{}",
            uploaded["job_id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(job["status"], "succeeded");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_business_an_operator_creates_is_answered_for() {
    let platform = crate::setup().start().await;

    let created = std::process::Command::new(env!("CARGO_BIN_EXE_relais"))
        .args([
            "business",
            "create",
            "--name",
            "Boulangerie",
            "--language",
            "fr",
        ])
        .args(["--manychat-key-env", "THE_KEY"])
        .env_clear()
        .envs(&platform.vars)
        .env("THE_KEY", "42:test")
        .output()
        .unwrap();
    let told = String::from_utf8(created.stdout).unwrap();
    let secret = told
        .lines()
        .find_map(|line| line.strip_prefix("webhook secret"))
        .unwrap_or_else(|| panic!("{told} {}", String::from_utf8_lossy(&created.stderr)))
        .trim();

    let acknowledged = platform
        .http
        .post(platform.url("/api/v1/webhook/manychat"))
        .header("X-Webhook-Secret", secret)
        .json(&json!({ "subscriber_id": 77, "text": "Bonjour" }))
        .send()
        .await
        .unwrap();
    assert_eq!(acknowledged.status(), 200);
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await
    );
}
