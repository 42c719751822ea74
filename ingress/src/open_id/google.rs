//! Sign-in on Google's page: there with a state, back with a code.
//!
//! What the callback must bring is kept by the browser that began, sealed: nothing is stored here, any ingress can finish
//! what another began, and a link somebody else prepared leads nowhere.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use common::Config;
use common::database::identity::users::User;
use common::providers::oidc::{Attempt, CodeFlow};
use common::secret::{self, Purpose};
use poem::http::{HeaderMap, StatusCode, header};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{refused, user_of};
use crate::auth::Origin;
use crate::context::Context;
use crate::error::ApiError;

/// How long somebody may take on Google's page.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// What the browser keeps meanwhile.
const COOKIE: &str = "relais_sign_in";

/// Where it brings it back to, and all below.
const COOKIE_PATH: &str = "/api/v1/auth/google";

/// What it is sealed for.
const PLACE: &str = "cookie/relais_sign_in";

/// The longest path to return to.
const LONGEST_PATH: usize = 512;

/// What the cookie holds.
#[derive(Serialize, Deserialize)]
struct Begun {
    attempt: Attempt,
    return_to: Option<String>,
    expires_at: DateTime<Utc>,
}

/// What Google sends the browser back with.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    /// Becomes tokens; `None`: they did not sign in.
    pub(crate) code: Option<String>,
    /// Which attempt it belongs to.
    pub(crate) state: Option<String>,
    /// Who says so (RFC 9207); `None`: not told.
    pub(crate) iss: Option<String>,
    /// Why there is no code.
    pub(crate) error: Option<String>,
}

/// Who signed in, and where they wanted to go.
pub(crate) struct SignedInWithGoogle {
    /// Who.
    pub(crate) user: User,
    /// A path on this origin; `None`: not said.
    pub(crate) return_to: Option<String>,
}

/// Where Google sends people back to.
pub(crate) fn callback_url(config: &Config) -> String {
    format!("{}{COOKIE_PATH}/callback", config.public_url())
}

/// Where to send somebody who wants to sign in with Google, and the cookie their browser must keep.
///
/// # Errors
///
/// 404 where it is not configured, 400 where `return_to` leads elsewhere, 503 where Google is away.
pub(crate) async fn begin_with_google(
    context: &Context,
    return_to: Option<String>,
) -> Result<(String, String), ApiError> {
    let google = google(context)?;
    if let Some(path) = &return_to
        && !is_own_path(path)
    {
        return Err(ApiError::invalid(
            "return_to",
            "must be a path on this origin, such as /dashboard",
        ));
    }
    let now = context.clock.now();
    let attempt = Attempt::random();
    let url = google.authorization_url(&attempt, now).await;
    let url = url.map_err(|error| {
        tracing::warn!(%error, "nobody can sign in with Google");
        ApiError::unavailable()
    })?;
    let begun = Begun {
        attempt,
        return_to,
        expires_at: now + PATIENCE,
    };
    let cookie = cookie(context, &seal(context, &begun), PATIENCE.num_seconds());
    Ok((url.into(), cookie))
}

/// Who came back from Google's page; and the cookie that ends the attempt, whatever came of it.
pub(crate) async fn finish_with_google(
    context: &Context,
    headers: &HeaderMap,
    callback: &Callback,
    origin: &Origin,
) -> (Result<SignedInWithGoogle, ApiError>, String) {
    let finished = finish(context, headers, callback, origin).await;
    (finished, cookie(context, "", 0))
}

async fn finish(
    context: &Context,
    headers: &HeaderMap,
    callback: &Callback,
    origin: &Origin,
) -> Result<SignedInWithGoogle, ApiError> {
    let google = google(context)?;
    let now = context.clock.now();
    let begun = kept(headers)
        .and_then(|sealed| open(context, sealed))
        .filter(|begun| now < begun.expires_at)
        .ok_or_else(|| {
            ApiError::invalid(
                "state",
                "this browser began no sign-in in the last 10 minutes",
            )
        })?;
    let expected = secret::hash(&begun.attempt.state);
    if !secret::matches_hash(callback.state.as_deref().unwrap_or_default(), &expected) {
        return Err(ApiError::invalid("state", "is of another sign-in"));
    }
    if callback
        .iss
        .as_deref()
        .is_some_and(|iss| !google.is_of(iss))
    {
        return Err(ApiError::invalid("iss", "is not who was asked"));
    }
    if let Some(error) = &callback.error {
        // `access_denied`, nearly always: they changed their mind.
        tracing::info!(error, "a sign-in with Google was given up");
        let message = "the sign-in was not completed on Google's page";
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            message,
        ));
    }
    let code = callback.code.as_deref();
    let code = code.ok_or_else(|| ApiError::invalid("code", "is missing"))?;
    let person = google
        .exchange(code, &begun.attempt, now)
        .await
        .map_err(refused)?;
    Ok(SignedInWithGoogle {
        user: user_of(context, &person, origin).await?,
        return_to: begun.return_to,
    })
}

fn google(context: &Context) -> Result<&CodeFlow, ApiError> {
    context.issuers.google().ok_or_else(|| {
        let message = "sign-in with Google is not configured here";
        ApiError::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    })
}

/// A path that no browser takes for another origin: `//host` and `/\host` are not paths.
fn is_own_path(path: &str) -> bool {
    let begins = path.starts_with('/') && !path.starts_with("//");
    begins
        && path.len() <= LONGEST_PATH
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn seal(context: &Context, begun: &Begun) -> String {
    let json = serde_json::to_string(begun).expect("texts and a time are plain JSON");
    URL_SAFE_NO_PAD.encode(context.key(Purpose::SignInState).seal(&json, PLACE))
}

fn open(context: &Context, sealed: &str) -> Option<Begun> {
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let json = context.key(Purpose::SignInState).open(&sealed, PLACE)?;
    serde_json::from_str(json.expose_secret()).ok()
}

/// Lax: the way back from Google is a navigation from another site.
fn cookie(context: &Context, value: &str, seconds: i64) -> String {
    let secure = if context.config.public_url().starts_with("https://") {
        "; Secure"
    } else {
        ""
    };
    format!(
        "{COOKIE}={value}; Path={COOKIE_PATH}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    )
}

fn kept(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_origin() {
        for own in ["/", "/dashboard", "/a/b?c=d#e"] {
            assert!(is_own_path(own), "{own}");
        }
        for other in [
            "",
            "dashboard",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/a\r\nSet-Cookie: b",
            "/\t/evil.example",
            "/é",
        ] {
            assert!(!is_own_path(other), "{other:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(kept(&headers), None);
        headers.append(header::COOKIE, "a=b; relais_sign_inn=c".parse().unwrap());
        assert_eq!(kept(&headers), None);
        headers.append(header::COOKIE, "d=e; relais_sign_in=f".parse().unwrap());
        assert_eq!(kept(&headers), Some("f"));
    }
}
