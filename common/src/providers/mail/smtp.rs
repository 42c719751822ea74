//! Mails by SMTP.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};

use super::{Mail, Mailer, PROVIDER, message};
use crate::error::{Error, Result};
use crate::providers::{ProviderError, http};

/// How long the server may take for each of its answers.
const TIMEOUT: Duration = Duration::from_secs(15);

/// [`Mailer`] over a mail server.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpMailer {
    /// Mails from `from` by the server at `url`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where the URL does not read.
    pub fn new(url: &SecretString, from: Mailbox) -> Result<Self> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret())
            .map_err(|_| {
                Error::invalid("SMTP_URL", "must be like `smtps://user:password@host:465`")
            })?
            .timeout(Some(TIMEOUT))
            .build();
        Ok(Self { transport, from })
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    #[tracing::instrument(name = "smtp.send", skip_all, err(level = "debug"))]
    async fn send(&self, mail: &Mail) -> Result<(), ProviderError> {
        let message = message(mail, &self.from)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(meaning(&error)),
        }
    }
}

/// What a failure means: a server that said no will say no again, all else may pass.
fn meaning(error: &SmtpError) -> ProviderError {
    let reason = http::one_line(&error.to_string());
    if error.is_permanent() {
        ProviderError::Refused {
            provider: PROVIDER,
            reason,
        }
    } else if error.is_timeout() {
        ProviderError::Unknown {
            provider: PROVIDER,
            reason,
        }
    } else {
        ProviderError::Unavailable {
            provider: PROVIDER,
            reason,
        }
    }
}
