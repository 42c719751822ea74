//! What happens in a chat: repeats, bursts, order, refusals of the channel, opting out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use dev::simulators::manychat::Fault;
use dev::testing::{PATIENCE, Platform, Setup, eventually};
use futures::future::join_all;
use serde_json::{Value, json};

fn inbound(subscriber_id: u64, text: &str, message_id: &str) -> Value {
    json!({ "subscriber_id": subscriber_id, "text": text, "message_id": message_id })
}

/// The messages of the only chat, oldest first.
async fn transcript(platform: &Platform) -> Vec<Value> {
    let mut messages = platform.get_json("/api/v1/messages?limit=100").await["data"]
        .as_array()
        .unwrap()
        .clone();
    messages.reverse();
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_message_fifty_times_at_once_on_two_ingresses_is_answered_once() {
    let platform = Setup {
        ingresses: 2,
        ..crate::setup()
    }
    .start()
    .await;
    let body = inbound(7, "Bonjour", "wamid.same");

    let answers =
        join_all((0..50).map(|n| platform.webhook_to(n % 2, &platform.business, &body))).await;

    let mut ids = HashSet::new();
    for answer in answers {
        assert_eq!(answer.status(), 200);
        ids.insert(
            answer.headers()["x-message-id"]
                .to_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(ids.len(), 1, "all are told the same message: {ids:?}");
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await
    );
    platform.say(7, "merci").await;
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| delivered.len() >= 2)
            .await
    );
    assert_eq!(platform.manychat.delivered().len(), 2, "one answer each");
    assert_eq!(transcript(&platform).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_without_an_id_is_known_by_its_text_for_sixty_seconds() {
    let platform = crate::setup().start().await;
    let body = json!({ "subscriber_id": 8, "text": "oui", "last_interaction": "2026-11-21T10:00:00+00:00" });

    let first = platform.webhook(&body).await.headers()["x-message-id"].clone();
    let again = platform.webhook(&body).await.headers()["x-message-id"].clone();
    platform.clock.shift(chrono::TimeDelta::seconds(61));
    let later = platform.webhook(&body).await.headers()["x-message-id"].clone();

    assert_eq!(first, again);
    assert_ne!(first, later, "after a minute it is a new message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_sent_in_a_burst_are_answered_together() {
    let platform = Setup {
        burst_quiet: Duration::from_millis(700),
        ..crate::setup()
    }
    .start()
    .await;

    for text in ["Bonjour", "vous êtes là ?", "j'ai une question"] {
        platform.say(9, text).await;
    }

    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await
    );
    let messages = transcript(&platform).await;
    let directions: Vec<&str> = messages
        .iter()
        .map(|m| m["direction"].as_str().unwrap())
        .collect();
    assert_eq!(directions, ["inbound", "inbound", "inbound", "outbound"]);
    assert!(
        messages[..3]
            .iter()
            .all(|message| message["status"] == "answered")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_messages_of_thirty_contacts_are_all_answered_in_order_none_twice() {
    let platform = crate::setup().start().await;

    join_all((1..=30).map(|contact| {
        let platform = &platform;
        async move {
            for n in 0..10 {
                platform.say(contact, &format!("Bonjour {n}")).await;
            }
        }
    }))
    .await;

    settled(&platform, 300).await;
    assert_in_order(&platform, 30, 10).await;
}

/// Waits until `count` inbound messages are answered and every answer is delivered.
pub(crate) async fn settled(platform: &Platform, count: i64) {
    let settled =
        "SELECT count(*) FILTER (WHERE direction = 'inbound' AND status = 'answered') = $1
        AND count(*) FILTER (WHERE direction = 'outbound' AND status <> 'sent') = 0 FROM messages";
    eventually("every message is answered and delivered", async || {
        let done = sqlx::query_scalar::<_, bool>(settled)
            .bind(count)
            .fetch_one(&platform.owner)
            .await;
        done.ok().filter(|done| *done).map(|_| ())
    })
    .await;
}

/// Every contact's messages stand in the order they were sent, and every answer was delivered once, in order.
pub(crate) async fn assert_in_order(platform: &Platform, contacts: u64, each: usize) {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT contacts.external_id, messages.direction, messages.content FROM messages
         JOIN contacts ON contacts.id = messages.contact_id ORDER BY contacts.external_id, messages.seq",
    )
    .fetch_all(&platform.owner)
    .await
    .unwrap();
    let mut inbound: HashMap<String, Vec<String>> = HashMap::new();
    let mut outbound: HashMap<String, Vec<String>> = HashMap::new();
    for (contact, direction, content) in rows {
        let side = if direction == "inbound" {
            &mut inbound
        } else {
            &mut outbound
        };
        side.entry(contact).or_default().push(content);
    }
    let expected: Vec<String> = (0..each).map(|n| format!("Bonjour {n}")).collect();
    for contact in 1..=contacts {
        let contact = contact.to_string();
        assert_eq!(inbound[&contact], expected, "contact {contact}");
        assert_eq!(
            platform.manychat.texts_to(&contact),
            outbound[&contact],
            "contact {contact}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_channel_refuses_for_now_is_sent_later_and_in_order() {
    let platform = crate::setup().start().await;
    platform.manychat.fail_next([
        Fault::Answer(
            500,
            json!({ "status": "error", "message": "Internal error" }),
        ),
        Fault::RateLimited(Some(1)),
    ]);

    platform.say(10, "Bonjour").await;
    platform.say(10, "merci").await;

    settled(&platform, 2).await;
    let outbound: Vec<String> = transcript(&platform)
        .await
        .iter()
        .filter(|message| message["direction"] == "outbound")
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(platform.manychat.texts_to("10"), outbound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_channel_refuses_for_good_fails_with_its_words_though_its_status_is_200() {
    let platform = crate::setup().start().await;
    let words = "This message is sent outside of the 24-hour window";
    platform.manychat.fail_next([Fault::Answer(
        200,
        json!({ "status": "error", "message": words, "code": 3011 }),
    )]);

    platform.say(11, "Bonjour").await;
    let failed = eventually("the answer has failed", async || {
        transcript(&platform)
            .await
            .into_iter()
            .find(|message| message["status"] == "failed")
    })
    .await;

    assert!(
        failed["status_reason"].as_str().unwrap().contains(words),
        "{failed}"
    );
    platform.say(11, "merci").await;
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await,
        "the next one goes"
    );
    let dead: (String, String) = sqlx::query_as("SELECT state::text, last_error FROM jobs WHERE kind = 'deliver_message' AND state = 'dead'")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert!(dead.1.contains("3011"), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_answer_is_split_and_its_parts_arrive_in_order() {
    let platform = crate::setup().start().await;
    let sentence =
        "Le relais de la montagne ouvre ses portes aux marcheurs fatigués chaque soir de printemps";
    let rooms: Vec<String> = (1..=60)
        .map(|n| format!("{sentence}, chambre numéro {n}."))
        .collect();
    let text = rooms.join(" ");
    platform.ingest("chambres.txt", text.into_bytes()).await;

    platform
        .say(
            12,
            "Quelles portes le relais de la montagne ouvre-t-il aux marcheurs fatigués ?",
        )
        .await;
    settled(&platform, 1).await;

    let parts = platform.manychat.texts_to("12");
    assert!(parts.iter().all(|part| part.chars().count() <= 1_000));
    let answer = transcript(&platform).await[1]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(squeeze(&parts.concat()), squeeze(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_stop_gets_no_more_messages_until_they_say_start() {
    let platform = crate::setup().start().await;

    for (text, reason) in [
        ("STOP", "opted_out"),
        ("Bonjour", "opted_out"),
        ("start", "opted_in"),
    ] {
        platform.say(13, text).await;
        eventually("the message is taken", async || {
            let last = transcript(&platform).await.pop()?;
            (last["content"] == text
                && last["status"] == "ignored"
                && last["status_reason"] == reason)
                .then_some(())
        })
        .await;
    }
    assert!(platform.manychat.delivered().is_empty());

    platform.say(13, "Bonjour").await;
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| delivered.len() == 1)
            .await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_whose_outcome_is_unknown_is_repeated_or_not_as_the_business_chose() {
    let platform = Setup {
        vars: vec![("MANYCHAT_TIMEOUT_SECONDS".into(), "1".into())],
        ..crate::setup()
    }
    .start()
    .await;
    platform.manychat.fail_next([Fault::Silent]);
    platform.say(14, "Bonjour").await;
    settled(&platform, 1).await;
    assert_eq!(platform.manychat.texts_to("14").len(), 2, "at least once");

    sqlx::query("UPDATE business_settings SET delivery_policy = 'at_most_once'")
        .execute(&platform.owner)
        .await
        .unwrap();
    platform.manychat.fail_next([Fault::Silent]);
    platform.say(15, "Bonjour").await;
    eventually("the outcome is said to be unknown", async || {
        let messages = transcript(&platform).await;
        messages
            .iter()
            .any(|message| message["status"] == "unknown")
            .then_some(())
    })
    .await;
    assert_eq!(platform.manychat.texts_to("15").len(), 1, "at most once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_within_a_burst_is_heard() {
    let platform = Setup {
        burst_quiet: Duration::from_millis(500),
        ..crate::setup()
    }
    .start()
    .await;

    platform.say(16, "stop").await;
    platform.say(16, "merci").await;
    eventually("both are taken", async || {
        let messages = transcript(&platform).await;
        let ignored = messages
            .iter()
            .filter(|message| message["status"] == "ignored");
        (ignored.count() == 2).then_some(())
    })
    .await;

    assert!(platform.manychat.delivered().is_empty());
}
