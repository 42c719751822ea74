//! Sign-in on Google's page, which the simulator plays.

use std::collections::HashMap;

use chrono::TimeDelta;
use dev::simulators::openid::{CLIENT, OpenIdSimulator};
use dev::testing::Platform;
use reqwest::{Client, Response, Url, header};
use serde_json::{Value, json};

use super::{get, platform_with};
use crate::bad_input::refused;

const BEGIN: &str = "/api/v1/auth/google";

/// A platform where people sign in with the simulator as Google.
async fn platform() -> (Platform, OpenIdSimulator) {
    platform_with(&[
        ("GOOGLE_CLIENT_ID", CLIENT.0),
        ("GOOGLE_CLIENT_SECRET", CLIENT.1),
        ("GOOGLE_ISSUER", "{issuer}"),
        ("RELAIS_PUBLIC_URL", "https://relais.example"),
    ])
    .await
}

/// A browser that tells where it is sent instead of going there, and keeps no cookies of its own.
struct Browser<'a> {
    http: Client,
    platform: &'a Platform,
}

impl<'a> Browser<'a> {
    fn new(platform: &'a Platform) -> Self {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none());
        Self {
            http: http.build().unwrap(),
            platform,
        }
    }

    /// Goes to sign in; Google's page, and the cookie to keep.
    async fn begin(&self, path: &str) -> (Url, String) {
        let response = self.http.get(self.platform.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 302, "{path}");
        let cookie = set_cookie(&response);
        assert!(
            cookie.ends_with(
                "; Path=/api/v1/auth/google; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
            ),
            "{cookie}"
        );
        (
            location(&response),
            cookie.split(';').next().unwrap().to_owned(),
        )
    }

    /// Signs in on Google's page; what it is sent back with.
    async fn sign_in(&self, page: &Url) -> HashMap<String, String> {
        let response = self.http.get(page.clone()).send().await.unwrap();
        let back = location(&response);
        assert!(
            back.as_str()
                .starts_with("https://relais.example/api/v1/auth/google/callback?"),
            "{back}"
        );
        back.query_pairs().into_owned().collect()
    }

    /// Comes back.
    async fn end(&self, cookie: &str, with: &HashMap<String, String>) -> Response {
        let mut url = Url::parse(&self.platform.url("/api/v1/auth/google/callback")).unwrap();
        url.query_pairs_mut().extend_pairs(with);
        let request = self.http.get(url).header(header::COOKIE, cookie);
        let response = request.send().await.unwrap();
        let ended = set_cookie(&response);
        assert!(
            ended.starts_with("relais_sign_in=; ") && ended.contains("Max-Age=0"),
            "{ended}"
        );
        response
    }
}

fn set_cookie(response: &Response) -> String {
    response.headers()[header::SET_COOKIE]
        .to_str()
        .unwrap()
        .to_owned()
}

fn location(response: &Response) -> Url {
    response.headers()[header::LOCATION]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// The same with one parameter changed; `None` takes it away.
fn with(
    callback: &HashMap<String, String>,
    name: &str,
    value: Option<&str>,
) -> HashMap<String, String> {
    let mut callback = callback.clone();
    match value {
        Some(value) => callback.insert(name.to_owned(), value.to_owned()),
        None => callback.remove(name),
    };
    callback
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_signs_in_on_google_s_page_and_comes_back_as_a_user() {
    let (platform, google) = platform().await;
    let browser = Browser::new(&platform);
    google.set_person(
        json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true, "name": "Ada" }),
    );

    let (page, cookie) = browser
        .begin(&format!("{BEGIN}?return_to=/dashboard%23today"))
        .await;
    let asked: HashMap<String, String> = page.query_pairs().into_owned().collect();
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["scope"], "openid email profile");
    for (one, other) in [
        ("state", "nonce"),
        ("state", "code_challenge"),
        ("nonce", "code_challenge"),
    ] {
        assert!(
            asked[one].len() >= 43 && asked[one] != asked[other],
            "{asked:?}"
        );
        assert!(!cookie.contains(&asked[one]), "the cookie is sealed");
    }
    let callback = browser.sign_in(&page).await;
    let response = browser.end(&cookie, &callback).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        (
            &body["user"]["email"],
            &body["user"]["name"],
            &body["return_to"]
        ),
        (
            &json!("ada@gmail.com"),
            &json!("Ada"),
            &json!("/dashboard#today")
        )
    );
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(
        get(&platform, token, "/api/v1/documents").await.status(),
        200
    );
    assert!(body["refresh_token"].is_string());
    let verified: bool = sqlx::query_scalar("SELECT email_verified_at IS NOT NULL FROM users")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert!(verified);

    // Google knows who reads its own addresses, and those of a Workspace; of others it knew once.
    for (claims, is_verified) in [
        (
            json!({ "sub": "8", "email": "x@example.org", "email_verified": true }),
            false,
        ),
        (
            json!({ "sub": "9", "email": "y@example.org", "email_verified": true, "hd": "example.org" }),
            true,
        ),
        (
            json!({ "sub": "10", "email": "z@gmail.com", "email_verified": false }),
            false,
        ),
    ] {
        google.set_person(claims.clone());
        let (page, cookie) = browser.begin(BEGIN).await;
        let callback = browser.sign_in(&page).await;
        assert_eq!(
            browser.end(&cookie, &callback).await.status(),
            200,
            "{claims}"
        );
        let verified: bool = sqlx::query_scalar(
            "SELECT email_verified_at IS NOT NULL FROM users JOIN user_identities ON user_id = id WHERE subject = $1",
        )
        .bind(claims["sub"].as_str())
        .fetch_one(&platform.owner)
        .await
        .unwrap();
        assert_eq!(verified, is_verified, "{claims}");
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_did_not_begin_a_sign_in_cannot_end_it() {
    let (platform, google) = platform().await;
    let browser = Browser::new(&platform);
    let (page, cookie) = browser.begin(BEGIN).await;
    let (other_page, other_cookie) = browser.begin(BEGIN).await;
    let callback = browser.sign_in(&page).await;
    let other_callback = browser.sign_in(&other_page).await;
    let state = callback["state"].as_str();

    let tampered = format!("{cookie}A");
    for (case, cookie, callback, field) in [
        ("no cookie", "", callback.clone(), "state"),
        (
            "somebody else's cookie",
            &other_cookie,
            callback.clone(),
            "state",
        ),
        (
            "a cookie that was changed",
            &tampered,
            callback.clone(),
            "state",
        ),
        (
            "a cookie of nonsense",
            "relais_sign_in=nonsense",
            callback.clone(),
            "state",
        ),
        ("no state", &cookie, with(&callback, "state", None), "state"),
        (
            "an empty state",
            &cookie,
            with(&callback, "state", Some("")),
            "state",
        ),
        (
            "another state",
            &cookie,
            with(&callback, "state", Some(&other_callback["state"])),
            "state",
        ),
        (
            "a longer state",
            &cookie,
            with(&callback, "state", Some(&format!("{state}0"))),
            "state",
        ),
        (
            "another issuer",
            &cookie,
            with(&callback, "iss", Some("https://evil.example")),
            "iss",
        ),
        ("no code", &cookie, with(&callback, "code", None), "code"),
    ] {
        let error = refused(
            case,
            browser.end(cookie, &callback).await,
            400,
            "VALIDATION_ERROR",
        )
        .await;
        assert_eq!(error["details"]["field"], field, "{case}");
    }
    // Another attempt's code: its challenge does not fit this one's verifier.
    let mixed = with(&callback, "code", Some(&other_callback["code"]));
    refused(
        "another's code",
        browser.end(&cookie, &mixed).await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    let made_up = with(&callback, "code", Some("made up"));
    refused(
        "a code nobody gave",
        browser.end(&cookie, &made_up).await,
        401,
        "UNAUTHORIZED",
    )
    .await;
    let denied = with(
        &with(&callback, "code", None),
        "error",
        Some("access_denied"),
    );
    refused(
        "given up",
        browser.end(&cookie, &denied).await,
        401,
        "UNAUTHORIZED",
    )
    .await;

    google.set_person(json!({ "sub": "1" }));
    assert_eq!(browser.end(&cookie, &callback).await.status(), 200);
    refused(
        "the code again",
        browser.end(&cookie, &callback).await,
        401,
        "UNAUTHORIZED",
    )
    .await;

    let (page, cookie) = browser.begin(BEGIN).await;
    let callback = browser.sign_in(&page).await;
    google.set_nonce("of another sign-in");
    refused(
        "a wrong nonce",
        browser.end(&cookie, &callback).await,
        401,
        "UNAUTHORIZED",
    )
    .await;

    let (page, cookie) = browser.begin(BEGIN).await;
    let callback = browser.sign_in(&page).await;
    google.set_away(true);
    refused(
        "Google is away",
        browser.end(&cookie, &callback).await,
        503,
        "UNAVAILABLE",
    )
    .await;
    platform.clock.shift(TimeDelta::minutes(11));
    refused(
        "too late",
        browser.end(&cookie, &callback).await,
        400,
        "VALIDATION_ERROR",
    )
    .await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_sent_to_another_origin_nor_to_a_page_that_is_not_there() {
    let (platform, _google) = platform().await;
    for elsewhere in [
        "//evil.example",
        "https://evil.example",
        "/%5Cevil.example",
        "dashboard",
        "/a%0D%0AX:%20y",
    ] {
        let path = format!("{BEGIN}?return_to={elsewhere}");
        let response = platform.http.get(platform.url(&path)).send().await.unwrap();
        let error = refused(elsewhere, response, 400, "VALIDATION_ERROR").await;
        assert_eq!(error["details"]["field"], "return_to", "{elsewhere}");
    }
    platform.stop().await;

    let (platform, _) = platform_with(&[]).await;
    for path in [BEGIN, "/api/v1/auth/google/callback?code=a&state=b"] {
        let response = platform.http.get(platform.url(path)).send().await.unwrap();
        refused(path, response, 404, "NOT_FOUND").await;
    }
    platform.stop().await;
}
