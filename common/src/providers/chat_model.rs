//! A conversation to the next answer.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::ProviderError;
use crate::domain::Language;

/// What a model is asked.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    /// Which model of the provider; `None`: the configured one.
    pub model: Option<String>,
    /// Who it is to be.
    pub system: String,
    /// The conversation so far, oldest first; the last is what is to be answered.
    pub turns: Vec<ChatTurn>,
    /// What retrieval found, best first; the answer cites them as `[1]`, `[2]`, ….
    pub passages: Vec<Passage>,
    /// The language to answer in.
    pub language: Language,
    /// `None`: the model's own default.
    pub temperature: Option<f32>,
    /// The longest answer, in tokens; `None`: the model's own limit.
    pub max_tokens: Option<u32>,
}

/// One item of the conversation.
#[derive(Clone, Debug)]
pub struct ChatTurn {
    /// Who said it.
    pub role: ChatRole,
    /// What was said.
    pub content: String,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatRole {
    /// The person.
    User,
    /// The assistant.
    Assistant,
}

/// A retrieved piece of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// The document's name, for people.
    pub filename: String,
    /// The page it starts on, from 1; `None`: the document has no pages.
    pub page: Option<u32>,
    /// The headings it stands under; `None`: none known.
    pub section: Option<String>,
    /// Its text.
    pub text: String,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEvent {
    /// The next piece of text.
    Delta(String),
    /// The end: nothing follows.
    End {
        /// Why it ended.
        finish_reason: FinishReason,
        /// What it cost.
        usage: Usage,
        /// The model that answered, as the provider names it.
        model: String,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// It ran into the limit of tokens.
    Length,
    /// The provider's own filter cut it.
    Filtered,
}

/// Tokens, as the provider counts them; estimated where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Read.
    pub input_tokens: u32,
    /// Written.
    pub output_tokens: u32,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The answer; may cite passages as `[1]`.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What it cost.
    pub usage: Usage,
    /// The model that answered.
    pub model: String,
}

/// Continues a conversation.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// The provider's name in configuration, logs and metrics.
    fn provider(&self) -> &'static str;

    /// Starts the answer. Errors before the first piece come from the call, later ones from the stream.
    async fn stream(
        &self,
        request: &ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ProviderError>>, ProviderError>;

    /// The whole answer.
    async fn complete(&self, request: &ChatRequest) -> Result<Completion, ProviderError> {
        let mut events = self.stream(request).await?;
        let mut text = String::new();
        while let Some(event) = events.next().await {
            match event? {
                ChatEvent::Delta(delta) => text.push_str(&delta),
                ChatEvent::End {
                    finish_reason,
                    usage,
                    model,
                } => {
                    return Ok(Completion {
                        text,
                        finish_reason,
                        usage,
                        model,
                    });
                }
            }
        }
        Err(ProviderError::Unavailable {
            provider: self.provider(),
            reason: "the answer broke off".to_owned(),
        })
    }
}
