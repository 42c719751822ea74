//! Codes by Twilio, as text messages.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::form_urlencoded;

use super::{CodeSender, SendCodeError, text};
use crate::config::TwilioConfig;
use crate::domain::{Language, PhoneNumber};
use crate::providers::{ProviderError, http};
use crate::secret::OneTimeCode;

const PROVIDER: &str = "twilio";

/// Somebody waits for the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a messaging service's id begins with.
const SERVICE_PREFIX: &str = "MG";

/// [`CodeSender`] over <https://www.twilio.com/docs/messaging/api/message-resource>.
pub struct Twilio {
    config: TwilioConfig,
    http: reqwest::Client,
}

/// What Twilio says of what it did not do. Its own words have the number in them, and stay out of our log.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u32,
}

impl Twilio {
    /// A client of the account.
    pub fn new(config: TwilioConfig) -> Self {
        Self {
            config,
            http: http::client(TIMEOUT),
        }
    }

    /// The form that asks for a message.
    fn form(&self, phone: &PhoneNumber, text: &str) -> String {
        let from = &self.config.from;
        let sender = if from.starts_with(SERVICE_PREFIX) {
            "MessagingServiceSid"
        } else {
            "From"
        };
        form_urlencoded::Serializer::new(String::new())
            .append_pair("To", phone.as_str())
            .append_pair(sender, from)
            .append_pair("Body", text)
            .finish()
    }
}

#[async_trait]
impl CodeSender for Twilio {
    #[tracing::instrument(name = "twilio.send", skip_all, err(level = "debug"))]
    async fn send(
        &self,
        phone: &PhoneNumber,
        code: &OneTimeCode,
        language: Language,
    ) -> Result<(), SendCodeError> {
        let TwilioConfig {
            account_sid,
            auth_token,
            base_url,
            ..
        } = &self.config;
        let url = format!("{base_url}/2010-04-01/Accounts/{account_sid}/Messages.json");
        let response = self
            .http
            .post(url)
            .timeout(TIMEOUT)
            .basic_auth(account_sid, Some(auth_token.expose_secret()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.form(phone, &text(code, language)))
            .send()
            .await
            .map_err(|error| http::send_error(PROVIDER, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = http::retry_after(&response);
        // A body that does not read says no more than the status.
        let code = response
            .json()
            .await
            .map_or(0, |refusal: Refusal| refusal.code);
        Err(meaning(status, code, retry_after))
    }
}

/// What a refusal means, by <https://www.twilio.com/docs/api/errors>.
fn meaning(status: StatusCode, code: u32, retry_after: Option<Duration>) -> SendCodeError {
    let reason = format!("{status}, code {code}");
    match code {
        21211 | 21614 => SendCodeError::Number("it is none, or no mobile one"),
        21610 => SendCodeError::Number("its owner wants none"),
        21408 | 21612 => SendCodeError::Number("it cannot be reached from this account"),
        _ if status == StatusCode::TOO_MANY_REQUESTS => ProviderError::RateLimited {
            provider: PROVIDER,
            retry_after,
        }
        .into(),
        _ if status.is_server_error() => ProviderError::Unavailable {
            provider: PROVIDER,
            reason,
        }
        .into(),
        _ => ProviderError::Refused {
            provider: PROVIDER,
            reason,
        }
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_takes_nothing_is_told_from_an_account_that_does_not_work() {
        let meaning =
            |status: u16, code| meaning(StatusCode::from_u16(status).unwrap(), code, None);
        assert!(matches!(meaning(400, 21211), SendCodeError::Number(_)));
        assert!(matches!(meaning(400, 21610), SendCodeError::Number(_)));
        for (status, code, transient) in [(401, 20003, false), (429, 20429, true), (503, 0, true)] {
            match meaning(status, code) {
                SendCodeError::Provider(error) => assert_eq!(error.is_transient(), transient),
                SendCodeError::Number(_) => panic!("{status} {code}"),
            }
        }
    }
}
