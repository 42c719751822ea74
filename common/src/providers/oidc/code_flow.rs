//! The authorization-code flow with PKCE: people sign in on the issuer's page and come back with a code.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

use super::discovery::{self, Metadata};
use super::issuer::Issuer;
use super::verify::Unverified;
use super::{Person, Refusal};
use crate::config::GoogleConfig;
use crate::providers::{ProviderError, http};
use crate::secret;

/// Sign-in on an issuer's page.
pub struct CodeFlow {
    issuer: Arc<Issuer>,
    client_id: String,
    client_secret: SecretString,
    callback: String,
    client: reqwest::Client,
}

/// One attempt to sign in: what only the browser that began it knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Comes back with the code.
    pub state: String,
    /// Comes back in the ID token.
    nonce: String,
    /// Goes with the code: whoever intercepts that alone can do nothing with it.
    verifier: String,
}

impl Attempt {
    /// A new one.
    pub fn random() -> Self {
        Self {
            state: secret::random_token(),
            nonce: secret::random_token(),
            verifier: secret::random_token(),
        }
    }
}

/// What a code is exchanged for; the rest is not used.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl CodeFlow {
    pub(super) fn new(issuer: Arc<Issuer>, config: &GoogleConfig, callback: String) -> Self {
        Self {
            issuer,
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            callback,
            client: http::client(super::TIMEOUT),
        }
    }

    /// Whether `iss`, which a callback may name (RFC 9207), is this issuer.
    pub fn is_of(&self, iss: &str) -> bool {
        self.issuer.goes_by(iss)
    }

    /// The page where people sign in.
    ///
    /// # Errors
    ///
    /// Where the issuer does not say where that is.
    pub async fn authorization_url(
        &self,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Url, ProviderError> {
        let page = self
            .endpoint(now, |metadata| metadata.authorization_endpoint)
            .await?;
        let mut url = Url::parse(&page)
            .map_err(|_| discovery::refused(format!("`{page}` is no page to sign in on")))?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&attempt.verifier));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("scope", "openid email profile")
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Who signed in on the page, by the code they came back with.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unavailable`] where the issuer was not reached or refused the code; else what is wrong with its token.
    pub async fn exchange(
        &self,
        code: &str,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Person, Refusal> {
        let tokens = self.redeem(code, attempt, now).await;
        let token = tokens.map_err(Refusal::Unavailable)?.id_token;
        self.issuer
            .verify(&Unverified::read(&token)?, Some(&attempt.nonce), now)
            .await
    }

    async fn redeem(
        &self,
        code: &str,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Tokens, ProviderError> {
        let endpoint = self
            .endpoint(now, |metadata| metadata.token_endpoint)
            .await?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", self.client_secret.expose_secret())
            .append_pair("code_verifier", &attempt.verifier)
            .finish();
        let request = self
            .client
            .post(&endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let response = discovery::send(request, &self.client_secret).await?;
        discovery::read(response, &endpoint).await
    }

    async fn endpoint(
        &self,
        now: DateTime<Utc>,
        which: impl Fn(Metadata) -> Option<String>,
    ) -> Result<String, ProviderError> {
        let known = self.issuer.keys().known(now).await?;
        let metadata = known.metadata.clone();
        metadata
            .and_then(which)
            .ok_or_else(|| discovery::refused("it has no page to sign in on".to_owned()))
    }
}
