//! Where messages come from and go to.

use std::fmt;
use std::str::FromStr;

/// Where messages come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The HTTP API: whoever asks also fetches the answer.
    Api,
    /// WhatsApp through ManyChat.
    Manychat,
    /// WhatsApp through Meta's Cloud API.
    Whatsapp,
}

impl Channel {
    /// Its name in rows and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Manychat => "manychat",
            Self::Whatsapp => "whatsapp",
        }
    }

    /// The longest text one message of the channel may carry, in characters.
    ///
    /// Meta allows a text body 4,096; ManyChat publishes no limit for WhatsApp and shorter texts are safer and read better.
    pub fn longest_text(self) -> usize {
        match self {
            Self::Manychat => 1_000,
            Self::Api | Self::Whatsapp => 4_096,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Channel {
    type Err = crate::Error;

    fn from_str(name: &str) -> crate::Result<Self> {
        [Self::Api, Self::Manychat, Self::Whatsapp]
            .into_iter()
            .find(|channel| channel.as_str() == name)
            .ok_or(crate::Error::Corrupt("channel"))
    }
}
