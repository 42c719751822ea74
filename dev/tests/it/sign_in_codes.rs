//! Signing in by phone: who gets a code, how often, and how little a guess is worth.

use std::collections::HashMap;
use std::net::SocketAddr;

use chrono::TimeDelta;
use common::queue::NewJob;
use common::queue::jobs::PurgeSignIns;
use dev::simulators::twilio::{ACCOUNT, TOKEN, TwilioSimulator};
use dev::testing::{Platform, Setup, eventually};
use futures::StreamExt;
use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};

use crate::bad_input::refused;
use crate::insert;
use crate::sign_in::{answered, audited, post, post_as, sign_up};

const PHONE: &str = "+33612345678";

fn with(vars: &[(&str, &str)]) -> Setup {
    let vars = vars.iter();
    Setup {
        vars: vars
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..crate::setup()
    }
}

async fn ask(platform: &Platform, phone: &str) -> Response {
    post(platform, "/auth/otp/send", json!({ "phone": phone })).await
}

async fn ask_successfully(platform: &Platform, phone: &str) -> String {
    assert_eq!(answered(ask(platform, phone).await, 202).await, Value::Null);
    let path = platform
        .config
        .objects
        .data_dir
        .join(format!("codes/{phone}.txt"));
    std::fs::read_to_string(path).unwrap()
}

async fn verify(platform: &Platform, phone: &str, code: &str) -> Response {
    let body = json!({ "phone": phone, "code": code });
    post(platform, "/auth/otp/verify", body).await
}

/// Asserts a 429, and that it says when to come back: then, and not before, it is not one.
async fn too_many(case: &str, response: Response, seconds: std::ops::RangeInclusive<i64>) -> i64 {
    let wait = response.headers().get(RETRY_AFTER).cloned();
    refused(case, response, 429, "TOO_MANY_REQUESTS").await;
    let wait: i64 = wait.unwrap().to_str().unwrap().parse().unwrap();
    assert!(seconds.contains(&wait), "{case}: {wait}");
    wait
}

/// A code that is not this one.
fn another(code: &str) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1) % 1_000_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_signs_in_once_and_makes_a_user_of_who_is_new() {
    let platform = crate::setup().start().await;
    let code = ask_successfully(&platform, PHONE).await;
    refused(
        "a wrong code",
        verify(&platform, PHONE, &another(&code)).await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    refused(
        "another phone",
        verify(&platform, "+33612345679", &code).await,
        401,
        "UNAUTHORIZED",
    )
    .await;

    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let body = json!({ "phone": "06 12 34 56 78", "country": "FR", "code": spaced, "name": "Ana", "language": "en" });
    let tokens = answered(post(&platform, "/auth/otp/verify", body).await, 200).await;
    let user = &tokens["user"];
    assert_eq!(
        (
            &user["phone"],
            &user["name"],
            &user["language"],
            &user["email"]
        ),
        (&json!(PHONE), &json!("Ana"), &json!("en"), &Value::Null)
    );
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    assert_eq!(
        post(&platform, "/auth/refresh", refresh).await.status(),
        200
    );
    refused(
        "twice",
        verify(&platform, PHONE, &code).await,
        401,
        "UNAUTHORIZED",
    )
    .await;

    // Who comes back is the same.
    platform.clock.shift(TimeDelta::seconds(61));
    let code = ask_successfully(&platform, PHONE).await;
    let again = answered(verify(&platform, PHONE, &code).await, 200).await;
    assert_eq!(again["user"]["id"], user["id"]);
    assert_eq!(again["user"]["name"], "Ana");

    // No password, so none to change; and no address to confirm.
    let body = json!({ "current_password": "anything", "password": "correct horse" });
    let response = post_as(
        &platform,
        &again["access_token"],
        "/auth/password/change",
        body,
    )
    .await;
    refused("no password", response, 400, "VALIDATION_ERROR").await;
    let response = post_as(
        &platform,
        &again["access_token"],
        "/auth/email/verify/send",
        json!({}),
    )
    .await;
    refused("no address", response, 409, "CONFLICT").await;

    // Codes of the past: expired, and replaced.
    platform.clock.shift(TimeDelta::seconds(61));
    let first = ask_successfully(&platform, PHONE).await;
    platform.clock.shift(TimeDelta::seconds(61));
    let second = ask_successfully(&platform, PHONE).await;
    if first != second {
        refused(
            "replaced",
            verify(&platform, PHONE, &first).await,
            401,
            "UNAUTHORIZED",
        )
        .await;
    }
    platform.clock.shift(TimeDelta::minutes(5));
    refused(
        "expired",
        verify(&platform, PHONE, &second).await,
        401,
        "UNAUTHORIZED",
    )
    .await;

    sqlx::query("UPDATE users SET deactivated_at = now()")
        .execute(&platform.owner)
        .await
        .unwrap();
    let code = ask_successfully(&platform, PHONE).await;
    refused(
        "deactivated",
        verify(&platform, PHONE, &code).await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT row_to_json(phone_codes)::text FROM phone_codes")
            .fetch_all(&platform.owner)
            .await
            .unwrap();
    assert!(!kept.concat().contains(&code), "only a hash is kept");
    assert_eq!(
        audited(&platform).await,
        [
            "login.failed",
            "user.created",
            "session.created",
            "session.created",
            "login.failed"
        ][..]
            .iter()
            .map(|action| (*action).to_owned())
            .collect::<Vec<_>>()
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thousands_of_guesses_at_most_five_are_compared() {
    let platform = crate::setup().start().await;
    let code = ask_successfully(&platform, PHONE).await;
    let right: usize = code.parse().unwrap();

    // The right code is the last that anybody tries.
    let guesses = (0..3_000).map(|guess| {
        let guess = format!("{:06}", (right + 1 + guess) % 1_000_000);
        let platform = &platform;
        async move { verify(platform, PHONE, &guess).await.status().as_u16() }
    });
    let statuses: Vec<u16> = futures::stream::iter(guesses)
        .buffer_unordered(200)
        .collect()
        .await;
    let mut answers = HashMap::new();
    for status in statuses {
        *answers.entry(status).or_insert(0) += 1;
    }
    assert_eq!(
        answers.keys().find(|status| !matches!(status, 401 | 503)),
        None,
        "{answers:?}"
    );
    let (tries, failures): (i16, i64) = sqlx::query_as(
        "SELECT tries, (SELECT count(*) FROM audit_events WHERE action = 'login.failed') FROM phone_codes",
    )
    .fetch_one(&platform.owner)
    .await
    .unwrap();
    assert_eq!((tries, failures), (5, 5));
    refused(
        "too late",
        verify(&platform, PHONE, &code).await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_are_sent_to_a_phone_so_often_and_no_more() {
    let platform = crate::setup().start().await;
    let at_once = futures::future::join_all((0..20).map(|_| ask(&platform, PHONE))).await;
    let sent = at_once
        .iter()
        .filter(|answer| answer.status() == 202)
        .count();
    assert_eq!(sent, 1, "one a minute, also of twenty at once");
    assert!(
        at_once
            .iter()
            .all(|answer| [202, 429].contains(&answer.status().as_u16()))
    );

    too_many("a minute", ask(&platform, PHONE).await, 50..=60).await;
    for _ in 0..4 {
        platform.clock.shift(TimeDelta::seconds(61));
        ask_successfully(&platform, PHONE).await;
    }
    platform.clock.shift(TimeDelta::seconds(61));
    let wait = too_many("an hour", ask(&platform, PHONE).await, 3_200..=3_400).await;
    platform.clock.shift(TimeDelta::seconds(wait - 10));
    too_many("still", ask(&platform, PHONE).await, 1..=11).await;
    for _ in 0..5 {
        platform.clock.shift(TimeDelta::minutes(16));
        ask_successfully(&platform, PHONE).await;
    }
    platform.clock.shift(TimeDelta::hours(2));
    let wait = too_many("a day", ask(&platform, PHONE).await, 60_000..=86_400).await;
    platform.clock.shift(TimeDelta::seconds(wait));
    ask_successfully(&platform, PHONE).await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_and_all_together_have_a_limit_too() {
    let platform = with(&[("OTP_COUNTRIES", "FR, be"), ("OTP_DAILY_LIMIT", "12")])
        .start()
        .await;
    let number = |last: u32| format!("+336123456{last:02}");
    for last in 0..10 {
        ask_successfully(&platform, &number(last)).await;
    }
    too_many(
        "an address",
        ask(&platform, &number(10)).await,
        3_500..=3_600,
    )
    .await;
    platform.clock.shift(TimeDelta::hours(1));
    for last in 10..12 {
        ask_successfully(&platform, &number(last)).await;
    }
    too_many("all", ask(&platform, &number(12)).await, 80_000..=86_400).await;

    for (field, body) in [
        ("phone", json!({})),
        ("phone", json!({ "phone": "" })),
        ("phone", json!({ "phone": "0612345678" })),
        ("phone", json!({ "phone": "+14155552671" })),
        ("phone", json!({ "phone": "+33899123456" })),
        ("phone", json!({ "phone": "+33612345678\0" })),
        ("phone", json!({ "phone": "9".repeat(5_000) })),
        ("country", json!({ "phone": "0612345678", "country": "XX" })),
        ("user_id", json!({ "phone": PHONE, "user_id": 1 })),
    ] {
        let case = format!("{body:.80}");
        let response = post(&platform, "/auth/otp/send", body).await;
        let error = refused(&case, response, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], field, "{case}: {error}");
    }
    for wrong in ["", "12345", "1234567", "abcdef", "12345\0"] {
        refused(
            wrong,
            verify(&platform, PHONE, wrong).await,
            400,
            "VALIDATION_ERROR",
        )
        .await;
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_leave_by_twilio_where_it_is_set_up() {
    let twilio = TwilioSimulator::start(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let vars = [
        ("TWILIO_ACCOUNT_SID", ACCOUNT),
        ("TWILIO_AUTH_TOKEN", TOKEN),
        ("TWILIO_FROM", "MG00000000000000000000000000000001"),
        ("TWILIO_BASE_URL", &twilio.base_url()),
    ];
    let platform = with(&vars).start().await;
    assert_eq!(ask(&platform, PHONE).await.status(), 202);
    let sent = twilio.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].to.as_str(), sent[0].from.as_str()),
        (PHONE, vars[2].1)
    );
    let code: String = sent[0]
        .body
        .chars()
        .filter(char::is_ascii_digit)
        .take(6)
        .collect();
    assert_eq!(
        answered(verify(&platform, PHONE, &code).await, 200).await["user"]["phone"],
        PHONE
    );

    // Who cannot be reached is answered as all are; that Twilio is away is told.
    twilio.fail_next([
        (400, 21610),
        (400, 21211),
        (503, 0),
        (429, 20429),
        (401, 20003),
    ]);
    for (last, status) in [(1, 202), (2, 202), (3, 503), (4, 503), (5, 503)] {
        let response = ask(&platform, &format!("+3361234560{last}")).await;
        assert_eq!(response.status(), status, "{last}");
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
    }
    assert_eq!(twilio.sent().len(), 1);
    assert!(!platform.config.objects.data_dir.join("codes").exists());
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_people_reach_by_https_writes_no_codes_to_its_log() {
    let platform = with(&[("RELAIS_PUBLIC_URL", "https://relais.example")])
        .start()
        .await;
    refused(
        "not set up",
        ask(&platform, PHONE).await,
        503,
        "NOT_CONFIGURED",
    )
    .await;
    assert!(!platform.config.objects.data_dir.join("codes").exists());
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_of_signing_in_is_deleted() {
    let platform = crate::setup().start().await;
    ask_successfully(&platform, PHONE).await;
    sign_up(&platform, "ana@example.org").await;
    let count = async || -> Vec<i64> {
        sqlx::query_scalar(
            "SELECT count(*) FROM phone_codes UNION ALL SELECT count(*) FROM email_proofs
             UNION ALL SELECT count(*) FROM sessions UNION ALL SELECT count(*) FROM refresh_tokens
             UNION ALL SELECT count(*) FROM users",
        )
        .fetch_all(&platform.owner)
        .await
        .unwrap()
    };
    let purged = async |left: [i64; 5]| {
        insert(&platform, &[NewJob::new(&PurgeSignIns {})]).await;
        eventually("what is over is gone", async || {
            (count().await == left).then_some(())
        })
        .await;
    };
    assert_eq!(count().await, [1; 5]);
    platform.clock.shift(TimeDelta::days(3));
    purged([0, 0, 1, 1, 1]).await;
    // A session lives for 30 days, and is kept as long again.
    platform.clock.shift(TimeDelta::days(58));
    purged([0, 0, 0, 0, 1]).await;
    platform.stop().await;
}
