//! Reading variables, and keeping what is wrong with them.

use std::collections::HashMap;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

/// The environment, and what was found wrong with it so far.
pub(super) struct Env {
    pub(super) vars: HashMap<String, String>,
    pub(super) problems: Vec<String>,
}

impl Env {
    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Empty counts as unset: compose files and `.env` leave names empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.vars
            .get(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// What commas separate.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        let items = text.split(',').map(|item| item.trim().to_owned());
        items.filter(|item| !item.is_empty()).collect()
    }

    pub(super) fn secret(&self, name: &str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    pub(super) fn required_secret(&mut self, name: &str) -> SecretString {
        self.secret(name).unwrap_or_else(|| {
            self.problem(format!("{name} is not set"));
            SecretString::default()
        })
    }

    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    pub(super) fn optional<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.problem(format!(
                "{name} is `{text}`, which does not read as {}",
                short_type_name::<T>()
            ));
        }
        value
    }

    pub(super) fn url(&mut self, name: &str, default: &str) -> String {
        let url = self.text(name).unwrap_or_else(|| default.to_owned());
        if !url.starts_with("http://") && !url.starts_with("https://") {
            self.problem(format!(
                "{name} is `{url}`: it must begin with http:// or https://"
            ));
        }
        url.trim_end_matches('/').to_owned()
    }

    /// As [`Self::url`], without a default.
    pub(super) fn optional_url(&mut self, name: &str) -> Option<String> {
        let url = self.text(name)?;
        Some(self.url(name, &url))
    }

    /// A secret that signs: at least 32 bytes, since less could be guessed.
    pub(super) fn signing_secret(&mut self, name: &str) -> SecretString {
        let secret = self.required_secret(name);
        let length = secret.expose_secret().len();
        if length > 0 && length < 32 {
            self.problem(format!(
                "{name} must be 32 characters or more: `openssl rand -hex 32` makes one"
            ));
        }
        secret
    }

    pub(super) fn master_key(&mut self) -> SecretString {
        let key = self.required_secret("RELAIS_MASTER_KEY");
        let text = key.expose_secret();
        if !text.is_empty() && !is_master_key(text) {
            self.problem("RELAIS_MASTER_KEY must be 64 hexadecimal digits (32 bytes): `openssl rand -hex 32` makes one");
        }
        key
    }

    pub(super) fn previous_master_keys(&mut self) -> Vec<SecretString> {
        let keys = self.list("RELAIS_PREVIOUS_MASTER_KEYS");
        if !keys.iter().all(|key| is_master_key(key)) {
            self.problem(
                "RELAIS_PREVIOUS_MASTER_KEYS must be keys of 64 hexadecimal digits, separated by commas",
            );
        }
        keys.into_iter().map(SecretString::from).collect()
    }
}

fn is_master_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn short_type_name<T>() -> &'static str {
    std::any::type_name::<T>()
        .rsplit("::")
        .next()
        .unwrap_or("a value")
}
