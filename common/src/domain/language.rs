//! The languages Relais answers in.

/// A language Relais speaks: French by default, where nothing says otherwise.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Language {
    /// `fr`
    #[default]
    #[serde(rename = "fr")]
    French,
    /// `en`
    #[serde(rename = "en")]
    English,
}

impl Language {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::French, Self::English];

    /// Its ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Self::French => "fr",
            Self::English => "en",
        }
    }

    /// The language of an ISO 639-1 code or a tag that begins with one (`en_US`, `fr-BE`).
    pub fn from_tag(tag: &str) -> Option<Self> {
        match tag.get(..2)?.to_ascii_lowercase().as_str() {
            "fr" => Some(Self::French),
            "en" => Some(Self::English),
            _ => None,
        }
    }
}
