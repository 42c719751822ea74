//! Mails: what they say, and who carries them.

mod development;
mod letter;
mod smtp;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use lettre::Message;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};

use super::ProviderError;
use crate::config::MailConfig;
use crate::error::{Error, Result};

pub use development::DevelopmentMailer;
pub use letter::Letter;
pub use smtp::SmtpMailer;

const PROVIDER: &str = "mail";

/// A mail to one person.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Told as its `Message-ID`: a mail that is sent twice is seen to be one.
    pub id: String,
    /// To whom.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// What it says, as plain text.
    pub text: String,
    /// When it was written.
    pub written_at: SystemTime,
}

/// Carries mails.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands `mail` over.
    ///
    /// # Errors
    ///
    /// After [`ProviderError::Unknown`] it may or may not have been taken.
    async fn send(&self, mail: &Mail) -> Result<(), ProviderError>;
}

/// Who carries mails as `config` says: a server, or a folder in `data_dir`.
///
/// # Errors
///
/// [`Error::Invalid`] where a value does not read. It is not repeated: there may be a password in it.
pub fn connect(config: &MailConfig, data_dir: &Path) -> Result<Arc<dyn Mailer>> {
    let from = sender(&config.from)?;
    Ok(match &config.smtp_url {
        Some(url) => Arc::new(SmtpMailer::new(url, from)?),
        None => Arc::new(DevelopmentMailer::new(data_dir.join("mail"), from)),
    })
}

fn sender(from: &str) -> Result<Mailbox> {
    from.parse()
        .map_err(|_| Error::invalid("MAIL_FROM", "must be like `Relais <relais@example.org>`"))
}

/// `mail` as it goes over the wire.
fn message(mail: &Mail, from: &Mailbox) -> Result<Message, ProviderError> {
    let refused = |reason: String| ProviderError::Refused {
        provider: PROVIDER,
        reason,
    };
    let to: Mailbox = mail
        .to
        .parse()
        .map_err(|_| refused("the address does not read".to_owned()))?;
    let domain = from.email.domain();
    MessageBuilder::new()
        .message_id(Some(format!("<{}@{domain}>", mail.id)))
        .date(mail.written_at)
        .from(from.clone())
        .to(to)
        .subject(&mail.subject)
        .header(ContentType::TEXT_PLAIN)
        .body(mail.text.clone())
        .map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_add_a_header() {
        let mail = Mail {
            id: "1".to_owned(),
            to: "a@example.org".to_owned(),
            subject: "Hello\r\nBcc: b@example.org".to_owned(),
            text: "é".to_owned(),
            written_at: SystemTime::UNIX_EPOCH,
        };
        let message = message(&mail, &sender("Relais <relais@localhost>").unwrap()).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        let mut headers = text.split("\r\n\r\n").next().unwrap().lines();
        assert!(!headers.any(|line| line.starts_with("Bcc")), "{text}");
        assert_eq!(message.envelope().to().len(), 1);
    }
}
