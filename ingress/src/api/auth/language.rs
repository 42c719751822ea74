//! Languages as requests name them.

use common::domain::Language;
use poem_openapi::Enum;
use serde::Deserialize;

/// A language the platform writes in.
#[derive(Clone, Copy, Debug, Enum, Deserialize)]
#[oai(rename = "Language", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub(super) enum Spoken {
    /// French.
    Fr,
    /// English.
    En,
}

impl Spoken {
    /// The language that was named; else French.
    pub(super) fn or_default(named: Option<Self>) -> Language {
        match named {
            Some(Self::En) => Language::English,
            Some(Self::Fr) | None => Language::French,
        }
    }
}
