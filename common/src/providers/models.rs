//! Who answers and who embeds, as configured: in order of preference, the next where one cannot.

use std::sync::Arc;

use super::{
    ChatModel, ChatRequest, Completion, Embedder, OfflineChatModel, OfflineEmbedder, OpenAi,
    ProviderError,
};
use crate::config::ModelsConfig;

/// OpenAI's small models: the defaults where nothing is configured.
const DEFAULTS: (&str, &str) = ("gpt-4o-mini", "text-embedding-3-small");

/// The models that answer, in order of preference.
#[derive(Clone)]
pub struct Models {
    chat: Vec<Arc<dyn ChatModel>>,
}

impl Models {
    /// The models `config` names.
    pub fn from_config(config: &ModelsConfig) -> Self {
        let chat = config
            .chat_providers
            .iter()
            .map(|name| match openai(config).filter(|_| name == "openai") {
                Some(client) => Arc::new(client) as Arc<dyn ChatModel>,
                None => Arc::new(OfflineChatModel),
            })
            .collect();
        Self { chat }
    }

    /// These models, in this order.
    pub fn new(chat: Vec<Arc<dyn ChatModel>>) -> Self {
        Self { chat }
    }

    /// An answer, and who gave it. Rate limits, outages and silence move on to the next; a refusal does not.
    ///
    /// # Errors
    ///
    /// The last one's.
    pub async fn complete(
        &self,
        request: &ChatRequest,
    ) -> Result<(Completion, &'static str), ProviderError> {
        let mut last = ProviderError::Refused {
            provider: "models",
            reason: "none is configured".to_owned(),
        };
        for model in &self.chat {
            match model.complete(request).await {
                Ok(completion) if completion.text.trim().is_empty() => {
                    tracing::warn!(
                        provider = model.provider(),
                        "the model said nothing; asking the next"
                    );
                    let reason = "its answer was empty".to_owned();
                    last = ProviderError::Unavailable {
                        provider: model.provider(),
                        reason,
                    };
                }
                Ok(completion) => return Ok((completion, model.provider())),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, provider = model.provider(), "the model cannot answer; asking the next");
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// The embedder `config` names.
pub fn embedder(config: &ModelsConfig) -> Arc<dyn Embedder> {
    match openai(config).filter(|_| config.embedding_provider == "openai") {
        Some(client) => Arc::new(client),
        None => Arc::new(OfflineEmbedder),
    }
}

fn openai(config: &ModelsConfig) -> Option<OpenAi> {
    let key = config.openai_api_key.as_ref()?;
    let chat_model = config
        .chat_model
        .clone()
        .unwrap_or_else(|| DEFAULTS.0.to_owned());
    let embedding_model = config
        .embedding_model
        .clone()
        .unwrap_or_else(|| DEFAULTS.1.to_owned());
    Some(OpenAi::new(
        &config.openai_base_url,
        key,
        chat_model,
        embedding_model,
        config.timeout,
    ))
}
