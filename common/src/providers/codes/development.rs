//! Codes into the log and a folder, for development.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{CodeSender, SendCodeError};
use crate::domain::{Language, PhoneNumber};
use crate::providers::{ProviderError, private_file};
use crate::secret::OneTimeCode;

/// [`CodeSender`] that tells the person at this machine.
pub struct DevelopmentCodes {
    folder: PathBuf,
}

impl DevelopmentCodes {
    /// Codes into `folder`, a file for each phone, with the latest.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

#[async_trait]
impl CodeSender for DevelopmentCodes {
    async fn send(
        &self,
        phone: &PhoneNumber,
        code: &OneTimeCode,
        _language: Language,
    ) -> Result<(), SendCodeError> {
        tracing::warn!(%phone, code = code.expose(), "a one-time code: TWILIO_ACCOUNT_SID is not set");
        let path = self.folder.join(format!("{phone}.txt"));
        private_file::write(path, code.expose().into())
            .await
            .map_err(|error| ProviderError::Unavailable {
                provider: "codes",
                reason: error.to_string(),
            })?;
        Ok(())
    }
}
