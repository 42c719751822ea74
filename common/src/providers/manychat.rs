//! ManyChat's public API: delivers to WhatsApp what a business answers.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{ProviderError, http};
use crate::domain::BusinessId;

const PROVIDER: &str = "manychat";

/// `sendContent` allows an account 25 a second; past it ManyChat may stop processing for a day. Some room is left for the
/// other processes of the fleet and for the account's own flows.
const SENDS_PER_SECOND: NonZeroU32 = NonZeroU32::new(15).expect("fifteen is not zero");

/// A client of ManyChat for all businesses: each call names whose key it uses.
pub struct ManyChat {
    base_url: String,
    http: reqwest::Client,
    timeout: Duration,
    budget: DefaultKeyedRateLimiter<BusinessId>,
}

/// What ManyChat answers, whatever the status.
#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    code: Option<serde_json::Value>,
}

impl ManyChat {
    /// A client of the API at `base_url`, without a slash at its end. A call may take `timeout`.
    pub fn new(base_url: String, timeout: Duration) -> Self {
        let budget = RateLimiter::keyed(Quota::per_second(SENDS_PER_SECOND));
        Self {
            base_url,
            http: http::client(timeout),
            timeout,
            budget,
        }
    }

    /// Sends `text` to a subscriber on WhatsApp. Waits, if need be, until the account's budget allows it.
    ///
    /// There is no idempotency key: after [`ProviderError::Unknown`] the text may or may not have been sent.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Refused`] carries ManyChat's own words, which it sends with status 400 and sometimes with 200.
    #[tracing::instrument(name = "manychat.send_text", skip_all, err(level = "debug"))]
    pub async fn send_text(
        &self,
        business_id: BusinessId,
        api_key: &SecretString,
        subscriber_id: &str,
        text: &str,
    ) -> Result<(), ProviderError> {
        // Ids come as strings and leave as integers; they can exceed what a float holds.
        let subscriber_id: u64 = subscriber_id.parse().map_err(|_| {
            refused(&format!(
                "`{}` is no subscriber id",
                http::one_line(subscriber_id)
            ))
        })?;
        self.budget.until_key_ready(&business_id).await;
        let response = self
            .http
            .post(format!("{}/fb/sending/sendContent", self.base_url))
            .timeout(self.timeout)
            .bearer_auth(api_key.expose_secret())
            .json(&json!({
                "subscriber_id": subscriber_id,
                "data": {
                    "version": "v2",
                    "content": { "type": "whatsapp", "messages": [{ "type": "text", "text": text }] },
                },
            }))
            .send()
            .await
            .map_err(|error| http::send_error(PROVIDER, &error))?;
        // With the status 200 in hand, a body that does not arrive or does not read leaves the outcome unknown.
        let response = http::accepted(PROVIDER, response).await?;
        let answer: Answer = response
            .json()
            .await
            .map_err(|error| ProviderError::Unknown {
                provider: PROVIDER,
                reason: http::one_line(&error.to_string()),
            })?;
        if answer.status == "success" {
            return Ok(());
        }
        let code = answer
            .code
            .map(|code| format!(" (code {code})"))
            .unwrap_or_default();
        Err(refused(&format!(
            "{}{code}",
            answer.message.unwrap_or(answer.status)
        )))
    }

    /// Forgets the budgets of businesses that sent nothing lately.
    pub fn shrink(&self) {
        self.budget.retain_recent();
        self.budget.shrink_to_fit();
    }
}

fn refused(reason: &str) -> ProviderError {
    ProviderError::Refused {
        provider: PROVIDER,
        reason: http::one_line(reason),
    }
}
