//! OpenID Connect: one verifier for the ID tokens of every issuer that is configured.
//!
//! Issuers differ in where their keys are and in what proves an e-mail address; everything else is checked alike, by
//! [`Issuers::verify`]. What a token says of how to check it is never believed: the algorithm is one of a fixed list, the key
//! is one the issuer publishes, and has the kind the algorithm needs.

mod claims;
mod code_flow;
mod discovery;
mod issuer;
mod keys;
mod verify;

pub use code_flow::{Attempt, CodeFlow};

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{ProviderError, http};
use crate::config::IdentityConfig;
use crate::domain::EmailAddress;
use issuer::Issuer;
use verify::Unverified;

const PROVIDER: &str = "openid issuer";

/// How long an issuer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest token that is looked at, in bytes; issuers stay below 4 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Who somebody is to an issuer, as a token of it proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The issuer's one name, even where it has several.
    pub issuer: String,
    /// Who: unique and lasting within the issuer.
    pub subject: String,
    /// `None`: not told.
    pub email: Option<EmailAddress>,
    /// Whether the issuer vouches for the address being theirs.
    pub email_is_verified: bool,
    /// What they are called; `None`: not told.
    pub name: Option<String>,
    /// A picture, by HTTPS; `None`: not told.
    pub picture: Option<String>,
    /// Their language's tag; `None`: not told.
    pub locale: Option<String>,
}

/// Why a token is refused: for the log, never for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No JWT.
    #[error("it does not read as a signed token")]
    Malformed,
    /// Of nobody we know.
    #[error("its issuer is not configured")]
    UnknownIssuer,
    /// `none`, a symmetric one for an issuer without a shared secret, or one that is not on the list.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// `crit`: it asks for something to be understood that is not.
    #[error("it has a critical header")]
    CriticalHeader,
    /// It names a key the issuer does not publish, or none where there are several.
    #[error("its key is not published by the issuer")]
    UnknownKey,
    /// The key it names is for another algorithm.
    #[error("its key does not suit its algorithm")]
    UnsuitableKey,
    /// Somebody else wrote it, or changed it.
    #[error("its signature is wrong")]
    Signature,
    /// For somebody else.
    #[error("its audience is somebody else")]
    Audience,
    /// For several, and not asked for by us.
    #[error("its authorized party is somebody else")]
    AuthorizedParty,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// From the future.
    #[error("it was issued in the future")]
    IssuedInTheFuture,
    /// Of another sign-in.
    #[error("its nonce is of another sign-in")]
    Nonce,
    /// It says nothing of whom it is about, or more than fits.
    #[error("its subject is missing or too long")]
    Subject,
    /// A claim is missing or not what this issuer's tokens have.
    #[error("its claim `{0}` is missing or unusable")]
    Claim(&'static str),
    /// The issuer was not reached, or refused to give its keys, or a token for a code.
    #[error("the issuer did not answer as it should")]
    Unavailable(#[source] ProviderError),
}

/// Every issuer whose ID tokens are taken.
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    google: Option<CodeFlow>,
}

impl Issuers {
    /// Those that `config` names. `callback` is where Google sends people back to.
    pub fn new(config: &IdentityConfig, callback: String) -> Self {
        let issuers = issuer::configured(config, &http::client(TIMEOUT));
        let google = config.google.as_ref().and_then(|google| {
            let issuer = issuers
                .iter()
                .find(|issuer| issuer.name() == google.issuer)?;
            Some(CodeFlow::new(Arc::clone(issuer), google, callback))
        });
        for issuer in &issuers {
            issuer.warn();
        }
        Self { issuers, google }
    }

    /// Sign-in with Google; `None`: not configured.
    pub fn google(&self) -> Option<&CodeFlow> {
        self.google.as_ref()
    }

    /// Whom `token` is about, if one of the issuers wrote it for us and it is in its time.
    ///
    /// # Errors
    ///
    /// Why not.
    pub async fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Person, Refusal> {
        if self.issuers.is_empty() {
            return Err(Refusal::UnknownIssuer);
        }
        let unverified = Unverified::read(token)?;
        let name = unverified.claims.text("iss").unwrap_or_default();
        let issuer = self.issuers.iter().find(|issuer| issuer.goes_by(name));
        issuer
            .ok_or(Refusal::UnknownIssuer)?
            .verify(&unverified, None, now)
            .await
    }
}
