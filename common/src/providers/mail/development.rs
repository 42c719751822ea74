//! Mails into a folder, for development.

use std::path::PathBuf;

use async_trait::async_trait;
use lettre::message::Mailbox;

use super::{Mail, Mailer, PROVIDER, message};
use crate::providers::{ProviderError, private_file};

/// [`Mailer`] that carries mails no further than a folder.
pub struct DevelopmentMailer {
    folder: PathBuf,
    from: Mailbox,
}

impl DevelopmentMailer {
    /// Mails from `from` into `folder`, a file each.
    pub fn new(folder: PathBuf, from: Mailbox) -> Self {
        Self { folder, from }
    }
}

#[async_trait]
impl Mailer for DevelopmentMailer {
    /// The log is told where it lies, and not what it says: there is a secret in most.
    async fn send(&self, mail: &Mail) -> Result<(), ProviderError> {
        let message = message(mail, &self.from)?;
        let path = self.folder.join(format!("{}.eml", mail.id));
        private_file::write(path.clone(), message.formatted())
            .await
            .map_err(|error| ProviderError::Unavailable {
                provider: PROVIDER,
                reason: error.to_string(),
            })?;
        tracing::warn!(path = %path.display(), "a mail was written to the folder: SMTP_URL is not set");
        Ok(())
    }
}
