//! One-time codes on their way to phones.

mod development;
mod twilio;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::ProviderError;
use crate::config::IdentityConfig;
use crate::domain::{Language, PhoneNumber};
use crate::secret::OneTimeCode;

pub use development::DevelopmentCodes;
pub use twilio::Twilio;

/// Why a code was not sent.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendCodeError {
    /// Nobody can be reached at the number: whoever sends, none arrives.
    #[error("the number takes no messages: {0}")]
    Number(&'static str),
    /// Who sends did not.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// Sends codes.
#[async_trait]
pub trait CodeSender: Send + Sync {
    /// Sends `code` to `phone`, in words of `language`. Each call sends one more.
    async fn send(
        &self,
        phone: &PhoneNumber,
        code: &OneTimeCode,
        language: Language,
    ) -> Result<(), SendCodeError>;
}

/// Who sends codes as `config` says; `None`: nobody. Codes in a log are for development, so not where the platform is reached
/// by HTTPS.
pub fn connect(config: &IdentityConfig, data_dir: &Path) -> Option<Arc<dyn CodeSender>> {
    let is_public = config
        .public_url
        .as_ref()
        .is_some_and(|url| url.starts_with("https://"));
    match &config.codes.twilio {
        Some(twilio) => Some(Arc::new(Twilio::new(twilio.clone()))),
        None if is_public => None,
        None => Some(Arc::new(DevelopmentCodes::new(data_dir.join("codes")))),
    }
}

/// The text message. Its letters are of the alphabet in which 160 fit.
fn text(code: &OneTimeCode, language: Language) -> String {
    let code = code.expose();
    match language {
        Language::French => {
            format!("Relais : votre code est {code}. Il vaut 5 minutes. Ne le donnez à personne.")
        }
        Language::English => {
            format!("Relais: your code is {code}. It works for 5 minutes. Give it to nobody.")
        }
    }
}
