//! What a token says, claim by claim.

use serde_json::{Map, Value};
use url::Url;

use super::Refusal;
use crate::domain::EmailAddress;

/// The longest subject an issuer may give (OpenID Connect Core, section 2).
const LONGEST_SUBJECT: usize = 255;

/// The longest name that is kept, in characters.
const LONGEST_NAME: usize = 120;

/// The longest address of a picture that is kept.
const LONGEST_URL: usize = 2_000;

/// Past it a number of seconds is no time of this world.
const LATEST_SECOND: f64 = 1e12;

/// A token's claims.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// A claim that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A claim within a claim.
    pub(super) fn within(&self, outer: &str, name: &str) -> Option<&Value> {
        self.0.get(outer)?.get(name)
    }

    /// Whether a claim is true; some issuers write it as a text.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(is_true)
    }

    /// A time in seconds since 1970, which may have a fraction.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let seconds = value
            .as_f64()
            .filter(|seconds| (0.0..LATEST_SECOND).contains(seconds));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be in range; the fraction does not matter"
        )]
        let seconds = seconds.map(|seconds| seconds as i64);
        seconds.map(Some).ok_or(Refusal::Claim(name))
    }

    /// Whom it is for: one text or several.
    pub(super) fn audiences(&self) -> Vec<&str> {
        match self.0.get("aud") {
            Some(Value::String(audience)) => vec![audience],
            Some(Value::Array(audiences)) => audiences.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Whom it is about.
    pub(super) fn subject(&self) -> Result<&str, Refusal> {
        self.text("sub")
            .filter(|subject| !subject.is_empty() && subject.len() <= LONGEST_SUBJECT)
            .filter(|subject| !subject.chars().any(char::is_control))
            .ok_or(Refusal::Subject)
    }

    /// Their e-mail address, if it is one.
    ///
    /// ASCII alone: letters of other scripts fold into it (`K`, the Kelvin sign, into `k`), and so would make one person of
    /// two.
    pub(super) fn email(&self) -> Option<EmailAddress> {
        EmailAddress::new(self.text("email")?, "email").ok()
    }

    /// What they are called, on one line.
    pub(super) fn name(&self) -> Option<String> {
        let name = self.text("name").or_else(|| {
            let of_metadata = |key| self.within("user_metadata", key)?.as_str();
            of_metadata("full_name").or_else(|| of_metadata("name"))
        })?;
        let words: Vec<&str> = name
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect();
        let name: String = words.join(" ").chars().take(LONGEST_NAME).collect();
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// A picture of them. By HTTPS: it is shown in pages that are.
    pub(super) fn picture(&self) -> Option<String> {
        let picture = self
            .text("picture")
            .or_else(|| self.within("user_metadata", "avatar_url")?.as_str())?;
        let url = Url::parse(picture).ok()?;
        (url.scheme() == "https" && url.as_str().len() <= LONGEST_URL).then(|| url.into())
    }
}

/// Whether a claim's value is true, or the text `true`.
pub(super) fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true) || value.as_str() == Some("true")
}
