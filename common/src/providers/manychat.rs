//! ManyChat's public API: delivers to WhatsApp what a business answers.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{ProviderError, http};
use crate::domain::BusinessId;

const PROVIDER: &str = "manychat";

/// `sendContent` allows an account 25 a second; past it ManyChat may stop processing for a day. Each process keeps its own
/// count, so this leaves room for two processes that send for one business at full speed, and for the account's own flows.
const SENDS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");

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

    /// Waits until this process's share of the account's budget allows another call.
    pub async fn wait_for_budget(&self, business_id: BusinessId) {
        self.budget.until_key_ready(&business_id).await;
    }

    /// Sends `text` to a subscriber on WhatsApp; [`Self::wait_for_budget`] first.
    ///
    /// There is no idempotency key: after [`ProviderError::Unknown`] the text may or may not have been sent.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Refused`] carries ManyChat's own words, which it sends with status 400 and sometimes with 200.
    #[tracing::instrument(name = "manychat.send_text", skip_all, err(level = "debug"))]
    pub async fn send_text(
        &self,
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
        // Whoever answers these may stand between ManyChat and us: ManyChat itself may have sent the text.
        let status = response.status();
        if status == StatusCode::REQUEST_TIMEOUT
            || status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE
        {
            return Err(ProviderError::Unknown {
                provider: PROVIDER,
                reason: status.to_string(),
            });
        }
        // With the status 200 in hand, a body that does not arrive or does not read leaves the outcome unknown.
        let response = http::accepted(PROVIDER, response, api_key).await?;
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
