//! An issuer's own description of where its parts are.

use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, HeaderMap};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{PROVIDER, TIMEOUT};
use crate::providers::{ProviderError, http};

/// The longest document that is read, in bytes. A set of ten RSA keys has 6,000.
const LONGEST_DOCUMENT: usize = 256 * 1024;

/// How long keys are used where the issuer does not say, and the least and the most it can say.
const LIFETIME: Duration = Duration::from_hours(1);
const SHORTEST_LIFETIME: Duration = Duration::from_mins(5);
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);

/// Where an issuer's parts are.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) jwks_uri: String,
    /// Where people sign in; absent for those that only issue tokens.
    pub(super) authorization_endpoint: Option<String>,
    /// Where codes become tokens.
    pub(super) token_endpoint: Option<String>,
}

/// Reads what `issuer` says of itself.
pub(super) async fn discover(
    client: &reqwest::Client,
    issuer: &str,
) -> Result<Metadata, ProviderError> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let (metadata, _) = fetch::<Metadata>(client, &url).await?;
    if metadata.issuer != issuer {
        return Err(refused(format!("{url} is of `{}`", metadata.issuer)));
    }
    let endpoints = [
        Some(&metadata.jwks_uri),
        metadata.authorization_endpoint.as_ref(),
        metadata.token_endpoint.as_ref(),
    ];
    // Whoever is between us and a part without TLS could put in keys of their own.
    if issuer.starts_with("https://")
        && let Some(endpoint) = endpoints
            .into_iter()
            .flatten()
            .find(|endpoint| !endpoint.starts_with("https://"))
    {
        return Err(refused(format!("{url} names `{endpoint}`, without TLS")));
    }
    Ok(metadata)
}

/// Reads a JSON document, and for how long it may be used.
pub(super) async fn fetch<T: DeserializeOwned>(
    client: &reqwest::Client,
    url: &str,
) -> Result<(T, Duration), ProviderError> {
    let response = send(client.get(url), &SecretString::default()).await?;
    let lifetime = lifetime(response.headers());
    Ok((read(response, url).await?, lifetime))
}

/// Sends a request, which has `secret` in it.
pub(super) async fn send(
    request: reqwest::RequestBuilder,
    secret: &SecretString,
) -> Result<reqwest::Response, ProviderError> {
    let response = request
        .timeout(TIMEOUT)
        .send()
        .await
        .map_err(|error| http::send_error(PROVIDER, &error))?;
    http::accepted(PROVIDER, response, secret).await
}

/// Reads a body of bounded length.
pub(super) async fn read<T: DeserializeOwned>(
    mut response: reqwest::Response,
    what: &str,
) -> Result<T, ProviderError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| http::send_error(PROVIDER, &error))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_DOCUMENT {
            return Err(refused(format!("{what} is too long")));
        }
    }
    // The body may hold tokens: what is wrong with it is not told.
    serde_json::from_slice(&body).map_err(|_| refused(format!("{what} does not read")))
}

pub(super) fn refused(reason: String) -> ProviderError {
    ProviderError::Refused {
        provider: PROVIDER,
        reason,
    }
}

fn lifetime(headers: &HeaderMap) -> Duration {
    let directives = headers.get_all(CACHE_CONTROL).iter();
    let seconds = directives
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .find_map(|directive| match directive.trim().split_once('=') {
            Some((name, seconds)) if name.eq_ignore_ascii_case("max-age") => seconds.parse().ok(),
            None if directive.trim().eq_ignore_ascii_case("no-store") => Some(0),
            None if directive.trim().eq_ignore_ascii_case("no-cache") => Some(0),
            _ => None,
        });
    seconds.map_or(LIFETIME, |seconds| {
        Duration::from_secs(seconds).clamp(SHORTEST_LIFETIME, LONGEST_LIFETIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_says_how_long_its_keys_are_used_within_bounds() {
        let told = |line: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, line.parse().unwrap());
            lifetime(&headers)
        };
        assert_eq!(lifetime(&HeaderMap::new()), LIFETIME);
        assert_eq!(
            told("public, max-age=19800, must-revalidate"),
            Duration::from_mins(330)
        );
        assert_eq!(told("max-age=1"), SHORTEST_LIFETIME);
        assert_eq!(told("no-store"), SHORTEST_LIFETIME);
        assert_eq!(told("max-age=99999999"), LONGEST_LIFETIME);
        assert_eq!(told("max-age=nonsense"), LIFETIME);
    }
}
