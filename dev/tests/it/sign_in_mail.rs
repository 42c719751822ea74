//! What mails let people do: confirm an address, choose a new password.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use common::domain::MemberRole;
use dev::testing::{Platform, eventually};
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_input::refused;
use crate::sign_in::{PASSWORD, answered, audited, get_as, post, post_as, sign_up};

/// A mail that was written to the data folder.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) to: String,
    text: String,
}

impl Received {
    /// The secret of its link.
    pub(crate) fn token(&self, page: &str) -> &str {
        let (_, rest) = self.text.split_once(&format!("/{page}?token=")).unwrap();
        rest.split_whitespace().next().unwrap()
    }
}

/// Every mail so far, the oldest first.
fn mails(platform: &Platform) -> Vec<Received> {
    let folder = platform.config.objects.data_dir.join("mail");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "eml"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let mail = std::fs::read_to_string(path).unwrap();
            let (headers, body) = mail.split_once("\r\n\r\n").unwrap();
            let to = headers.lines().find_map(|line| line.strip_prefix("To: "));
            Received {
                to: to.unwrap().to_owned(),
                text: quoted_printable(body),
            }
        })
        .collect()
}

fn quoted_printable(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let mut parts = text.split('=');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

/// The mail number `number`, once it is there.
pub(crate) async fn mail(platform: &Platform, number: usize) -> Received {
    eventually("the mail is written", async || {
        mails(platform).into_iter().nth(number)
    })
    .await
}

/// The pages do by the API what a press of their button asks for; here, that they are there, and run nobody else's script.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_links_of_mails_open_pages() {
    let platform = crate::setup().start().await;
    let kinds = ["text/html", "text/javascript", "text/css"];
    for (path, kind) in [
        ("/verify-email?token=x", kinds[0]),
        ("/reset-password?token=x", kinds[0]),
        ("/invitation?token=x", kinds[0]),
        ("/links.js", kinds[1]),
        ("/links.css", kinds[2]),
    ] {
        let response = platform.http.get(platform.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert!(
            header("content-security-policy").contains("script-src 'self'"),
            "{path}"
        );
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
    }
    platform.stop().await;
}

async fn log_in(platform: &Platform, email: &str, password: &str) -> u16 {
    let body = json!({ "email": email, "password": password });
    post(platform, "/auth/login", body).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_confirmed_by_the_mail_that_signing_up_sends() {
    let platform = crate::setup().start().await;
    let tokens = sign_up(&platform, "ana@example.org").await;
    let access = &tokens["access_token"];
    let first = mail(&platform, 0).await;
    assert_eq!(first.to, "ana@example.org");
    assert!(first.text.starts_with("Bonjour"), "{first:?}");
    let again = async || post_as(&platform, access, "/auth/email/verify/send", json!({})).await;
    let response = again().await;
    assert!(response.headers().contains_key(RETRY_AFTER));
    refused("at once", response, 429, "TOO_MANY_REQUESTS").await;
    platform.clock.shift(TimeDelta::seconds(61));
    assert_eq!(again().await.status(), 202);
    let second = mail(&platform, 1).await;

    let verify =
        async |token: &str| post(&platform, "/auth/email/verify", json!({ "token": token })).await;
    let token = first.token("verify-email");
    let (id, tag) = token.split_once('_').unwrap();
    for wrong in [
        "",
        "_",
        id,
        &format!("{}_{tag}", Uuid::now_v7().simple()),
        &format!("{token}0"),
        &"x".repeat(10_000),
    ] {
        refused(wrong, verify(wrong).await, 400, "VALIDATION_ERROR").await;
    }
    let reset = json!({ "token": token, "password": "another password" });
    refused(
        "for another use",
        post(&platform, "/auth/password/reset", reset).await,
        400,
        "VALIDATION_ERROR",
    )
    .await;

    assert_eq!(verify(token).await.status(), 204);
    refused("twice", verify(token).await, 400, "VALIDATION_ERROR").await;
    let me = answered(get_as(&platform, access, "/auth/me").await, 200).await;
    assert_eq!(me["email_verified"], true);
    refused("once more", again().await, 409, "CONFLICT").await;

    platform.clock.shift(TimeDelta::hours(24));
    refused(
        "late",
        verify(second.token("verify-email")).await,
        400,
        "VALIDATION_ERROR",
    )
    .await;
    assert_eq!(
        audited(&platform).await,
        ["user.created", "session.created", "email.verified"]
    );
    let jobs: Vec<Value> = sqlx::query_scalar("SELECT args FROM jobs WHERE kind = 'send_mail'")
        .fetch_all(&platform.owner)
        .await
        .unwrap();
    assert!(
        !format!("{jobs:?}").contains(tag),
        "no secret waits in a queue"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_password_is_replaced_by_mail_and_every_session_ends() {
    let platform = crate::setup().start().await;
    let email = "ana@example.org";
    let tokens = sign_up(&platform, email).await;
    mail(&platform, 0).await;
    let forgot = async |email: &str| {
        let started = Instant::now();
        let response = post(
            &platform,
            "/auth/password/forgot",
            json!({ "email": email }),
        )
        .await;
        assert_eq!(answered(response, 202).await, Value::Null);
        started.elapsed()
    };
    // As late for nobody as for somebody, and for who asks again.
    for email in ["nobody@example.org", email, email] {
        assert!(forgot(email).await >= Duration::from_millis(250));
    }
    let first = mail(&platform, 1).await;
    platform.clock.shift(TimeDelta::seconds(61));
    forgot(email).await;
    let second = mail(&platform, 2).await;
    assert_eq!(mails(&platform).len(), 3);

    let reset = async |token: &str, password: &str| {
        let body = json!({ "token": token, "password": password });
        post(&platform, "/auth/password/reset", body).await
    };
    let token = second.token("reset-password");
    for wrong in ["short", &"x".repeat(73)] {
        let error = refused(wrong, reset(token, wrong).await, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], "password");
    }
    assert_eq!(reset(token, "another password").await.status(), 204);
    refused(
        "twice",
        reset(token, "a third password").await,
        400,
        "VALIDATION_ERROR",
    )
    .await;
    let earlier = reset(first.token("reset-password"), "a third password").await;
    refused("the one before", earlier, 400, "VALIDATION_ERROR").await;

    let me = get_as(&platform, &tokens["access_token"], "/auth/me").await;
    refused("an old session", me, 401, "UNAUTHORIZED").await;
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    refused(
        "an old session",
        post(&platform, "/auth/refresh", refresh).await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    assert_eq!(log_in(&platform, email, PASSWORD).await, 401);
    assert_eq!(log_in(&platform, email, "another password").await, 200);

    platform.clock.shift(TimeDelta::minutes(2));
    forgot(email).await;
    let late = mail(&platform, 3).await;
    platform.clock.shift(TimeDelta::minutes(30));
    refused(
        "late",
        reset(late.token("reset-password"), PASSWORD).await,
        400,
        "VALIDATION_ERROR",
    )
    .await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_ends_the_other_sessions() {
    let platform = crate::setup().start().await;
    let email = "ana@example.org";
    let here = sign_up(&platform, email).await;
    let there = json!({ "email": email, "password": PASSWORD });
    let there = answered(post(&platform, "/auth/login", there).await, 200).await;
    let change = async |current: &str, new: &str| {
        let body = json!({ "current_password": current, "password": new });
        post_as(
            &platform,
            &here["access_token"],
            "/auth/password/change",
            body,
        )
        .await
    };
    for (current, new, field) in [
        ("wrong password", "another password", "current_password"),
        (&"x".repeat(73), "another password", "current_password"),
        (PASSWORD, "short", "password"),
        (PASSWORD, &"x".repeat(73), "password"),
    ] {
        let error = refused(field, change(current, new).await, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], field);
    }
    assert_eq!(change(PASSWORD, "another password").await.status(), 204);
    let me = async |tokens: &Value| {
        get_as(&platform, &tokens["access_token"], "/auth/me")
            .await
            .status()
    };
    assert_eq!(me(&here).await, 200);
    assert_eq!(me(&there).await, 401);
    assert_eq!(log_in(&platform, email, "another password").await, 200);
    assert_eq!(log_in(&platform, email, PASSWORD).await, 401);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_invited_gets_a_mail_in_the_business_s_language_and_comes_in_by_its_link() {
    let platform = crate::setup().start().await;
    let ana = platform.member("Ana", MemberRole::Owner).await;
    let bob = platform.user("Bob").await;
    let business = format!("/api/v1/businesses/{}", platform.business.business_id);
    let invite = json!({ "email": bob.email, "role": "admin" });
    let path = format!("{business}/members");
    let invited = platform
        .send(&ana.access_token, "POST", &path, Some(&invite))
        .await;
    let invited = answered(invited, 201).await;

    let letter = mail(&platform, 0).await;
    assert_eq!(letter.to, bob.email);
    let said = "Ana vous invite à rejoindre « Café du Relais »";
    assert!(letter.text.contains(said), "{letter:?}");
    // Whoever invites does not learn the token: else they could accept in another's name.
    let token = letter.token("invitation");
    assert!(!invited.to_string().contains(token), "{invited}");

    let accept = json!({ "token": token });
    let path = "/api/v1/invitations/accept";
    let accepted = platform
        .send(&bob.access_token, "POST", path, Some(&accept))
        .await;
    assert_eq!(answered(accepted, 200).await["role"], "admin");
    let settings = format!("{business}/settings");
    let seen = platform
        .send(&bob.access_token, "GET", &settings, None)
        .await;
    assert_eq!(seen.status(), 200);
    platform.stop().await;
}
