//! Outside services: per role a trait and its clients.

use std::time::Duration;

pub mod chat_model;
pub mod codes;
pub mod embedder;
pub mod http;
pub mod mail;
pub mod manychat;
pub mod models;
pub mod object_store;
pub mod offline;
pub mod oidc;
pub mod openai;
mod private_file;
pub mod prompt;

pub use chat_model::{
    ChatEvent, ChatModel, ChatRequest, ChatRole, ChatTurn, Completion, FinishReason, Passage, Usage,
};
pub use embedder::{DIMENSIONS, Embedder};
pub use manychat::ManyChat;
pub use models::Models;
pub use offline::{OfflineChatModel, OfflineEmbedder};
pub use openai::OpenAi;

/// Why an outside service did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProviderError {
    /// Too many requests, or out of its budget for now.
    #[error("{provider} is rate limited")]
    RateLimited {
        /// Who.
        provider: &'static str,
        /// When it said to come back, if it said.
        retry_after: Option<Duration>,
    },
    /// It understood and said no: the same request will be refused again.
    #[error("{provider} refused: {reason}")]
    Refused {
        /// Who.
        provider: &'static str,
        /// Its own words, cut to a line.
        reason: String,
    },
    /// It could not be reached, was overloaded or broke before doing anything.
    #[error("{provider} is unavailable: {reason}")]
    Unavailable {
        /// Who.
        provider: &'static str,
        /// What was seen.
        reason: String,
    },
    /// The request left and no answer came: it may or may not have been done.
    #[error("{provider} did not answer: {reason}")]
    Unknown {
        /// Who.
        provider: &'static str,
        /// What was seen.
        reason: String,
    },
}

impl ProviderError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}
