//! What every client of an outside HTTP API shares: the connection pool, and what statuses and failures mean.

use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};

use super::ProviderError;

/// The longest error body read, in bytes, and the longest reason kept of it, in characters.
const ERROR_BODY: (usize, usize) = (16 * 1024, 300);

/// How long an error body is waited for: its status has said what matters.
const ERROR_PATIENCE: Duration = Duration::from_secs(2);

/// Shorter keys are words (`none`, `ollama`) that servers without keys are given.
const SHORTEST_SECRET: usize = 8;

/// A client that gives up connecting after 5 s and reading after `read_timeout` of silence.
pub fn client(read_timeout: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(read_timeout)
        .pool_idle_timeout(Duration::from_mins(1))
        .tcp_keepalive(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("relais/", env!("CARGO_PKG_VERSION")))
        .build()
        .expect("the settings are constants that reqwest accepts")
}

/// The response, if its status says that it is one. `secret` is what the request was sent with.
///
/// # Errors
///
/// 429 is a rate limit, 408, 409, 425 and 5xx an outage, the rest a refusal, with the provider's words.
pub async fn accepted(
    provider: &'static str,
    response: Response,
    secret: &SecretString,
) -> Result<Response, ProviderError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(&response);
    let reason = format!("{status}: {}", error_words(response, secret).await);
    Err(match status {
        // An account without credit stays so until a person acts: trying again only adds load.
        StatusCode::TOO_MANY_REQUESTS if reason.contains("insufficient_quota") => {
            ProviderError::Refused { provider, reason }
        }
        StatusCode::TOO_MANY_REQUESTS => ProviderError::RateLimited {
            provider,
            retry_after,
        },
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => {
            ProviderError::Unavailable { provider, reason }
        }
        status if status.is_server_error() => ProviderError::Unavailable { provider, reason },
        _ => ProviderError::Refused { provider, reason },
    })
}

/// What a request that brought no response means: one that never left may be repeated, any other may have been done.
pub fn send_error(provider: &'static str, error: &reqwest::Error) -> ProviderError {
    let reason = if error.is_timeout() {
        "timed out".to_owned()
    } else {
        innermost(error)
    };
    if error.is_connect() || error.is_builder() {
        ProviderError::Unavailable { provider, reason }
    } else {
        ProviderError::Unknown { provider, reason }
    }
}

/// Seconds or, seldom, a date, which is left to the usual backoff.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|seconds| *seconds >= 0.0)
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
}

/// The part of an error body that people understand. Providers nest it differently, and some answer HTML.
async fn error_words(mut response: Response, secret: &SecretString) -> String {
    let mut body = Vec::new();
    let reading = async {
        while body.len() < ERROR_BODY.0
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
    };
    tokio::time::timeout(ERROR_PATIENCE, reading).await.ok();
    body.truncate(ERROR_BODY.0);
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = value.get(0).unwrap_or(&value);
    let error = error.get("error").unwrap_or(error);
    let words = error
        .get("message")
        .or_else(|| error.get("detail"))
        .unwrap_or(error);
    let text = match words {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::from_utf8_lossy(&body).into_owned(),
        other => other.to_string(),
    };
    let code = error
        .get("code")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    quote(&format!("{text} {code}"), secret)
}

/// What a provider says, as [`one_line`] and without `secret`: some say back what they were sent.
pub fn quote(text: &str, secret: &SecretString) -> String {
    let secret = secret.expose_secret();
    if secret.len() < SHORTEST_SECRET {
        one_line(text)
    } else {
        one_line(&text.replace(secret, "[secret]"))
    }
}

/// `text` on one line, without control characters, cut to what a reason may hold.
pub fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    words.join(" ").chars().take(ERROR_BODY.1).collect()
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    one_line(&cause.to_string())
}
